"""Thresholds with the highest IoU, by hand."""

import numpy as np
import pytest

from kerasseg.evaluation import thresholds


def tuned(probabilities, label):
    both = np.stack([1 - probabilities, probabilities], axis=-1)
    (counts,) = thresholds.count(both, label, multi_label=False)
    return thresholds.best(counts)


def test_the_threshold_with_the_highest_iou_is_chosen():
    probabilities = np.array([[0.9, 0.3, 0.2, 0.8]])
    label = np.array([[1, 1, 0, 0]])
    # Above 0.2: 0.9, 0.3 and 0.8, 2 of 3; above 0.5: 0.9 and 0.8, 1 of 3; above 0.8:
    # 0.9, 1 of 2. From 0.2 to below 0.3 all are the best, and 0.299 is next to 0.5.
    assert tuned(probabilities, label) == (0.299, pytest.approx(1 / 3), 2 / 3)


def test_of_equal_thresholds_that_next_to_a_half_is_chosen():
    probabilities, label = np.array([[0.9, 0.1]]), np.array([[1, 0]])
    assert tuned(probabilities, label) == (0.5, 1.0, 1.0)


def test_a_class_without_a_labeled_pixel_keeps_a_half():
    assert tuned(np.array([[0.9, 0.1]]), np.array([[0, 255]])) == (0.5, 0.0, 0.0)


def test_pixels_with_the_probability_of_the_threshold_are_below_it():
    counts = thresholds.count(
        np.array([[[0.5, 0.5], [0.499, 0.501], [1.0, 0.0]]]),
        np.array([[1, 1, 255]]),
        multi_label=False,
    )
    # 0.5 is in (0.499, 0.5], 0.501 in (0.5, 0.501].
    assert np.argwhere(counts[0, 1]).ravel().tolist() == [499, 500]
    assert counts[0, 0].sum() == 0


def test_each_class_of_several_labels_has_its_own():
    probabilities = np.array([[[0.9, 0.4], [0.2, 0.6]]])
    label = np.array([[2 + 4, 0]])  # Both classes, then none.
    counts = thresholds.count(probabilities, label, multi_label=True)
    assert [thresholds.best(each)[0] for each in counts] == [0.5, 0.399]
