"""Annotations of Label Studio become class numbers, pixel by pixel."""

import json

import hypothesis
import numpy as np
import pytest

from kerasseg import errors
from kerasseg.records import brush_rle
from tests import fuzz
from tests.fuzz import annotation_files, values
from tests.fuzz import test_annotation_files as any_files
from tests.tfrecords_tools.test_annotations import (
    HEIGHT,
    WIDTH,
    add_image,
    label,
    rows,
    written,
)

pytest.importorskip("pycocotools.mask")
assert fuzz
NOTHING = rows("........ " * HEIGHT)


def region(kind, value, **more):
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    return {"id": "r", "type": kind, **size, "value": value, **more}


def brush(name, mask, kind="brushlabels", **more):
    rle = list(brush_rle.encode(np.array(mask, bool)))
    return region(kind, {"format": "rle", "rle": rle, kind: [name]}, **more)


def polygon(name, *points, **more):
    value = {"points": [list(p) for p in points], "polygonlabels": [name]}
    return region("polygonlabels", value, **more)


def task(*results, image="a.png", **data):
    annotation = {"result": list(results), "was_cancelled": False}
    return {"id": 5, "data": {"image": image, **data}, "annotations": [annotation]}


def tasks_label(root, *tasks, **more):
    written(root, "x.json", list(tasks))
    return label(root, **more)


MASK = [[False] * WIDTH] * 2 + [[False, True] * 4] + [[False] * WIDTH] * 3
DRAWN = rows("........ ........ .1.1.1.1 ........ ........ ........")


@pytest.mark.parametrize(
    "image",
    [
        "a.png",
        "folder/a.png",
        "/data/upload/3/0a1b2c3d-a.png",
        "/data/local-files/?d=images/a.png",
        "https://example.org/images/a.png?version=2",
        "s3://bucket/images/a.png",
    ],
)
def test_brush_masks_are_drawn_on_the_image_of_the_address(tmp_path, image):
    add_image(tmp_path)
    assert tasks_label(tmp_path, task(brush("car", MASK), image=image)) == DRAWN


def test_addresses_are_unquoted(tmp_path):
    add_image(tmp_path, "a b+c.png")
    for image in ("/data/local-files/?d=a%20b%2Bc.png", "http://x/a%20b+c.png"):
        assert tasks_label(tmp_path, task(brush("car", MASK), image=image)) == DRAWN


def test_polygons_are_in_percent_and_later_shapes_are_in_front(tmp_path):
    # 12.5 % and 50 % of 8 columns are 1 and 4; 100/6 % and 50 % of 6 rows are 1 and 3.
    third = 100 / 6
    corners = [(12.5, third), (50, third), (50, 50), (12.5, 50)]
    add_image(tmp_path)
    found = tasks_label(tmp_path, task(polygon("road", *corners), brush("car", MASK)))
    assert found == rows("........ .222.... .121.1.1 ........ ........ ........")
    found = tasks_label(tmp_path, task(brush("car", MASK), polygon("road", *corners)))
    assert found == rows("........ .222.... .222.1.1 ........ ........ ........")


def test_labels_of_separate_tags_are_read_once(tmp_path):
    add_image(tmp_path)
    both = brush("car", MASK, kind="labels")
    geometry = {**both, "type": "brush"}
    choice = {"id": "c", "type": "choices", "value": {"choices": ["sunny"]}}
    assert tasks_label(tmp_path, task(geometry, both, choice)) == DRAWN
    with pytest.raises(errors.UserError, match=r"region r, a brush, has no label"):
        tasks_label(tmp_path, task(geometry))


def test_predictions_are_read_only_from_files_for_import(tmp_path):
    add_image(tmp_path)
    ours = task(brush("car", MASK))
    ours["predictions"] = ours.pop("annotations")
    assert tasks_label(tmp_path, ours) == DRAWN
    unlabeled = {**ours, "annotations": []}
    with pytest.raises(errors.UserError, match=r"a\.png"):
        tasks_label(tmp_path, unlabeled)


