"""Matching of anchors and proposals to the ground truth."""

import numpy as np

from kerasseg.instances import matching

PADDING = [0, 0, 0, 0]


def padded(*rows, size=4):
    """Pads `(box, class, is_crowd)`, for one image."""
    rows = [*rows, *[(PADDING, 0, False)] * (size - len(rows))]
    boxes, classes, is_crowd = zip(*rows, strict=True)
    return np.array([boxes], "float32"), np.array([classes]), np.array([is_crowd])


def anchor_labels(anchors, *rows):
    labels, matched = matching.match_anchors(
        np.array(anchors, "float32"), *padded(*rows)
    )
    return np.array(labels)[0].tolist(), np.array(matched)[0].tolist()


def proposal_labels(proposals, *rows):
    labels, matched = matching.match_proposals(
        np.array([proposals], "float32"), *padded(*rows)
    )
    return np.array(labels)[0].tolist(), np.array(matched)[0].tolist()


def wide(columns):
    """A box of ten rows; its IoU with another one is that of their columns."""
    return [0, 0, 10, columns]


def test_anchors_are_positive_negative_or_ignored_by_their_iou():
    # IoUs with ten columns: 1, 0.8, 0.7, 0.6, 0.3, 0.2; 0.7 and above is positive and
    # below 0.3 negative.
    labels, _ = anchor_labels(
        [wide(n) for n in (10, 8, 7, 6, 3, 2)], (wide(10), 1, False)
    )
    assert labels == [1, 1, 1, -1, -1, 0]


def test_the_best_anchors_of_each_object_are_positive():
    # The small object has IoUs of 0.1, 0.1 and 0: both best ones are positive.
    small = [0, 0, 1, 10]
    labels, matched = anchor_labels(
        [wide(10), [0, 0, 10, 10], [50, 50, 60, 60]], (small, 2, False)
    )
    assert labels == [1, 1, 0]
    assert matched[:2] == [0, 0]


def test_an_object_that_no_anchor_overlaps_makes_no_positive():
    labels, _ = anchor_labels([wide(10), wide(5)], ([90, 90, 99, 99], 1, False))
    assert labels == [0, 0]


def test_positive_anchors_match_the_object_that_they_overlap_most():
    first, second = wide(10), [0, 0, 10, 4]
    # Nine columns: IoUs 0.9 and 4/9, the largest of both objects.
    labels, matched = anchor_labels([wide(9)], (second, 1, False), (first, 1, False))
    assert (labels, matched) == ([1], [1])


def test_crowds_make_no_positives_and_ignore_what_they_cover():
    crowd = [0, 0, 10, 100]
    # All of the first anchor lies in the crowd, 60 % of the second, 50 % of the third.
    anchors = [[0, 0, 10, 10], [4, 0, 14, 10], [5, 0, 15, 10], [0, 0, 10, 100]]
    assert anchor_labels(anchors, (crowd, 1, True))[0] == [-1, -1, 0, -1]
    # An object within the crowd is still one.
    member = [0, 90, 10, 100]
    labels, matched = anchor_labels(
        [*anchors, member], (crowd, 1, True), (member, 1, False)
    )
    assert labels == [-1, -1, 0, -1, 1]
    assert matched[4] == 1


def test_without_objects_all_is_negative():
    assert anchor_labels([wide(10), PADDING])[0] == [0, 0]
    assert proposal_labels([wide(10), PADDING])[0] == [0, 0]


def test_objects_without_area_make_no_positives():
    empty = ([3, 3, 3, 9], 1, False)
    assert anchor_labels([wide(10), [3, 3, 3, 9]], empty)[0] == [0, 0]
    assert proposal_labels([wide(10), [3, 3, 3, 9]], empty)[0] == [0, 0]


def test_proposals_have_the_class_of_the_object_that_they_overlap():
    rows = (wide(10), 7, False), ([0, 20, 10, 30], 3, False)
    # IoUs 1, 0.5 and 0.4 with the first, 1 with the second.
    proposals = [wide(10), wide(5), wide(4), [0, 20, 10, 30]]
    labels, matched = proposal_labels(proposals, *rows)
    assert labels == [7, 7, 0, 3]
    assert [matched[0], matched[1], matched[3]] == [0, 0, 1]


def test_proposals_in_a_crowd_are_ignored_unless_they_are_positive():
    rows = ([0, 0, 100, 100], 1, True), (wide(10), 2, False)
    labels, _ = proposal_labels(
        [wide(10), [20, 20, 30, 30], [200, 200, 210, 210]], *rows
    )
    assert labels == [2, -1, 0]
