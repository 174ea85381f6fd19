"""Masks become files of labeling tools and masks again, pixel by pixel."""

import json
import pathlib
import tempfile
from xml.etree import ElementTree

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from kerasseg import datasets, errors
from kerasseg.inference.labeling import preannotations
from kerasseg.records import brush_rle
from tests.support import tiny
from tfrecords_tools import annotations
from tfrecords_tools.converters import annotated, class_lists

pytest.importorskip("pycocotools.mask")
QUICK = hypothesis.settings(max_examples=50, deadline=None, database=None)
PALETTE = tiny.SPEC.palette
WITH_BACKGROUND = ("background", "car", "low road")
WITHOUT = ("sky", "car", "low road")
WRITERS = {
    "coco.json": lambda masks, names: preannotations.coco(masks, names),
    "cvat.xml": lambda masks, names: preannotations.cvat(masks, names, PALETTE),
    "label_studio.json": lambda masks, names: preannotations.label_studio(masks, names),
}
# Blocks of pixels give regions with holes and steps, single pixels touching corners.
MASKS = strategies.tuples(
    arrays.arrays(
        np.uint8,
        arrays.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=strategies.sampled_from([0, 1, 2, 255]),
    ),
    strategies.sampled_from([(1, 1), (3, 2)]),
).map(lambda pair: np.kron(pair[0], np.ones(pair[1], np.uint8)))


def read_back(file, data, class_names):
    """Masks by the name of the image, as a build draws them."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, file)
        path.write_bytes(data)
        found = annotations.read(str(path))
    classes = class_lists.make_list([(name, None) for name in class_names], "test")
    return {
        each.file_name: annotations.draw(
            annotated.encode(each, classes, name_map={}), (each.height, each.width)
        )
        for each in found
    }


def check(masks, class_names):
    for file, write in WRITERS.items():
        found = read_back(file, write(masks, class_names), class_names)
        assert found.keys() == masks.keys()
        for name, mask in masks.items():
            assert found[name].tolist() == mask.tolist(), file


@QUICK
@hypothesis.given(MASKS, strategies.sampled_from([WITH_BACKGROUND, WITHOUT]))
def test_masks_stay_the_same_in_every_format(mask, class_names):
    check({"deep/a b.png": mask}, class_names)


@pytest.mark.parametrize("class_names", [WITH_BACKGROUND, WITHOUT])
def test_single_pixels_holes_and_empty_masks_stay_the_same(class_names):
    ring = np.ones((5, 5), np.uint8)
    ring[1:4, 1:4] = 255
    ring[2, 2] = 2
    masks = {f"{value}.png": np.full((1, 1), value, np.uint8) for value in (0, 1, 255)}
    check({"ring.png": ring, "all.png": ring * 0 + 255, **masks}, class_names)


def test_255_classes_stay_the_same():
    names = ("background", *(f"class {i}" for i in range(1, 255)))
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    palette = np.zeros((255, 3), np.uint8)
    for file, data in {
        "coco.json": preannotations.coco({"a.png": mask}, names),
        "cvat.xml": preannotations.cvat({"a.png": mask}, names, palette),
        "label_studio.json": preannotations.label_studio({"a.png": mask}, names),
    }.items():
        assert read_back(file, data, names)["a.png"].tolist() == mask.tolist()


def test_background_is_not_a_shape():
    # Pixel 1 of class 1 in a 1 x 3 image: its box is 1, 0, 1, 1.
    mask = np.array([[0, 1, 0]], np.uint8)
    content = json.loads(preannotations.coco({"a.png": mask}, WITH_BACKGROUND))
    (shape,) = content["annotations"]
    assert (shape["category_id"], shape["bbox"]) == (2, [1, 0, 1, 1])
    names = [category["name"] for category in content["categories"]]
    assert names == ["car", "low road", preannotations.IGNORED]
    assert preannotations.IGNORED == annotations.IGNORED
    assert datasets.IGNORE_LABEL == 255


def test_cvat_masks_are_runs_in_their_box():
    # Columns 1 to 2 of rows 0 to 1, without the upper left pixel: 1 x 0, 3 x 1.
    mask = np.array([[0, 0, 1], [0, 1, 1]], np.uint8)
    root = ElementTree.fromstring(
        preannotations.cvat({"a.png": mask}, WITH_BACKGROUND, PALETTE)
    )
    (found,) = root.findall("image/mask")
    expected = {"left": "1", "top": "0", "width": "2", "height": "2", "rle": "1, 3"}
    assert {key: found.get(key) for key in expected} == expected
    assert root.findtext("meta/task/labels/label/color") == "#ff0000"


def test_label_studio_tasks_fit_the_labeling_interface():
    mask = np.array([[0, 1, 2]], np.uint8)
    (task,) = json.loads(
        preannotations.label_studio({"a/b c.png": mask}, WITH_BACKGROUND)
    )
    assert task["data"]["image"] == "/data/local-files/?d=a/b%20c.png"
    view = ElementTree.fromstring(
        preannotations.label_studio_config(WITH_BACKGROUND, PALETTE)
    )
    brush = view.find("BrushLabels")
    names = {label.get("value") for label in brush}
    (prediction,) = task["predictions"]
    for region in prediction["result"]:
        assert region["from_name"] == brush.get("name")
        assert (
            region["to_name"] == brush.get("toName") == view.find("Image").get("name")
        )
        assert {*region["value"]["brushlabels"]} <= names
        assert (region["original_width"], region["original_height"]) == (3, 1)
    rle = bytes(prediction["result"][1]["value"]["rle"])
    assert brush_rle.decode(rle, (1, 3)).tolist() == [[False, False, True]]


def test_too_large_masks_are_refused():
    huge = np.lib.stride_tricks.as_strided(
        np.zeros(1, bool), (1 << 15, 1 << 15), (0, 0)
    )
    with pytest.raises(errors.UserError, match=r"at most 1,073,741,823 pixels"):
        brush_rle.encode(huge)
