"""Files of detected instances: COCO JSON, maps of ids, and overlays."""

import json
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kerasseg import errors, evaluation, images
from kerasseg.images import instance_drawing
from kerasseg.inference import outputs, videos
from tests.support import detected

pytest.importorskip("pycocotools.mask")

PALETTE = detected.spec().palette
KINDS = ("instances", "instance_ids", "overlay")


def prediction(detections, size, *, image=None, name="a.jpg", **options):
    if image is None:
        image = np.full((*size, 3), 200, np.uint8)
    mask = detections.above(0.5).class_map(size)
    return outputs.Prediction(
        name, image, mask, None, detected.NAMES, PALETTE, detections, **options
    )


@st.composite
def any_detections(draw):
    height, width = size = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    count = draw(st.integers(0, 4))
    corners = arrays.arrays(
        np.float32, (count, 2, 2), elements=st.floats(0, 1, width=32)
    )
    boxes = draw(corners) * np.array(size, np.float32)
    boxes.sort(axis=1)
    scores = arrays.arrays(np.float32, count, elements=st.floats(0, 1, width=32))
    return size, images.Detections(
        boxes.reshape(-1, 4),
        np.sort(draw(scores))[::-1],
        draw(arrays.arrays(np.int32, count, elements=st.integers(1, 3))),
        draw(arrays.arrays(bool, (count, height, width))),
    )


@settings(max_examples=40, deadline=None)
@given(any_detections())
def test_any_detections_are_written_and_read_again(tmp_path_factory, given_):
    size, detections = given_
    folder = tmp_path_factory.mktemp("out")
    outputs.write(folder, "deep/a", KINDS, prediction(detections, size))
    (again,) = evaluation.read_results(
        folder / "instances", [("a", size)], detected.NAMES
    )
    assert (again.scores == detections.scores).all()
    assert (again.classes == detections.classes).all()
    np.testing.assert_allclose(again.boxes, detections.boxes, rtol=1e-12, atol=1e-12)
    for mask, expected in zip(again.masks or [], detections.masks, strict=True):
        assert (mask == expected).all()
    ids = cv2.imread(str(folder / "instance_ids/deep/a.png"), cv2.IMREAD_UNCHANGED)
    assert ids.dtype == np.uint16
    assert (ids == detections.above(0.5).id_map(size)).all()
    overlay = cv2.imread(str(folder / "overlay/deep/a.png"))
    assert overlay.shape == (*size, 3)


def test_the_json_is_in_the_format_of_coco(tmp_path):
    found = detected.detections(
        (4, 6), [(3, 0.75, (1, 1, 3, 3)), (1, 0.25, (0, 0, 1, 6))]
    )
    outputs.write(tmp_path, "a", ["instances"], prediction(found, (4, 6)))
    content = json.loads((tmp_path / "instances/a.json").read_text())
    assert content["images"] == [
        {"id": 1, "file_name": "a.jpg", "width": 6, "height": 4}
    ]
    assert content["categories"] == [
        {"id": 1, "name": "car"},
        {"id": 2, "name": "person"},
        {"id": 3, "name": "dog"},
    ]
    first, second = content["annotations"]  # Also those of low score.
    assert first | {"segmentation": None} == {
        "id": 1,
        "image_id": 1,
        "category_id": 3,
        "score": 0.75,
        "bbox": [1, 1, 2, 2],
        "segmentation": None,
        "area": 4,
        "iscrowd": 0,
    }
    assert second["score"] == 0.25


def test_ids_are_those_of_the_json_even_where_scores_are_not_sorted(tmp_path):
    found = detected.detections(
        (1, 4), [(1, 0.1, (0, 0, 1, 1)), (1, 0.9, (0, 1, 1, 3))]
    )
    outputs.write(tmp_path, "a", ["instance_ids"], prediction(found, (1, 4)))
    ids = cv2.imread(str(tmp_path / "instance_ids/a.png"), cv2.IMREAD_UNCHANGED)
    assert ids.tolist() == [[0, 2, 2, 0]]
    lower = prediction(found, (1, 4), min_score=0.1)
    outputs.write(tmp_path, "a", ["instance_ids"], lower)
    ids = cv2.imread(str(tmp_path / "instance_ids/a.png"), cv2.IMREAD_UNCHANGED)
    assert ids.tolist() == [[1, 2, 2, 0]]


