"""SIFT Flow, in a miniature of its zip."""

import numpy as np
import pytest

from kerasseg import datasets, images, records
from tests.support import published
from tfrecords_tools.converters import pairs, sift_flow
from tfrecords_tools.writing import writer

NAMES = ["coast_arnat59", "coast_natu975", "street_urb506"]


@pytest.fixture
def source(tmp_path):
    label = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16) % 34
    folder = tmp_path / "SiftFlowDataset"
    return pairs.Source(published.sift_flow(folder, NAMES, NAMES[:1], label))


def test_the_spec_is_that_of_the_data_set():
    spec = datasets.get("sift_flow")
    assert spec.num_images == {"train": 2488, "test": 200}
    # 1, 9, 11, 16 and 33 of its list: three of them do not occur in test.
    assert spec.num_classes == 33
    assert [spec.class_names[i - 1] for i in (1, 9, 11, 16, 33)] == [
        *("awning", "cow", "desert", "moon", "window")
    ]


def test_test_is_the_list_and_train_everything_else(source):
    found = {
        split: sorted(pair.name for pair in sift_flow.list_pairs(split, source))
        for split in ("train", "test")
    }
    assert found == {"train": NAMES[1:], "test": NAMES[:1]}


def test_values_are_decreased_by_one(source, tmp_path):
    writer.build_records("sift_flow", source, tmp_path / "r", splits=["train", "test"])
    split = records.open_split(tmp_path / "r", "test", deep=True)
    label = records.decode_label(records.parse_example(split.read(0))["label"])
    assert label.ravel()[:3].tolist() == [255, 0, 1]
    assert label.ravel()[33:36].tolist() == [32, 255, 0]


def test_geometric_labels_are_refused(source):
    (pair,) = sift_flow.list_pairs("test", source)
    label = np.full((12, 16), -1, np.int8)
    published.sift_flow(source.source_dir, NAMES[:1], NAMES[:1], label)
    with pytest.raises(images.ImageError, match=r"mat: -1 \(192 pixels\) are not val"):
        sift_flow.read_pair(pair)


def test_what_is_missing_is_named(source):
    (source.source_dir / "TestSet1.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"TestSet1\.txt does not exist"):
        sift_flow.list_pairs("train", source)
