"""Losses of one logit for each pixel, of class 1 against class 0."""

import numpy as np
import pytest

from kerasseg import losses, metrics

LABELS = np.array([[[1, 0], [1, 255]]], "uint8")
LOGITS = np.array([[[[2.0], [1.0]], [[-1.0], [9.0]]]], "float32")


def test_crossentropy_is_binary():
    total, count = losses.crossentropy(LABELS, LOGITS)
    # -log sigmoid(2) - log(1 - sigmoid(1)) - log sigmoid(-1)
    # = 0.126928 + 1.313262 + 1.313262.
    assert float(total) == pytest.approx(2.753452, rel=1e-5)
    assert float(count) == 3


def test_smoothed_labels_are_those_of_the_sigmoid():
    total, _ = losses.crossentropy(
        np.array([[[1]]], "uint8"), LOGITS[:, :1, :1], label_smoothing=0.2
    )
    # Target 0.9: -0.9 log sigmoid(2) - 0.1 log sigmoid(-2)
    # = 0.9 * 0.126928 + 0.1 * 2.126928.
    assert float(total) == pytest.approx(0.326928, rel=1e-5)


def test_focal_loss_is_binary():
    total, _ = losses.focal(np.array([[[0]]], "uint8"), LOGITS[:, :1, :1], gamma=2.0)
    # p of class 0 is 1 - sigmoid(2) = 0.119203: 0.880797 ** 2 * 2.126928.
    assert float(total) == pytest.approx(1.650078, rel=1e-5)


def test_dice_is_over_both_classes():
    logits = np.zeros((1, 1, 2, 1), "float32")
    total, count = losses.dice(np.array([[[1, 0]]], "uint8"), logits)
    # Each class: tp = 0.5, fp = 0.5, fn = 0.5, so 1 - 1 / 2; times 2 pixels.
    assert (float(total), float(count)) == (1.0, 2.0)


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_every_loss_equals_that_of_two_logits(name):
    two = np.concatenate([0 * LOGITS, LOGITS], axis=-1)
    for options in losses.test_options(name):
        if "class_weights" in options:
            options = {**options, "class_weights": [1, 2]}
        found = losses.get(name)(LABELS, LOGITS, **options)
        expected = losses.get(name)(LABELS, two, **options)
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_keras_classes_take_one_logit():
    loss = losses.CrossEntropy()
    assert float(loss(LABELS, LOGITS)) == pytest.approx(2.753452 / 3, rel=1e-5)
    scores = metrics.SegmentationScores(2, class_names=["no", "yes"])
    scores.update_state(LABELS, LOGITS)
    # Predicted 1, 1, 0 of 1, 0, 1: hits of class 1: 1 of 3; of class 0: 0 of 2.
    assert float(scores.result()["iou_yes"]) == pytest.approx(1 / 3)
    assert float(scores.result()["iou_no"]) == 0
