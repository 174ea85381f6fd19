"""What holds for every registered data set, from the files that its authors publish."""

import numpy as np
import pytest

from kerasseg import datasets, records
from tests import published, trees
from tfrecords_tools.converters import pairs, shapes
from tfrecords_tools.doctor import survey
from tfrecords_tools.writing import planning, writer

LABEL = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16) % 7
NAMES = {"train": ["2008_000002", "2008_000003"], "val": ["2008_000008"]}


def voc(folder):
    trees.voc(folder / "VOC2012", NAMES["train"], NAMES["val"])
    trees.sbd(folder / "sbd", ["2008_000002", "2009_e"], ["2009_f"], LABEL)
    return pairs.Source(folder / "VOC2012", folder / "sbd")


def cityscapes(folder):
    names = ["train/aachen/a_0", "val/munster/b_0", "train_extra/troisdorf/c_0"]
    published.cityscapes(folder, dict.fromkeys(names, LABEL + 20))


def ade20k(folder):
    published.ade20k(folder, {"training/a": LABEL, "validation/b": LABEL + 144})


def coco(folder):
    pytest.importorskip("pycocotools")
    box = [0, 0, 60, 0, 60, 30, 0, 30]
    things = [{"category_id": 1, "segmentation": [box], "area": 1800.0}]
    pictures = {"000000000009.jpg": (40, 60, things)}
    published.coco(folder, {"train2017": pictures, "val2017": pictures})


def nyu_depth_v2(folder):
    labels = np.stack([LABEL.astype(np.uint16) + 100 * i for i in range(3)])
    splits = {"trainNdxs": [1, 3], "testNdxs": [2]}
    published.nyu_depth_v2(folder / "nyu", labels, splits)
    return pairs.Source(folder / "nyu")


def sun_rgbd(folder):
    pictures = {"kv1/a": LABEL, "xtion/b": LABEL + 31}
    splits = {"alltrain": ["kv1/a"], "alltest": ["xtion/b"]}
    published.sun_rgbd(folder, pictures, splits)


def pascal_context(folder):
    label = np.array([0, 2, 23, 440, 445, 458, 459], np.uint16)[LABEL]
    published.pascal_context(folder, NAMES, label)


MAKERS = {
    "ade20k": ade20k,
    "camvid": lambda folder: trees.camvid(folder),
    "cityscapes": cityscapes,
    "coco": coco,
    "coco_voc": coco,
    "nyu_depth_v2": nyu_depth_v2,
    "pascal_context": pascal_context,
    "pascal_context_60": pascal_context,
    "pascal_person_part": lambda folder: published.pascal_person_part(
        folder, NAMES, LABEL
    ),
    "pascal_voc": voc,
    "shapes": lambda _: pairs.Source(),
    "sift_flow": lambda folder: published.sift_flow(
        folder, ["a", "b"], ["b"], LABEL + 27
    ),
    "sun_rgbd": sun_rgbd,
}


@pytest.fixture(params=datasets.list_datasets())
def dataset(request):
    return request.param


@pytest.fixture
def source(dataset, tmp_path, monkeypatch):
    listed = shapes.list_pairs
    monkeypatch.setattr(shapes, "list_pairs", lambda *given: listed(*given)[:3])
    made = MAKERS[dataset](tmp_path / "source")
    return made if isinstance(made, pairs.Source) else pairs.Source(tmp_path / "source")


def test_all_its_splits_are_found_and_built(dataset, source, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "SHARD_PICTURES", 2)
    spec = datasets.get(dataset)
    found = pairs.find_splits(dataset, source)
    splits = [split for split in found if dataset != "camvid" or split != "test"]
    assert {split: found[split] for split in splits} == dict.fromkeys(splits, "")
    result = writer.build_records(dataset, source, tmp_path / "r", splits=splits)
    assert min(result.num_records.values()) > 0 and not result.rejected
    classes = set()
    for split in splits:
        opened = records.open_split(tmp_path / "r", split, dataset=dataset, deep=True)
        for i in range(len(opened)):
            example = records.parse_example(opened.read(i))
            label = records.decode_label(example["label"])
            assert label.shape == records.decode_image(example["image"]).shape[:2]
            classes |= set(np.unique(label).tolist())
    assert classes & set(range(spec.num_classes))
    assert classes <= {*range(spec.num_classes), datasets.IGNORE_LABEL}
    again = writer.build_records(dataset, source, tmp_path / "r", splits=splits)
    assert again.num_kept == sum(result.num_records.values())


def test_it_can_be_looked_at_before_it_is_built(dataset, source):
    for pictures in survey.find_source(dataset, source):
        found = survey.survey(pictures)
        assert found.faults == () and found.num_unlabelled == 0
        assert found.counts.pixels.any()


def test_its_splits_name_no_picture_twice(dataset, source):
    for split, reason in pairs.find_splits(dataset, source).items():
        if not reason:
            listed = pairs.converter(dataset).list_pairs(split, source)
            assert not pairs.find_duplicates(listed)
