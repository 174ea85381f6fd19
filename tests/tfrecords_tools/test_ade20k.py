"""ADE20K, in a miniature of ADEChallengeData2016."""

import numpy as np
import pytest

from kerasseg import datasets, images, records
from tests.support import published, trees
from tfrecords_tools.converters import ade20k, pairs
from tfrecords_tools.writing import writer

NAMES = ["training/ADE_train_00000001", "validation/ADE_val_00000001"]


@pytest.fixture
def source(tmp_path):
    label = np.arange(12 * 16).reshape(12, 16) % 151
    folder = tmp_path / "ADEChallengeData2016"
    return pairs.Source(published.ade20k(folder, dict.fromkeys(NAMES, label)))


def test_the_spec_is_that_of_the_challenge():
    spec = datasets.get("ade20k")
    assert spec.num_images == {"train": 20210, "val": 2000}
    # Lines 1, 13, 21, 150 of objectInfo150.txt.
    assert spec.num_classes == 150
    assert [spec.class_names[i - 1] for i in (1, 13, 21, 150)] == [
        *("wall", "person", "car", "flag")
    ]


def test_values_are_decreased_by_one_and_nothing_is_ignored(source, tmp_path):
    result = writer.build_records(
        "ade20k", source, tmp_path / "r", splits=["train", "val"]
    )
    assert result.num_records == {"train": 1, "val": 1}
    split = records.open_split(tmp_path / "r", "train", deep=True)
    example = records.parse_example(split.read(0))
    assert example["name"] == "ADE_train_00000001"
    found = records.decode_label(example["label"])
    # 0 -> 255, 1 -> 0, 2 -> 1, ..., 150 -> 149, and from the start again.
    assert found.ravel()[:3].tolist() == [255, 0, 1]
    assert found.ravel()[149:153].tolist() == [148, 149, 255, 0]


def test_the_numbers_of_the_full_ade20k_are_refused(source):
    (pair,) = ade20k.list_pairs("val", source)
    label = np.zeros((12, 16), np.uint8)
    label[0, :2] = [150, 151]
    trees.save(source.source_dir / pair.label, label)
    with pytest.raises(
        images.ImageError, match=r"151 \(1 pixel\) are not val.* to 150"
    ):
        ade20k.read_pair(pair)


def test_a_folder_above_or_below_is_refused(source):
    with pytest.raises(FileNotFoundError, match="ADEChallengeData2016, is needed"):
        ade20k.list_pairs("train", pairs.Source(source.source_dir / "images"))
    with pytest.raises(ValueError, match="ade20k has no split 'training', only"):
        ade20k.list_pairs("training", source)
