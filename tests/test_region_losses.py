"""Dice, Jaccard, Tversky and Lovasz worked by hand, and against plain Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import losses
from tests.test_losses import QUARTER, gradient, pixels

# Each pixel has probabilities [1/4, 3/4]. Class 0: on its own pixel 1/4, in all 1/2,
# one pixel. Class 1: 3/4, 3/2, one pixel. The third pixel is ignored.
LABELS, LOGITS = pixels([0, 1, 255], [QUARTER, QUARTER, [5.0, 0.0]])


def value(loss, labels=LABELS, logits=LOGITS, **options):
    total, count = loss(labels, logits, **options)
    assert float(count) == np.sum(labels != 255)
    return float(losses.mean(total, count))


def test_dice_compares_twice_what_is_shared_with_both_sizes():
    # 1 - 2 * 1/4 / (1/2 + 1) = 2/3 and 1 - 2 * 3/4 / (3/2 + 1) = 2/5: mean 8/15.
    assert value(losses.dice) == pytest.approx(8 / 15)


def test_jaccard_compares_what_is_shared_with_the_union():
    # 1 - 1/4 / (3/2 - 1/4) = 4/5 and 1 - 3/4 / (5/2 - 3/4) = 4/7: mean 24/35.
    assert value(losses.jaccard) == pytest.approx(24 / 35)


def test_tversky_weighs_what_is_false_and_what_is_missed():
    # Class 0: false 1/4, missed 3/4: 1 - 0.25 / (0.25 + 0.075 + 0.525) = 0.705882.
    # Class 1: false 3/4, missed 1/4: 1 - 0.75 / (0.75 + 0.225 + 0.175) = 0.347826.
    assert value(losses.tversky) == pytest.approx(0.526854, abs=1e-6)
    # Squared: (0.498270 + 0.120983) / 2.
    assert value(losses.tversky, exponent=2) == pytest.approx(0.309626, abs=1e-6)
    assert value(losses.tversky, alpha=1, beta=1) == value(losses.jaccard)


def test_lovasz_weighs_errors_by_what_they_add_to_the_jaccard_loss():
    # Class 0: errors 3/4 (its own) and 1/4. The first alone is wrong: Jaccard loss 1,
    # the second adds nothing: 3/4. Class 1: errors 3/4 (another's) and 1/4 (its own).
    # The first alone: 1/2; both: 1: 3/4 * 1/2 + 1/4 * 1/2 = 1/2. Mean 5/8.
    assert value(losses.lovasz_softmax) == pytest.approx(5 / 8)


@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky", "lovasz_softmax"])
def test_classes_that_no_label_shows_are_left_out(name):
    loss = losses.get(name)
    labels, logits = pixels([0, 1], [[0.0, np.log(3.0), -200.0]] * 2)
    two = loss(*pixels([0, 1], [QUARTER] * 2))
    np.testing.assert_allclose(loss(labels, logits), two, rtol=1e-6)


@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky", "lovasz_softmax"])
def test_pictures_weigh_as_much_as_their_labelled_pixels(name):
    loss = losses.get(name)
    one = pixels([0, 0, 0], [QUARTER] * 3)
    other = pixels([1, 255, 255], [QUARTER] * 3)
    whole = [np.concatenate(pair) for pair in zip(one, other, strict=True)]
    wanted = (3 * value(loss, *one) + 1 * value(loss, *other)) / 4
    assert value(loss, *whole) == pytest.approx(wanted)
    assert value(loss, *one) != pytest.approx(value(loss, *other))


def chances_of(logits):
    power = np.exp(logits.astype("float64"))
    return power / power.sum(-1, keepdims=True)


def jaccard_loss(truth, wrong):
    """The loss of a set of wrong pixels: missed and false ones over the union."""
    return len(wrong) / len(truth | wrong) if wrong else 0.0


def lovasz_by_sets(label, logits):
    """Equation 9 of the paper, each set written out."""
    inside = label != 255
    label, chance = label[inside], chances_of(logits)[inside]
    values = []
    for number in np.unique(label):
        errors = np.abs((label == number) - chance[:, number])
        truth = set(np.flatnonzero(label == number))
        wrong: set[int] = set()
        value = 0.0
        for i in np.argsort(-errors, kind="stable"):
            before = jaccard_loss(truth, wrong)
            wrong.add(i)
            value += errors[i] * (jaccard_loss(truth, wrong) - before)
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
    wanted = sum(map(lovasz_by_sets, labels, logits))
    assert float(total) == pytest.approx(wanted, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky", "lovasz_softmax"])
def test_gradients_are_the_slopes_of_the_values(name):
    random = np.random.default_rng(1)
    labels = random.choice([0, 1, 2, 255], (2, 3, 4))
    logits = random.normal(size=(2, 3, 4, 3)).astype("float32")
    slope = gradient(losses.get(name), labels, logits)
    for index in [(0, 0, 0, 0), (1, 2, 3, 1), (0, 1, 2, 2), (1, 0, 3, 0)]:
        step = np.zeros_like(logits)
        step[index] = 0.01
        up, down = [
            losses.get(name)(labels, x)[0] for x in (logits + step, logits - step)
        ]
        assert slope[index] == pytest.approx(float(up - down) / 0.02, abs=2e-3)


@pytest.mark.parametrize("option", ["alpha", "beta", "exponent"])
def test_numbers_that_no_index_can_have_are_named(option):
    with pytest.raises(ValueError, match=f"{option} is above 0 and finite, got 0"):
        losses.tversky(LABELS, LOGITS, **{option: 0})
