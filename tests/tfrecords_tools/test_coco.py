"""COCO 2017 and its part in VOC's classes, in a miniature with COCO's own numbers."""

import json
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasseg import datasets, records
from tests.support import published
from tfrecords_tools.annotations import coco as coco_files
from tfrecords_tools.converters import coco, coco_voc, coco_voc_torchvision, pairs
from tfrecords_tools.writing import writer

pytest.importorskip("pycocotools")

# COCO's category -> VOC's class.
TO_VOC = {"airplane": "aeroplane", "couch": "sofa", "dining table": "diningtable"}
TO_VOC |= {"motorcycle": "motorbike", "potted plant": "pottedplant", "tv": "tvmonitor"}


def thing(category, left, right, **more):
    """A thing with the height of the image, 40 rows."""
    polygon = [left, 0, right, 0, right, 40, left, 40]
    area = float(40 * (right - left))
    facts = {"category_id": category, "segmentation": [polygon], "area": area}
    return {**facts, "iscrowd": 0, **more}


IMAGES = {
    "000000000009.jpg": (40, 60, [thing(1, 0, 30), thing(54, 20, 40)]),  # A sandwich.
    "000000000025.jpg": (40, 60, [thing(25, 0, 60)]),  # A giraffe, none of VOC's.
    "000000000030.jpg": (40, 60, [thing(3, 0, 25)]),  # 1,000 pixels of a car.
    "000000000034.jpg": (40, 60, []),
    "000000000036.jpg": (40, 60, [thing(90, 0, 10), thing(2, 10, 60, iscrowd=1)]),
    "000000000049.jpg": (40, 60, [thing(1, 0, 15), thing(1, 20, 35)]),
}


@pytest.fixture
def source(tmp_path):
    parts = {"train2017": IMAGES, "val2017": IMAGES}
    return pairs.Source(published.coco(tmp_path / "coco", parts))


def labels(dataset, source, folder, split="train"):
    writer.build_records(dataset, source, folder, splits=[split])
    opened = records.open_split(folder, split, deep=True)
    examples = [records.parse_example(opened.read(i)) for i in range(len(opened))]
    return {
        example["name"].lstrip("0"): records.decode_label(example["label"])
        for example in examples
    }


def test_the_spec_is_that_of_coco_2017():
    spec = datasets.get("coco")
    assert spec.num_images == {"train": 118287, "val": 5000}
    assert spec.num_classes == 1 + 80 == 1 + len(coco.CLASSES)
    # Categories 1, 13 and 90 of 1 to 90, of which ten are not used.
    numbers = [coco.CLASSES[category] for category in (1, 13, 90)]
    assert [spec.class_names[i] for i in numbers] == [
        "person",
        "stop sign",
        "toothbrush",
    ]


def test_the_part_in_vocs_classes_is_mapped_by_name():
    spec, voc = datasets.get("coco_voc"), datasets.get("pascal_voc")
    other = datasets.get("coco_voc_torchvision")
    assert spec.classes == other.classes == voc.classes
    assert spec.num_images == {"train": 60000, "val": 5000}
    assert other.num_images == {"train": 92518, "val": 5000}
    names = datasets.get("coco").class_names
    for category, number in coco_voc.CLASSES.items():
        name = names[coco.CLASSES[category]]
        assert TO_VOC.get(name, name) == voc.class_names[number]
    assert sorted(coco_voc.CLASSES.values()) == list(range(1, 21))


def test_things_are_drawn_and_crowds_ignored(source, tmp_path):
    found = labels("coco", source, tmp_path / "r")
    assert list(found) == ["9", "25", "30", "34", "36", "49"]
    # The sandwich, 49th thing, is smaller and is drawn over the person.
    assert found["9"][0, [0, 19, 20, 39, 40]].tolist() == [1, 1, 49, 49, 0]
    assert (found["34"] == 0).all()
    assert np.unique(found["36"][:, :10]).tolist() == [80]
    assert np.unique(found["36"][:, 10:]).tolist() == [255]


def test_voc_is_trained_on_more_than_a_thousand_pixels(source, tmp_path):
    found = labels("coco_voc", source, tmp_path / "train")
    # 1,200 pixels of a person; 2,000 of a crowd of bicycles; the car has 1,000 only.
    assert list(found) == ["9", "36"]
    # The sandwich is background, and does not hide the person either.
    assert found["9"][0, [0, 29, 30, 59]].tolist() == [15, 15, 0, 0]
    assert found["36"][0, [0, 9, 10]].tolist() == [0, 0, 255]
    # Of two persons of 600 pixels each, only the sum is above 1,000.
    found = labels("coco_voc_torchvision", source, tmp_path / "sums")
    assert list(found) == ["9", "36", "49"]
    found = labels("coco_voc", source, tmp_path / "val", "val")
    assert list(found) == ["9", "25", "30", "34", "36", "49"]
    assert not found["25"].any()


def test_changed_annotations_are_built_again(source, tmp_path):
    labels("coco", source, tmp_path / "r")
    path = source.source_dir / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["category_id"] = 2
    path.write_text(json.dumps(content))
    assert labels("coco", source, tmp_path / "r")["9"][0, 0] == 2


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 25, 54]), st.floats(0, 1500)), max_size=5)
)
def test_images_are_selected_by_regions_or_by_their_sum(regions):
    annotations = tuple({"category_id": c, "area": area} for c, area in regions)
    image = coco_files.CocoImage("1.jpg", 40, 60, annotations)
    areas = [area for category, area in regions if category in (1, 2)]  # Of VOC.
    with mock.patch.object(coco, "read_part", return_value=("folder", [image])):
        for converter, expected in (
            (coco_voc, any(area > 1000 for area in areas)),
            (coco_voc_torchvision, sum(areas) > 1000),
        ):
            with mock.patch.object(coco, "make_pair", return_value="pair"):
                found = converter.list_pairs("train", pairs.Source())
                assert found == ["pair"] * expected
                assert converter.list_pairs("val", pairs.Source()) == ["pair"]


def test_files_that_are_not_cocos_are_refused(source):
    path = source.source_dir / "annotations" / "instances_val2017.json"
    published.coco_file(path, IMAGES, {1: "person"})
    with pytest.raises(ValueError, match="has 1 categories, expected the 80 of COCO"):
        coco.list_pairs("val", source)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"instances_val2017\.json"):
        coco_voc.list_pairs("val", source)
    with pytest.raises(FileNotFoundError, match="COCO's folder train2017 is needed"):
        coco.list_pairs("train", pairs.Source(source.source_dir / "annotations"))
