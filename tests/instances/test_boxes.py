"""Areas, overlaps and coding of boxes."""

import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from kerasseg.instances import boxes


def test_area_is_height_times_width_and_0_for_exchanged_corners():
    given = [[0, 0, 2, 3], [3, 5, 4, 6], [2, 2, 2, 9], [5, 5, 1, 1]]
    # 2 * 3; one pixel; no height; (1 - 5) is negative.
    np.testing.assert_array_equal(boxes.area(np.array(given)), [6, 1, 0, 0])


def test_iou_is_worked_by_hand():
    first = np.array([[0, 0, 10, 10], [0, 0, 0, 10]], "float32")
    second = np.array([[0, 5, 10, 15], [2, 2, 4, 4], [20, 20, 30, 30]], "float32")
    # Half of each of two squares: 50 / (100 + 100 - 50) = 1/3. A square of 4 inside of
    # 100: 4 / 100. The second box has no area.
    expected = [[1 / 3, 0.04, 0], [0, 0, 0]]
    np.testing.assert_allclose(boxes.iou(first, second), expected, rtol=1e-6)


def test_overlaps_of_boxes_without_area_are_0_and_not_nan():
    empty = np.zeros((2, 4), "float32")
    np.testing.assert_array_equal(boxes.iou(empty, empty), np.zeros((2, 2)))
    np.testing.assert_array_equal(boxes.coverage(empty, empty), np.zeros((2, 2)))


def test_coverage_is_relative_to_the_first_box():
    small, crowd = [[0, 0, 2, 4]], [[0, 1, 100, 100]]
    # Columns 1 to 4 of 0 to 4: 2 * 3 of 2 * 4. The crowd is 9,900 large.
    assert float(boxes.coverage(small, crowd)[0, 0]) == pytest.approx(3 / 4)
    assert float(boxes.coverage(crowd, small)[0, 0]) == pytest.approx(6 / 9900)


def test_overlaps_of_a_batch_are_those_of_its_images():
    random = np.random.default_rng(0)
    first = np.sort(random.uniform(0, 9, (2, 3, 2, 2)), axis=2).reshape(2, 3, 4)
    second = np.sort(random.uniform(0, 9, (2, 5, 2, 2)), axis=2).reshape(2, 5, 4)
    both = np.array(boxes.iou(first, second))
    assert both.shape == (2, 3, 5)
    np.testing.assert_array_equal(both[1], boxes.iou(first[1], second[1]))


def test_codes_are_worked_by_hand():
    target, anchor = [[10.0, 20, 30, 30]], [[0.0, 20, 10, 40]]
    # Center (20, 25), sides 20 and 10; the anchor's (5, 30), 10 and 20:
    # dy = 15 / 10, dx = -5 / 20, dh = log 2, dw = log 1/2.
    expected = np.array([[1.5, -0.25, math.log(2), -math.log(2)]])
    codes = boxes.encode(target, anchor, boxes.RPN_WEIGHTS)
    np.testing.assert_allclose(codes, expected, rtol=1e-6)
    codes = boxes.encode(target, anchor)
    np.testing.assert_allclose(codes, expected * [10, 10, 5, 5], rtol=1e-6)


def test_a_box_grows_at_most_62_fold_in_decoding():
    decoded = boxes.decode([[0.0, 0, 100, 5 * math.log(2)]], [[0.0, 0, 16, 16]])
    # 16 * 1000 / 16 = 1000 high and 32 wide, around (8, 8).
    np.testing.assert_allclose(decoded, [[-492, -8, 508, 24]], rtol=1e-5)


def test_codes_of_empty_boxes_are_finite():
    empty, box = [[0.0, 0, 0, 0]], [[0.0, 0, 512, 512]]
    for pair in ((empty, box), (box, empty), (empty, empty)):
        assert np.isfinite(boxes.encode(*pair)).all()


SIDES = st.tuples(*[st.floats(-500, 500)] * 2, *[st.floats(1, 50)] * 2)


@hypothesis.given(SIDES, SIDES, st.sampled_from([(1, 1, 1, 1), (10, 10, 5, 5)]))
@hypothesis.settings(max_examples=50, deadline=None)
def test_decoding_inverts_encoding(first, second, weights):
    pair = [
        np.array([[y, x, y + h, x + w]], "float32") for y, x, h, w in (first, second)
    ]
    codes = boxes.encode(*pair, weights)
    np.testing.assert_allclose(
        boxes.decode(codes, pair[1], weights), pair[0], atol=2e-3
    )


def test_boxes_are_clipped_to_each_image():
    given = [[-5.0, 3, 50, 60], [45.0, 2, 60, 9]]
    # 40 x 30: the second lies below the image and becomes empty.
    expected = [[0, 3, 40, 30], [40, 2, 40, 9]]
    np.testing.assert_array_equal(boxes.clip(given, 40, 30), expected)
    both = boxes.clip([given, given], np.array([40, 100]), np.array([30, 100]))
    np.testing.assert_array_equal(both[0], expected)
    np.testing.assert_array_equal(both[1], [[0, 3, 50, 60], [45, 2, 60, 9]])


def test_both_sides_must_be_long_enough():
    given = np.array([[0, 0, 1, 1], [0, 0, 0.5, 9], [0, 0, 9, 0.5]])
    np.testing.assert_array_equal(boxes.are_at_least(given, 1), [True, False, False])
