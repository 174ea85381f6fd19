"""The comparison of exported detections with those of the trained network."""

import numpy as np
import pytest

from kerasseg.exporting import formats, instance_checking


def found(boxes, scores=None, classes=None, count=4):
    """Outputs with boxes, and padding up to `count`."""
    n = len(boxes)
    outputs = {
        "boxes": np.zeros((count, 4), np.float32),
        "scores": np.zeros(count, np.float32),
        "classes": np.zeros(count, np.int32),
        "valid": np.arange(count) < n,
        "mask_probabilities": np.zeros((count, 2, 2), np.float32),
    }
    outputs["boxes"][:n] = np.reshape(boxes, (-1, 4))
    outputs["scores"][:n] = [0.9] * n if scores is None else scores
    outputs["classes"][:n] = [1] * n if classes is None else classes
    outputs["mask_probabilities"][:n] = 1
    return outputs


def compare(actual, expected):
    check = instance_checking.Check(formats.all_formats()["onnx"], reference=None)
    check.compare(actual, expected, (100, 100))
    return check.result()


A, B = (10, 10, 30, 30), (50, 50, 90, 90)


def test_equal_scores_may_be_in_another_order():
    result = compare(found([A, B]), found([B, A]))
    assert (result["detections"], result["detections_without_match"]) == (2, 0)
    assert result["largest_box_difference"] == 0


def test_differences_are_relative_to_the_longer_side():
    # 0.005 pixels of 100 are 5e-5; the tolerance 1e-4 is 0.01 pixels.
    moved = (10, 10.005, 30, 30)
    result = compare(found([moved, B]), found([A, B]))
    assert result["largest_box_difference"] == pytest.approx(5e-5, rel=0.01)


@pytest.mark.parametrize(
    "actual",
    [
        pytest.param(found([(10, 10.02, 30, 30), B]), id="box"),
        pytest.param(found([A, B], scores=[0.9, 0.898]), id="score"),
        pytest.param(found([A, B], classes=[1, 2]), id="class"),
        pytest.param(found([A]), id="missing"),
        pytest.param(found([A, B, B]), id="additional"),
        pytest.param(
            {**found([A, B]), "mask_probabilities": np.zeros((4, 2, 2), np.float32)},
            id="mask",
        ),
    ],
)
def test_a_detection_without_a_match_is_an_error(actual):
    with pytest.raises(ValueError, match=r"onnx .* [12] of 2 detections have no match"):
        compare(actual, found([A, B]))


def test_two_of_a_hundred_detections_may_have_no_match():
    rows = [(i, 0, i + 1, 10) for i in range(100)]
    two, three = (found([*rows[:-k], *[B] * k], count=101) for k in (2, 3))
    expected = found(rows, count=101)
    assert compare(two, expected)["detections_without_match"] == 2
    with pytest.raises(ValueError, match="3 of 100 detections have no match"):
        compare(three, expected)


def test_rounding_decides_at_the_end_of_a_full_list():
    # Of three equal scores two fit into the list.
    scores = [0.9, 0.5]
    result = compare(found([A, B], scores, count=2), found([A, A], scores, count=2))
    assert result["detections_without_match"] == 0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"boxes": np.zeros((3, 4), np.float32)}, r"boxes is \(\(3, 4\)"),
        ({"classes": np.zeros(4, np.int64)}, "classes is"),
        ({"scores": np.full(4, np.nan, np.float32)}, "scores is NaN or infinite"),
        # 20 x 20 pixels, without 10 at each corner.
        ({"masks": np.zeros((4, 100, 100), bool)}, "masks in 360 of 10000 pixels"),
    ],
)
def test_other_outputs_are_errors(change, text):
    with pytest.raises(ValueError, match=text):
        compare({**found([A]), **change}, found([A]))


def test_nothing_detected_is_a_warning(caplog):
    assert compare(found([]), found([]))["detections"] == 0
    assert "detects nothing in the 1 images" in caplog.text
