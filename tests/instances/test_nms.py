"""Non-maximum suppression."""

import hypothesis
import numpy as np
from hypothesis import strategies as st

from kerasseg.instances import boxes as box_ops
from kerasseg.instances import nms


def greedy(boxes, valid, threshold, classes=None):
    """The greedy loop, as it is defined."""
    overlaps, kept = np.array(box_ops.iou(boxes, boxes)), []
    for i in range(len(boxes)):
        rivals = [j for j in kept if classes is None or classes[i] == classes[j]]
        if valid[i] and all(overlaps[i, j] <= threshold for j in rivals):
            kept.append(i)
    return kept


def rows(starts, side=10):
    """Squares in one row; at distance d their IoU is (side - d) / (side + d)."""
    return np.array([[[0, start, side, start + side] for start in starts]], "float32")


def test_a_suppressed_box_suppresses_no_other():
    # Neighbors have an IoU of 8 / 12 and the outer ones 6 / 14. The second is a
    # duplicate of the first; the third overlaps only the second enough, and stays.
    boxes = rows([0, 2, 4])
    found = nms.suppress(boxes, np.ones((1, 3), bool), 0.5)
    np.testing.assert_array_equal(found, [[True, False, True]])


def test_an_iou_of_the_threshold_is_no_duplicate():
    boxes = np.array([[[0, 0, 2, 2], [0, 0, 2, 1]]], "float32")  # 2 / 4.
    valid = np.ones((1, 2), bool)
    np.testing.assert_array_equal(nms.suppress(boxes, valid, 0.5), [[True, True]])
    np.testing.assert_array_equal(nms.suppress(boxes, valid, 0.49), [[True, False]])


def test_padding_suppresses_nothing_and_is_not_kept():
    boxes, valid = rows([0, 0, 0]), np.array([[False, True, True]])
    found = nms.suppress(boxes, valid, 0.5)
    np.testing.assert_array_equal(found, [[False, True, False]])
    nothing = nms.suppress(boxes, np.zeros((1, 3), bool), 0.5)
    assert not np.any(nothing)


def test_other_classes_are_not_suppressed():
    boxes, valid = rows([0, 0, 0]), np.ones((1, 3), bool)
    found = nms.suppress(boxes, valid, 0.5, np.array([[1, 2, 1]]))
    np.testing.assert_array_equal(found, [[True, True, False]])


def test_kept_indices_come_in_order_and_are_padded():
    boxes, valid = rows([0, 1, 50, 51, 90]), np.ones((1, 5), bool)
    indices, found = nms.nms(boxes, valid, 4, 0.5)
    assert np.array(indices)[0, :3].tolist() == [0, 2, 4]
    np.testing.assert_array_equal(found, [[True, True, True, False]])
    assert 0 <= int(indices[0, 3]) < 5
    indices, found = nms.nms(boxes, valid, 2, 0.5)
    assert np.array(indices).tolist() == [[0, 2]] and np.all(found)


def test_a_long_chain_is_exact():
    # Each overlaps the next by 8 / 12 and the one after by 6 / 14: every other is kept.
    boxes = rows(range(0, 200, 2))
    found = nms.suppress(boxes, np.ones((1, 100), bool), 0.5)
    np.testing.assert_array_equal(found, [[True, False] * 50])


@hypothesis.given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.5, 0.7]))
@hypothesis.settings(max_examples=25, deadline=None)
def test_it_equals_the_greedy_loop(seed, threshold):
    random = np.random.default_rng(seed)
    # Whole coordinates, so that boxes without area and equal boxes occur.
    start = random.integers(0, 20, (2, 40, 2))
    sides = random.integers(0, 16, (2, 40, 2))
    boxes = np.concatenate([start, start + sides], axis=-1).astype("float32")
    valid = random.uniform(size=(2, 40)) < 0.9
    classes = random.integers(1, 3, (2, 40))
    for groups in (None, classes):
        found = np.array(nms.suppress(boxes, valid, threshold, groups))
        for i in range(2):
            group = None if groups is None else groups[i]
            expected = greedy(boxes[i], valid[i], threshold, group)
            assert np.flatnonzero(found[i]).tolist() == expected
