"""Methods that learn from image-level classes: targets, losses, seeds."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import errors, training
from kerasseg.training.few_labels import cam, em_adapt, seeds

SEED = tf.constant([3, 0], tf.int64)


def assigned(logits, tags, valid=None, seed=SEED, **areas):
    """The E-step of one image."""
    logits = tf.constant(logits, tf.float32)[tf.newaxis]
    valid = np.ones(logits.shape[1:3], bool) if valid is None else valid
    target = em_adapt.e_step(
        logits, tf.constant([tags]), tf.constant(valid)[tf.newaxis], seed, **areas
    )
    return target.numpy()[0]


def test_each_class_of_an_image_gets_its_fraction_of_a_map():
    # 2 x 3 pixels; the image shows classes 0 and 1. Class 2 has the highest logits, and
    # is left out. Class 0 has the highest logit of the others everywhere, so that its
    # bias is 0. Class 1 is lower by 4 1 5 / 2 3 6, and needs ceil(0.5 * 6) = 3 pixels:
    # its bias is the third lowest difference, 3.
    first = np.full((2, 3), 10.0)
    second = first - [[4, 1, 5], [2, 3, 6]]
    logits = np.stack([first, second, first + 9], axis=-1)
    target = assigned(logits, [True, True, False], background=0.3, foreground=0.5)
    assert target.dtype == np.uint8
    assert target.tolist() == [[0, 1, 0], [1, 1, 0]]


def test_the_background_gets_its_fraction_before_other_classes():
    # Class 1 is higher than class 0 by 1 to 6. First, class 0 gets ceil(0.5 * 6) = 3
    # pixels by a bias of 3; then class 1 has 3 already, and needs no bias for 2.
    difference = np.array([[1.0, 2, 3], [4, 5, 6]])
    logits = np.stack([np.zeros((2, 3)), difference], axis=-1)
    target = assigned(logits, [True, True], background=0.5, foreground=0.3)
    assert target.tolist() == [[0, 0, 0], [1, 1, 1]]
    # For 4, it takes the third pixel, where both are 3.
    target = assigned(logits, [True, True], background=0.5, foreground=4 / 6)
    assert target.tolist() == [[0, 0, 1], [1, 1, 1]]


def test_fractions_of_zero_are_the_highest_class_of_the_image():
    logits = np.random.default_rng(0).normal(size=(4, 5, 3))
    target = assigned(logits, [True, False, True], background=0.0, foreground=0.0)
    np.testing.assert_array_equal(target, 2 * logits[..., [0, 2]].argmax(axis=-1))


def test_an_image_without_known_classes_is_ignored():
    assert (assigned(np.zeros((2, 2, 3)), [False] * 3) == 255).all()


def test_the_random_order_depends_on_the_seed_only():
    # Every pixel is contested: the class that comes last takes all.
    logits = np.tile([0.0, 1.0, 1.0], (1, 2, 1))
    targets = {
        assigned(
            logits, [False, True, True], seed=tf.constant([step, 0]), foreground=1.0
        ).tobytes()
        for step in range(20)
        for _ in range(2)
    }
    assert targets == {bytes([1, 1]), bytes([2, 2])}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1))
def test_targets_are_classes_of_the_image_in_their_fractions(seed, low, high):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(3, 4, 4)).astype("float32")
    valid = rng.random((3, 4)) < 0.8
    tags = rng.random(4) < 0.5
    target = assigned(
        logits,
        tags.tolist(),
        valid,
        tf.constant([seed, 1], tf.int64),
        background=low,
        foreground=high,
    )
    assert (target[~valid] == 255).all()
    assert set(np.unique(target[valid])) <= ({*np.flatnonzero(tags)} or {255})
    others = np.flatnonzero(tags[1:]) + 1
    if len(others) == 1:  # It comes last, and keeps its fraction.
        assert (target[valid] == others[0]).sum() >= high * valid.sum() - 1e-6
    elif tags[0] and not others.size:
        assert (target[valid] == 0).all()


def test_the_score_of_an_image_is_the_mean_of_its_valid_logits():
    # Class 1: the mean of 1 and 3 is 2, and the image shows it: log(1 + exp(-2)).
    # Class 2: mean 0, not shown: log(2). Class 0 and the pixel that is not valid are
    # left out. The second image has no known classes.
    logits = np.array([[[[9.0, 1, 0], [9, 3, 0], [9, 50, 50]]]] * 2, "float32")
    tags = np.array([[True, True, False], [False] * 3])
    valid = np.array([[[True, True, False]]] * 2)
    expected = (math.log1p(math.exp(-2)) + math.log(2)) / 2
    found = cam.image_loss(*map(tf.constant, (logits, tags, valid)))
    np.testing.assert_allclose(found, [expected, 0], rtol=1e-6)


def test_the_score_of_an_image_can_be_a_smooth_maximum():
    # With r = 2, class 1 has log((exp(2) + exp(6)) / 2) / 2, which is near 3, and class
    # 2 has log(1) / 2 = 0. Class 1 is shown.
    logits = np.array([[[[9.0, 1, 0], [9, 3, 0], [9, 500, 500]]]], "float32")
    tags, valid = np.array([[True, True, False]]), np.array([[[True, True, False]]])
    score = math.log((math.exp(2) + math.exp(6)) / 2) / 2
    expected = (math.log1p(math.exp(-score)) + math.log(2)) / 2
    with tf.GradientTape() as tape:
        given = tf.constant(logits)
        tape.watch(given)
        found = cam.image_loss(given, tf.constant(tags), tf.constant(valid), 2.0)
    np.testing.assert_allclose(found, [expected], rtol=1e-6)
    gradient = tape.gradient(found, given)[0, 0]
    # exp(2) and exp(6) of their sum; the pixel that is not valid has none.
    assert float(gradient[1, 1] / gradient[0, 1]) == pytest.approx(
        math.exp(4), rel=1e-5
    )
    assert not gradient[2].numpy().any()
    # All pixels invalid: finite.
    empty = cam.image_loss(given, tf.constant(tags), tf.zeros([1, 1, 3], bool), 2.0)
    assert np.isfinite(empty).all()


def test_seeds_are_the_highest_map_above_the_threshold():
    # Class 1 divided by its maximum: 1, 0.5, 0.1, 0; class 3: 0.25, 0.5, 0.15, 1. Class
    # 2 is not shown. Equal maps are undecided.
    logits = np.zeros((1, 4, 4))
    logits[0, :, 0] = 99
    logits[0, :, 1] = [10, 5, 1, -3]
    logits[0, :, 2] = 50
    logits[0, :, 3] = [1, 2, 0.6, 4]
    tags = np.array([True, True, False, True])
    assert seeds.seeds(logits, tags).tolist() == [[1, 255, 0, 3]]
    undecided = seeds.seeds(logits, tags, background_threshold=0.15)
    assert undecided.tolist() == [[1, 255, 255, 3]]
    assert not seeds.seeds(logits, np.array([True, False, False, False])).any()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1))
def test_seeds_are_classes_of_the_image(seed, threshold):
    rng = np.random.default_rng(seed)
    logits, tags = rng.normal(size=(3, 5, 6)), rng.random(6) < 0.5
    label = seeds.seeds(logits, tags, threshold=threshold)
    assert label.dtype == np.uint8
    assert set(np.unique(label)) <= {0, 255, *np.flatnonzero(tags)}


def test_refined_seeds_follow_the_edges_of_the_image():
    # The left half is red, the right half blue; the seed of class 2 is one column short
    # of the edge, and one pixel is undecided.
    image = np.zeros((12, 16, 3), np.uint8)
    image[:, :8, 0], image[:, 8:, 2] = 255, 255
    label = np.zeros((12, 16), np.uint8)
    label[:, 9:] = 2
    label[5, 12] = 255
    expected = np.zeros((12, 16), np.uint8)
    expected[:, 8:] = 2
    np.testing.assert_array_equal(seeds.refined(image, label, 3), expected)


def test_seeds_of_one_class_are_not_refined():
    label = np.full((2, 2), 255, np.uint8)
    label[0] = 1
    image = np.zeros((2, 2, 3), np.uint8)
    np.testing.assert_array_equal(seeds.refined(image, label, 3), label)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tags": np.ones(2, bool)}, r"`tags` one value for each class, got \(1, 1, 3"),
        ({"threshold": 0.0}, "`threshold` must be above 0 and at most 1, got 0.0"),
        ({"background_threshold": 0.5}, "from 0 to `threshold=0.3`, got 0.5"),
    ],
)
def test_arguments_of_seeds_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(errors.UserError, match=message):
        seeds.seeds(
            **{"logits": np.ones((1, 1, 3)), "tags": np.ones(3, bool), **arguments}
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 2}, "contains class 2, expected 0 to 1"),
        ({"num_classes": 3, "confidence": 0.5}, "must be above 1 / 2, for 2 classes"),
    ],
)
def test_seeds_that_cannot_be_refined_are_refused(arguments, message):
    label = np.array([[0, 2]], np.uint8)
    with pytest.raises(errors.UserError, match=message):
        seeds.refined(np.zeros((1, 2, 3), np.uint8), label, **arguments)


@pytest.mark.parametrize("name", ["background_area", "foreground_area"])
def test_an_area_is_a_fraction(name):
    with pytest.raises(errors.UserError, match=f"`{name}` must be from 0 to 1"):
        training.FewLabels(**{name: 1.5})