def test_a_video_of_instances_has_an_overlay_and_a_file_per_frame(tmp_path):
    class Frames:
        rate = 5.0

    found = detected.detections((32, 48), [(1, 0.9, (4, 4, 20, 30))])
    with videos.Results(tmp_path, "clip", KINDS, Frames) as results:
        for _ in range(2):
            results.add(prediction(found, (32, 48), name="clip.mp4"))
    assert (tmp_path / "overlay/clip.mp4").exists()
    assert sorted(p.name for p in (tmp_path / "instances/clip").iterdir()) == [
        "000000.json",
        "000001.json",
    ]


# Drawings.


def test_an_overlay_fills_outlines_and_boxes_the_instances():
    image = np.full((60, 80, 3), 200, np.uint8)
    found = detected.detections((60, 80), [(2, 0.9, (20, 30, 50, 70))])
    drawn = instance_drawing.overlay_detections(image, found, detected.NAMES, PALETTE)
    color = PALETTE[2].astype(int)
    assert (image == 200).all()  # It is not changed.
    assert (drawn[:5] == 200).all()
    assert (drawn[49, 30:70] == color).all()  # The lower edge of the box.
    # Inside: 0.65 * 200 + 0.35 * color.
    assert np.abs(drawn[40, 50] - (130 + 0.35 * color)).max() < 1
    assert (drawn[10:20, 30:70] == color).all(-1).any()  # The caption, above the box.


def test_only_detections_of_at_least_the_minimum_score_are_drawn():
    image = np.full((60, 80, 3), 200, np.uint8)
    found = detected.detections((60, 80), [(2, 0.4, (20, 30, 50, 70))])
    drawn = instance_drawing.overlay_detections(image, found, detected.NAMES, PALETTE)
    assert (drawn == image).all()
    drawn = instance_drawing.overlay_detections(
        image, found, detected.NAMES, PALETTE, min_score=0.4
    )
    assert (drawn != image).any()


def test_the_highest_score_is_drawn_last():
    found = [(1, 0.9, (0, 0, 40, 40)), (2, 0.6, (0, 0, 40, 40))]
    found = detected.detections((40, 40), found)
    drawn = instance_drawing.overlay_detections(
        np.zeros((40, 40, 3), np.uint8), found, detected.NAMES, PALETTE
    )
    assert (drawn[39, 5] == PALETTE[1]).all()


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.lists(st.floats(-1e30, 1e30), min_size=4, max_size=4),
    st.text(max_size=8),
)
def test_any_box_and_caption_is_drawn_inside_of_the_image(size, box, caption):
    image = np.zeros((*size, 3), np.uint8)
    mask = np.zeros(size, bool)
    mask[size[0] // 2 :, size[1] // 2 :] = True
    drawing = instance_drawing.Drawing((255, 0, 0), mask, box, caption)
    drawn = instance_drawing.draw_instances(image, [drawing])
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (drawn[mask] != 0).any()


def test_detections_without_masks_are_drawn_as_boxes():
    found = images.Detections(np.array([[2, 2, 35, 35]]), np.ones(1), np.ones(1, int))
    drawn = instance_drawing.overlay_detections(
        np.zeros((40, 40, 3), np.uint8), found, detected.NAMES, PALETTE
    )
    assert (drawn[34, 2:35] == PALETTE[1]).all()


# Wrong use.


def test_kinds_that_a_network_does_not_have_are_refused():
    outputs.check_network(["index", "overlay"], detects_instances=False)
    outputs.check_network([*KINDS, "index", "contours"], detects_instances=True)
    with pytest.raises(errors.UserError, match="`output`: instance_ids need a network"):
        outputs.check_network(["index", "instance_ids"], detects_instances=False)
    with pytest.raises(errors.UserError, match="`output`: probabilities need a netw"):
        outputs.check_network(["probabilities"], detects_instances=True)


def test_a_missing_package_is_reported_before_anything_is_predicted(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    outputs.check(["instance_ids", "overlay"])
    with pytest.raises(
        errors.MissingPackageError, match=r"pip install 'kerasseg\[data"
    ):
        outputs.check(["instances"])
