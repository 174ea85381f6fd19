"""Losses of regions: Dice, Jaccard, Tversky and Lovasz, and what all have in common."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import losses
from tests.losses.test_losses import QUARTER, pixels

# Each pixel has probabilities [1/4, 3/4]. Class 0 has 1/4 on its own pixel and 1/2 in
# all, class 1 has 3/4 and 3/2; each has one pixel. The third pixel is ignored.
LABELS, LOGITS = pixels([0, 1, 255], [QUARTER, QUARTER, [5.0, 0.0]])
# Losses that are sums over pixels accept weights of pixels.
REGION_LOSSES = [
    name
    for name, loss in losses.LOSSES.items()
    if "pixel_weights" not in inspect.signature(loss).parameters
]


def value(loss, labels=LABELS, logits=LOGITS, **options):
    total, count = loss(labels, logits, **options)
    assert float(count) == np.sum(labels != 255)
    return float(losses.mean(total, count))


def test_dice_equals_that_worked_by_hand():
    # 1 - 2 * 1/4 / (1/2 + 1) = 2/3 and 1 - 2 * 3/4 / (3/2 + 1) = 2/5: mean 8/15.
    assert value(losses.dice) == pytest.approx(8 / 15)


def test_jaccard_equals_that_worked_by_hand():
    # 1 - 1/4 / (3/2 - 1/4) = 4/5 and 1 - 3/4 / (5/2 - 3/4) = 4/7: mean 24/35.
    assert value(losses.jaccard) == pytest.approx(24 / 35)


def test_tversky_equals_that_worked_by_hand():
    # Class 0: fp 1/4, fn 3/4: 1 - 0.25 / (0.25 + 0.075 + 0.525) = 0.705882.
    # Class 1: fp 3/4, fn 1/4: 1 - 0.75 / (0.75 + 0.225 + 0.175) = 0.347826.
    assert value(losses.tversky) == pytest.approx(0.526854, abs=1e-6)
    # Squared: (0.498270 + 0.120983) / 2.
    assert value(losses.tversky, exponent=2) == pytest.approx(0.309626, abs=1e-6)
    assert value(losses.tversky, alpha=1, beta=1) == value(losses.jaccard)


def test_lovasz_equals_that_worked_by_hand():
    # Class 0: errors 3/4 (its own pixel) and 1/4. The Jaccard loss is 1 if the first is
    # wrong and does not grow with the second: 3/4 * 1. Class 1: errors 3/4 (another
    # class's pixel) and 1/4 (its own). It is 1/2 if the first is wrong, 1 if both are:
    # 3/4 * 1/2 + 1/4 * 1/2 = 1/2. The mean is 5/8.
    assert value(losses.lovasz_softmax) == pytest.approx(5 / 8)


@pytest.mark.parametrize("name", REGION_LOSSES)
def test_classes_without_a_labeled_pixel_are_left_out(name):
    loss = losses.get(name)
    labels, logits = pixels([0, 1], [[0.0, np.log(3.0), -200.0]] * 2)
    two = loss(*pixels([0, 1], [QUARTER] * 2))
    np.testing.assert_allclose(loss(labels, logits), two, rtol=1e-6)


@pytest.mark.parametrize("name", REGION_LOSSES)
def test_images_are_weighted_by_their_labeled_pixels(name):
    loss = losses.get(name)
    one = pixels([0, 0, 0], [QUARTER] * 3)
    other = pixels([1, 255, 255], [QUARTER] * 3)
    whole = [np.concatenate(pair) for pair in zip(one, other, strict=True)]
    expected = (3 * value(loss, *one) + 1 * value(loss, *other)) / 4
    assert value(loss, *whole) == pytest.approx(expected)
    assert value(loss, *one) != pytest.approx(value(loss, *other))


def softmax(logits):
    power = np.exp(logits.astype("float64"))
    return power / power.sum(-1, keepdims=True)


def jaccard_loss(target, wrong):
    """Returns the Jaccard loss of a region of which a set of pixels is wrong."""
    return len(wrong) / len(target | wrong) if wrong else 0.0


def lovasz_by_sets(label, logits):
    """Computes equation 9 of the paper with explicit sets."""
    inside = label != 255
    label, probabilities = label[inside], softmax(logits)[inside]
    values = []
    for number in np.unique(label):
        errors = np.abs((label == number) - probabilities[:, number])
        target = set(np.flatnonzero(label == number))
        wrong: set[int] = set()
        value = 0.0
        for i in np.argsort(-errors, kind="stable"):
            before = jaccard_loss(target, wrong)
            wrong.add(i)
            value += errors[i] * (jaccard_loss(target, wrong) - before)
        values.append(value)
    return np.mean(values) * len(label) if values else 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 1.0]))
def test_lovasz_equals_its_definition(seed, ignored):
    random = np.random.default_rng(seed)
    labels = random.choice([0, 1, 2], (2, 3, 4))
    labels[random.uniform(size=labels.shape) < ignored] = 255
    logits = np.round(random.normal(size=(2, 3, 4, 3)), 1).astype("float32")
    total, _ = losses.lovasz_softmax(labels, logits)
    expected = sum(map(lovasz_by_sets, labels, logits))
    assert float(total) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("option", ["alpha", "beta", "exponent"])
def test_options_of_the_index_must_be_above_0(option):
    with pytest.raises(
        ValueError, match=f"`{option}` must be above 0 and finite, got 0"
    ):
        losses.tversky(LABELS, LOGITS, **{option: 0})
