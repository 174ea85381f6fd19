"""Data sets of TensorFlow Datasets, prepared on disk by the library."""

import sys

import numpy as np
import pytest

from kerasseg import records
from tests.support import faults, published, trees
from tfrecords_tools.converters import class_lists, own_data, pairs, registry
from tfrecords_tools.writing import writer

library = pytest.importorskip("tensorflow_datasets")

CLASSES = own_data.OwnData(classes=class_lists.read_classes("background,pet"))


def examples(count, num_classes=2):
    return [
        (trees.image(i)[..., ::-1], trees.label(i, num_classes)) for i in range(count)
    ]


@pytest.fixture
def source(tmp_path):
    splits = {"train": examples(3), "test": examples(2)}
    folder = published.tfds(tmp_path / "data", "tiny_pets", splits)
    return pairs.Source(folder, own=CLASSES)


def test_records_hold_images_and_masks_of_the_set(source, tmp_path):
    result = writer.build_records(
        "tfds:tiny_pets", source, tmp_path / "r", splits=["train", "test"]
    )
    assert result.num_records == {"train": 3, "test": 2}
    split = records.open_split(tmp_path / "r", "train", deep=True)
    assert split.spec.name == "tfds:tiny_pets"
    assert split.spec.num_images == {"train": 3, "test": 2}
    # Images 0 and 2 are in the first file, 1 is in the second.
    for i, number in enumerate((0, 2, 1)):
        example = records.parse_example(split.read(i))
        image, label = examples(3)[number]
        np.testing.assert_array_equal(records.decode_image(example["image"]), image)
        np.testing.assert_array_equal(records.decode_label(example["label"]), label)
    assert example["name"] == "train_00001_000000"


def test_the_command_takes_classes_and_an_offset(tmp_path):
    # As in oxford_iiit_pet: 1, 2, 3 without names.
    ones = [(image, label + 1) for image, label in examples(2, 3)]
    folder = published.tfds(tmp_path / "data", "tiny_pets", {"train": ones})
    done = faults.run(
        [
            *("-m", "tfrecords_tools.build", "--dataset=tfds:tiny_pets:1.2.3"),
            *(f"--source_dir={folder}", f"--records_dir={tmp_path / 'r'}"),
            *("--classes=pet,background,border", "--label_offset=-1", "--workers=1"),
        ]
    )
    assert "train: 2 records" in done.stdout, done.stderr
    split = records.open_split(tmp_path / "r", "train")
    found = records.decode_label(records.parse_example(split.read(0))["label"])
    np.testing.assert_array_equal(found, ones[0][1] - 1)


def test_classes_that_the_set_names_are_used(tmp_path):
    splits = {"train": examples(1)}
    folder = published.tfds(tmp_path, "named", splits, labels=["road", "sky"])
    spec = registry.get_spec("tfds:named", pairs.Source(folder))
    assert spec.class_names == ("road", "sky")


def test_unnamed_classes_are_an_error(source):
    unnamed = pairs.Source(source.source_dir)
    with pytest.raises(ValueError, match="does not name the classes of its 'segmentat"):
        registry.get_spec("tfds:tiny_pets", unnamed)


def test_sets_that_were_not_prepared_are_never_downloaded(source):
    for name in ("oxford_iiit_pet", "tiny_pets:9.9.9", "tiny_pets/large"):
        with pytest.raises(FileNotFoundError, match=f"no prepared '{name}' of Tensor"):
            registry.get_spec(f"tfds:{name}", source)


def test_sets_without_one_image_and_one_mask_are_refused(tmp_path):
    more = {"annotation": library.features.Image(), "text": library.features.Text()}
    folder = published.tfds(tmp_path, "two", {"train": examples(1)}, **more)
    with pytest.raises(
        ValueError, match=r"features .*annotation.*text.*, expected one image"
    ):
        registry.get_spec("tfds:two", pairs.Source(folder, own=CLASSES))


def test_unknown_splits_are_named_with_the_known_ones(source):
    converter = registry.converter("tfds:tiny_pets")
    assert converter.list_splits(source) == ["train", "test"]
    with pytest.raises(ValueError, match="tiny_pets has no split 'val', only train, t"):
        converter.list_pairs("val", source)


def test_damaged_records_are_named(source):
    converter = registry.converter("tfds:tiny_pets")
    pair = converter.list_pairs("test", source)[1]
    faults.flip_bit(pair.image, -20)
    with pytest.raises(
        records.RecordError, match=r"tiny_pets-test.*record 0: the data's"
    ):
        converter.read_pair(pair)


def test_a_missing_library_is_an_error(monkeypatch, source):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(
        ValueError, match=r"tensorflow-datasets\. .* pip install 'kerasseg"
    ):
        registry.get_spec("tfds:tiny_pets", source)
