"""Promises that every registered data set must keep, on a miniature of its download.

A new data set `NAME` needs no change here but a function `NAME(folder)`, below, which
writes a miniature into a folder, in the layout of its authors. It returns the
`pairs.Source`, or None if the folder is its `source_dir`.
"""

import numpy as np
import pytest

from kerasseg import datasets, records
from tests.support import published, trees
from tfrecords_tools.converters import pairs, registry
from tfrecords_tools.doctor import splits, survey
from tfrecords_tools.writing import planning, writer

LABEL = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16) % 7
NAMES = {"train": ["2008_000002", "2008_000003"], "val": ["2008_000008"]}


def ade20k(folder):
    published.ade20k(folder, {"training/a": LABEL, "validation/b": LABEL + 144})


def camvid(folder):
    trees.camvid(folder)


def cityscapes(folder):
    names = ["train/aachen/a_0", "val/munster/b_0", "train_extra/troisdorf/c_0"]
    published.cityscapes(folder, dict.fromkeys(names, LABEL + 20))


def coco(folder):
    pytest.importorskip("pycocotools")
    box = [0, 0, 60, 0, 60, 30, 0, 30]
    things = [{"category_id": 1, "segmentation": [box], "area": 1800.0}]
    images = {"000000000009.jpg": (40, 60, things)}
    published.coco(folder, {"train2017": images, "val2017": images})


coco_voc = coco_voc_torchvision = coco


def nyu_depth_v2(folder):
    labels = np.stack([LABEL.astype(np.uint16) + 100 * i for i in range(3)])
    indices = {"trainNdxs": [1, 3], "testNdxs": [2]}
    published.nyu_depth_v2(folder / "nyu", labels, indices)
    return pairs.Source(folder / "nyu")


def pascal_context(folder):
    label = np.array([0, 2, 23, 440, 445, 458, 459], np.uint16)[LABEL]
    published.pascal_context(folder, NAMES, label)


pascal_context_60 = pascal_context


def pascal_person_part(folder):
    published.pascal_person_part(folder, NAMES, LABEL)


def pascal_voc(folder):
    trees.voc(folder / "VOC2012", NAMES["train"], NAMES["val"])
    trees.sbd(folder / "sbd", ["2008_000002", "2009_e"], ["2009_f"], LABEL)
    return pairs.Source(folder / "VOC2012", folder / "sbd")


def shapes(_):
    return pairs.Source(num_drawn=3)


def sift_flow(folder):
    published.sift_flow(folder, ["a", "b"], ["b"], LABEL + 27)


def sun_rgbd(folder):
    labels = {"kv1/a": LABEL, "xtion/b": LABEL + 31}
    scenes = {"alltrain": ["kv1/a"], "alltest": ["xtion/b"]}
    published.sun_rgbd(folder, labels, scenes)


MISSING_SPLITS = {"camvid": ["test"]}  # The SegNet tutorial does not publish it.


@pytest.fixture(params=datasets.list_datasets())
def dataset(request):
    return request.param


@pytest.fixture
def source(dataset, tmp_path):
    make = globals().get(dataset)
    if make is None:
        pytest.fail(
            f"Write a function {dataset}(folder) in {__file__} that writes a miniature "
            "of the data set into a folder, in the layout of its authors."
        )
    return make(tmp_path / "source") or pairs.Source(tmp_path / "source")


def test_all_its_splits_are_found_and_built(dataset, source, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "SHARD_IMAGES", 2)
    spec = datasets.get(dataset)
    reasons = registry.find_splits(dataset, source)
    missing = MISSING_SPLITS.get(dataset, [])
    names = [split for split in spec.num_images if split not in missing]
    assert {split: reasons[split] for split in names} == dict.fromkeys(names, "")
    result = writer.build_records(dataset, source, tmp_path / "r", splits=names)
    assert min(result.num_records.values()) > 0 and not result.rejected
    classes = set()
    for split in names:
        opened = records.open_split(tmp_path / "r", split, dataset=dataset, deep=True)
        for i in range(len(opened)):
            example = records.parse_example(opened.read(i))
            label = records.decode_label(example["label"])
            assert label.shape == records.decode_image(example["image"]).shape[:2]
            classes |= set(np.unique(label).tolist())
    # Otherwise, labels that are all ignored or background would pass.
    assert classes & set(range(1, spec.num_classes)), "Draw a class other than 0."
    assert classes <= {*range(spec.num_classes), datasets.IGNORE_LABEL}
    again = writer.build_records(dataset, source, tmp_path / "r", splits=names)
    assert again.num_kept == sum(result.num_records.values())


def test_it_can_be_surveyed_before_it_is_built(dataset, source):
    for reader in splits.open_source(dataset, source):
        surveyed = survey.survey(reader)
        assert surveyed.faults == () and surveyed.num_unlabeled == 0
        assert surveyed.counts.pixels.any()


def test_its_splits_name_no_image_twice(dataset, source):
    for split, reason in registry.find_splits(dataset, source).items():
        if not reason:
            listed = registry.converter(dataset).list_pairs(split, source)
            assert not pairs.find_duplicates(listed)
