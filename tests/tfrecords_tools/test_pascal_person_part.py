"""PASCAL-Person-Part, in a miniature of VOC2010 with DeepLab's zip in it."""

import numpy as np
import pytest

from kerasseg import datasets, records
from tests.support import published
from tfrecords_tools.converters import pairs, pascal_person_part
from tfrecords_tools.writing import writer

SPLITS = {"train": ["2008_000003", "2008_000026"], "val": ["2008_000028"]}


@pytest.fixture
def source(tmp_path):
    label = (np.arange(12 * 16, dtype=np.uint8) % 7).reshape(12, 16)
    label[0, 0] = 255
    return pairs.Source(
        published.pascal_person_part(tmp_path / "VOC2010", SPLITS, label)
    )


def test_the_spec_is_that_of_the_data_set():
    spec = datasets.get("pascal_person_part")
    assert spec.num_images == {"train": 1716, "val": 1817}
    assert spec.class_names == (
        *("background", "head", "torso", "upper arms", "lower arms"),
        *("upper legs", "lower legs"),
    )


def test_lists_and_palette_labels_are_read(source, tmp_path):
    result = writer.build_records(
        "pascal_person_part", source, tmp_path / "r", splits=["train", "val"]
    )
    assert result.num_records == {"train": 2, "val": 1}
    split = records.open_split(tmp_path / "r", "val", deep=True)
    example = records.parse_example(split.read(0))
    assert example["name"] == "2008_000028"
    label = records.decode_label(example["label"])
    assert label.ravel()[:9].tolist() == [255, 1, 2, 3, 4, 5, 6, 0, 1]


def test_the_list_is_searched_in_the_folder_of_the_zip(source):
    folder = source.source_dir / "pascal_person_part"
    folder.rename(source.source_dir / "elsewhere")
    with pytest.raises(
        FileNotFoundError, match=r"trainval_list/train\.txt does not ex"
    ):
        pascal_person_part.list_pairs("train", source)
    with pytest.raises(ValueError, match="pascal_person_part has no split 'test'"):
        pascal_person_part.list_pairs("test", source)