def test_an_annotation_without_regions_is_background_if_the_size_is_known(tmp_path):
    add_image(tmp_path)
    assert tasks_label(tmp_path, task(width=WIDTH, height=HEIGHT)) == NOTHING
    with pytest.raises(errors.UserError):
        tasks_label(tmp_path, task())
    found = tasks_label(tmp_path, task(), unannotated_as_background=True)
    assert found == NOTHING


def test_canceled_annotations_are_skipped_and_two_are_an_error(tmp_path):
    add_image(tmp_path)
    both = task(brush("car", MASK))
    both["annotations"].append({"result": [], "was_cancelled": True})
    assert tasks_label(tmp_path, both) == DRAWN
    both["annotations"][1]["was_cancelled"] = False
    with pytest.raises(
        errors.UserError, match="task 5 has 2 annotations, expected one"
    ):
        tasks_label(tmp_path, both)


CAR = brush("car", MASK)


def changed(**more):
    return {**CAR, "value": {**CAR["value"], **more}}


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (changed(rle=[0, 0, 0, 192]), "run lengths of a brush mask are cut off"),
        (changed(rle=CAR["value"]["rle"][:-2]), "run lengths of a brush mask are cut"),
        (changed(rle=[255] * 9), "has 4,294,967,295 values, expected 192"),
        (changed(rle=[]), "run lengths of a brush mask are cut off"),
        (changed(rle=[256]), "no bytes, from 0 to 255"),
        (changed(rle=[10**400]), "no bytes, from 0 to 255"),
        (changed(rle="AAAA"), '"rle" of region r is not a list of bytes'),
        (changed(rle=[1.5, True]), '"rle" of region r is not a list of bytes'),
        (changed(brushlabels=[]), "region r has 0 labels, expected one"),
        (changed(brushlabels=["car", "road"]), "region r has 2 labels"),
        (changed(brushlabels=[7]), "region r has 1 labels, expected one"),
        (changed(brushlabels="car"), 'region r has the "brushlabels"'),
        ({**CAR, "value": 3}, 'region r has the "value" 3'),
        ({**CAR, "type": None}, 'number 1 has the "type" None'),
        ({**CAR, "image_rotation": 90}, "region r was drawn on a rotated image"),
        ({**CAR, "original_width": 10**9}, "for an image of 1000000000 x 6|values"),
        ({**CAR, "original_height": "tall"}, "original_height of region r is 'tall'"),
        (polygon("car", (0, 0), (1, "x"), (9, 9)), "coordinate of region r is 'x'"),
        (polygon("car", (0, 0), (1,), (9, 9)), "a point of region r is not a pair"),
        (polygon("car", (0, 0), (9999, 0), (9, 9)), "lies far outside of the image"),
        (polygon("car", (0, 0), (9, 9)), "2 corners, expected at least three"),
        (region("rectanglelabels", {"rectanglelabels": ["car"]}), "rectanglelabels"),
        (7, "region number 1 is 7, expected a JSON object"),
    ],
)
def test_damaged_regions_are_errors(tmp_path, shape, reason):
    add_image(tmp_path)
    with pytest.raises(errors.UserError, match=reason):
        tasks_label(tmp_path, task(shape))


def test_regions_of_two_sizes_are_an_error(tmp_path):
    add_image(tmp_path)
    other = {**CAR, "original_width": 9}
    with pytest.raises(errors.UserError, match="images of 8 x 6 and 9 x 6 pixels"):
        tasks_label(tmp_path, task(CAR, other))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, 'task 5 has 0 texts in its "data"'),
        ({"one": "a.png", "two": "b.png"}, 'task 5 has 2 texts in its "data"'),
        ([], r'task 5 has the "data"'),
    ],
)
def test_tasks_without_one_image_are_errors(tmp_path, data, reason):
    add_image(tmp_path)
    with pytest.raises(errors.UserError, match=rf"x.json is damaged: {reason}"):
        tasks_label(tmp_path, {**task(CAR), "data": data})


@hypothesis.settings(max_examples=80, deadline=None, database=None)
@hypothesis.given(values.changed(annotation_files.label_studio("a.png")))
def test_any_changed_file_gives_a_label_or_an_error(content):
    any_files.check_one(".json", json.dumps(content, default=str).encode())
