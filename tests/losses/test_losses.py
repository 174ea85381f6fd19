import functools
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from kerasseg import losses
from kerasseg.system import registry

# Softmax of [0, log 3] is [1/4, 3/4].
QUARTER = np.array([0.0, np.log(3.0)], "float32")


def pixels(labels, logits):
    """Returns one image, one pixel high."""
    return np.array([[labels]]), np.array([[logits]], "float32")


def gradient(loss, labels, logits, **options):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total, _ = loss(labels, logits, **options)
    return tape.gradient(total, logits).numpy()


# Every loss with its defaults and with each of its test options.
OPTIONS = [
    (name, options) for name in losses.LOSSES for options in losses.test_options(name)
]
THREE_CLASSES = np.random.default_rng(1).choice([0, 1, 2, 255], (2, 5, 7))


@pytest.fixture(params=[False, True], ids=["plain", "xla"])
def compiled(request):
    def wrap(loss, **options):
        def call(labels, logits):
            return loss(labels, logits, **options)

        return tf.function(call, jit_compile=request.param, autograph=False)

    return wrap


def test_crossentropy_sums_and_counts_the_labeled_pixels():
    labels, logits = pixels([0, 1, 255], [QUARTER] * 3)
    total, count = losses.crossentropy(labels, logits)
    # -log(1/4) - log(3/4) = 1.386294 + 0.287682; the third pixel is ignored.
    assert float(total) == pytest.approx(1.386294 + 0.287682, abs=1e-5)
    assert float(count) == 2
    assert float(losses.mean(total, count)) == pytest.approx(0.836988, abs=1e-5)


def test_class_weights_scale_the_loss_and_not_the_count():
    labels, logits = pixels([0, 1, 255], [QUARTER] * 3)
    total, count = losses.crossentropy(labels, logits, class_weights=[2.0, 0.5])
    # 2 * 1.386294 + 0.5 * 0.287682 = 2.916430
    assert float(total) == pytest.approx(2.916430, abs=1e-5)
    assert float(count) == 2


def test_label_smoothing_spreads_the_target():
    labels, logits = pixels([0], [QUARTER])
    total, _ = losses.crossentropy(labels, logits, label_smoothing=0.2)
    # Targets 0.9 and 0.1: 0.9 * 1.386294 + 0.1 * 0.287682 = 1.276433
    assert float(total) == pytest.approx(1.276433, abs=1e-5)


def test_smoothing_and_weights_work_together():
    labels, logits = pixels([0, 1], [QUARTER] * 2)
    total, _ = losses.crossentropy(
        labels, logits, label_smoothing=0.2, class_weights=[3, 0]
    )
    assert float(total) == pytest.approx(3 * 1.276433, abs=1e-5)


def test_hard_pixels_are_those_with_the_greatest_loss():
    labels, logits = pixels([0, 1, 0, 1, 255], [QUARTER] * 4 + [[0.0, 90.0]])
    total, count = losses.hard_pixel_crossentropy(labels, logits, keep=0.5)
    # Four are labeled, two are kept, both of class 0: four times their mean, 1.386294.
    assert float(total) == pytest.approx(4 * 1.386294, abs=1e-5)
    assert float(count) == 4


def test_equally_hard_pixels_share_the_remaining_weight():
    labels, logits = pixels([0, 0, 0, 1], [QUARTER] * 4)
    total, count = losses.hard_pixel_crossentropy(labels, logits, keep=0.5)
    assert float(total) == pytest.approx(4 * 1.386294, abs=1e-5)
    assert float(count) == 4
    # Each of the three gets 2/3 of softmax - target = [1/4 - 1, 3/4], doubled because
    # two of four labeled pixels are kept.
    gradients = gradient(losses.hard_pixel_crossentropy, labels, logits, keep=0.5)
    np.testing.assert_allclose(gradients[0, 0, :3], [[-1.0, 1.0]] * 3, atol=1e-6)
    np.testing.assert_array_equal(gradients[0, 0, 3], 0)


def test_the_number_of_hard_pixels_is_rounded_up_in_each_image():
    labels = np.array([[[0, 255, 255]], [[1, 1, 0]], [[255, 255, 255]]])
    logits = np.broadcast_to(QUARTER, (3, 1, 3, 2))
    total, count = losses.hard_pixel_crossentropy(labels, logits, keep=0.25)
    # ceil(0.25 * 1), ceil(0.25 * 3) and 0 pixels, of class 0, of 1, 3 and 0 labeled.
    assert float(count) == 4
    assert float(total) == pytest.approx((1 + 3) * 1.386294, abs=1e-5)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.7, 1.386294),  # Two have probability 1/4: these two.
        (0.2, 1.386294),  # None is below: the least fraction, 1/16, is one pixel.
        (0.8, 0.836988),  # All four: (1.386294 + 0.287682) / 2.
    ],
)
def test_every_pixel_below_the_threshold_is_hard(threshold, expected):
    labels, logits = pixels([0, 1, 0, 1, 255], [QUARTER] * 4 + [[0.0, 90.0]])
    total, count = losses.hard_pixel_crossentropy(
        labels, logits, keep=1 / 16, threshold=threshold
    )
    assert float(count) == 4
    assert float(losses.mean(total, count)) == pytest.approx(expected, abs=1e-5)


def test_focal_loss_down_weights_well_classified_pixels():
    labels, logits = pixels([0, 1, 255], [QUARTER] * 3)
    total, count = losses.focal(labels, logits)
    # (3/4)^2 * 1.386294 + (1/4)^2 * 0.287682 = 0.779790 + 0.017980
    assert float(total) == pytest.approx(0.797771, abs=1e-5)
    assert float(count) == 2
    weighted, _ = losses.focal(labels, logits, class_weights=[0.25, 0.75])
    assert float(weighted) == pytest.approx(0.25 * 0.779790 + 0.75 * 0.017980, abs=1e-5)
    plain = losses.crossentropy(labels, logits)[0]
    assert float(losses.focal(labels, logits, gamma=0)[0]) == float(plain)


def test_focal_loss_has_a_finite_gradient_at_a_correct_pixel():
    labels, logits = pixels([0], [[90.0, 0.0]])
    for gamma in (0.5, 1.0, 2.0):
        assert np.all(np.isfinite(gradient(losses.focal, labels, logits, gamma=gamma)))


@pytest.mark.parametrize("loss", [losses.crossentropy, losses.focal])
def test_pixel_weights_scale_the_loss_and_not_the_count(loss):
    labels, logits = pixels([0, 1, 255], [QUARTER] * 3)
    first, second = [float(loss(*pixels([label], [QUARTER]))[0]) for label in (0, 1)]
    weights = np.array([[[3.0, 0.5, 7.0]]])
    total, count = loss(labels, logits, pixel_weights=weights)
    assert float(total) == pytest.approx(3 * first + 0.5 * second, abs=1e-5)
    assert float(count) == 2


def test_hard_pixels_are_chosen_by_weighted_loss():
    labels, logits = pixels([0, 1], [QUARTER] * 2)
    total, count = losses.hard_pixel_crossentropy(
        labels, logits, keep=0.5, pixel_weights=np.array([[[1.0, 10.0]]])
    )
    # 10 * 0.287682 is more than 1.386294, and is the mean for both.
    assert float(total) == pytest.approx(2 * 2.87682, abs=1e-4)
    assert float(count) == 2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1.0))
def test_hard_pixels_equal_a_sort_in_numpy(seed, keep):
    random = np.random.default_rng(seed)
    labels = random.choice([0, 1, 2, 255], (2, 3, 4))
    logits = np.round(random.normal(size=(2, 3, 4, 3)), 1).astype("float32")
    total, count = losses.hard_pixel_crossentropy(labels, logits, keep=keep)
    expected, labeled = 0.0, 0
    for label, logit in zip(labels, logits, strict=True):
        probability = np.exp(logit) / np.exp(logit).sum(-1, keepdims=True)
        flat = zip(label.flat, probability.reshape(-1, 3), strict=True)
        values = [-np.log(p[number]) for number, p in flat if number != 255]
        num_kept = int(np.ceil(np.float32(keep) * np.float32(len(values))))
        hardest = sorted(values, reverse=True)[:num_kept]
        expected += sum(hardest) / max(num_kept, 1) * len(values)
        labeled += len(values)
    assert float(count) == labeled
    assert float(total) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_the_gradient_of_ignored_pixels_is_exactly_zero(name, options):
    random = np.random.default_rng(1)
    labels = random.choice([0, 1, 2, 255], (2, 5, 7))
    logits = random.normal(size=(2, 5, 7, 3)).astype("float32") * 9
    gradients = gradient(losses.get(name), labels, logits, **options)
    np.testing.assert_array_equal(gradients[labels == 255], 0)
    assert np.all(np.isfinite(gradients)) and np.any(gradients)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_batch_of_ignored_pixels_has_loss_0_and_gradient_0(name, compiled):
    labels = np.full((2, 3, 3), 255, "uint8")
    logits = np.random.default_rng(2).normal(size=(2, 3, 3, 4)).astype("float32")
    total, count = compiled(losses.get(name))(labels, logits)
    assert (float(total), float(count)) == (0, 0)
    assert float(losses.mean(total, count)) == 0
    np.testing.assert_array_equal(gradient(losses.get(name), labels, logits), 0)


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_a_label_out_of_range_gives_nan(name, options):
    for bad in (3, -1, 254, 2**32, 2**32 + 1):
        labels, logits = pixels([0, 1, bad], np.zeros((3, 3)))
        total, count = losses.get(name)(labels, logits, **options)
        assert np.isnan(losses.mean(total, count))
        assert float(count) == 3


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_label_out_of_range_gives_nan_when_compiled(name, compiled):
    loss = compiled(losses.get(name))
    for bad in (3, -1, 254, 2**32, 2**32 + 1):
        total, count = loss(*pixels([0, 1, bad], np.zeros((3, 3))))
        assert np.isnan(losses.mean(total, count))


@pytest.mark.parametrize("name", losses.LOSSES)
def test_an_image_with_only_a_wrong_label_gives_nan(name):
    labels, logits = pixels([255, 7], [QUARTER] * 2)
    assert np.isnan(losses.get(name)(labels, logits)[0])


@pytest.mark.parametrize("name", losses.LOSSES)
def test_with_another_ignore_label_255_is_out_of_range(name):
    labels, logits = pixels([0, 9, 9], [QUARTER] * 3)
    assert float(losses.get(name)(labels, logits, ignore_label=9)[1]) == 1
    labels, logits = pixels([0, 9, 255], [QUARTER] * 3)
    assert np.isnan(losses.get(name)(labels, logits, ignore_label=9)[0])


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_nan_logit_gives_nan(name):
    for label in (0, 255):
        labels, logits = pixels([0, 1, label], [QUARTER, QUARTER, [np.nan, 0]])
        assert np.isnan(losses.get(name)(labels, logits)[0])
    labels, logits = pixels([255], [[np.nan, 0]])
    assert np.isnan(losses.get(name)(labels, logits)[0])


@pytest.mark.parametrize("name", losses.LOSSES)
def test_many_nan_logits_give_nan(name):
    random = np.random.default_rng(6)
    labels = random.choice([0, 1, 7, 255], (1, 60, 70)).astype("uint8")
    logits = random.normal(size=(1, 60, 70, 2)).astype("float32")
    logits[random.uniform(size=(1, 60, 70)) < 0.3] = np.nan
    assert np.isnan(losses.get(name)(labels, logits)[0])


@pytest.mark.parametrize("name", losses.LOSSES)
def test_float16_logits_are_summed_in_float32(name, compiled):
    labels = np.zeros((1, 300, 300), "uint8")
    logits = ops.cast(np.zeros((1, 300, 300, 2)), "float16")
    total, count = compiled(losses.get(name))(labels, logits)
    # float16 ends at 65,504.
    assert total.dtype == count.dtype == tf.float32
    assert float(count) == 90_000
    expected, _ = losses.get(name)(labels, np.zeros((1, 300, 300, 2), "float32"))
    assert float(total) == pytest.approx(float(expected), rel=1e-4)


# The loss of 90,000 pixels of class 0 whose probabilities are 1/2 and 1/2.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("crossentropy", np.log(2)),
        ("dice", 1 / 3),  # 1 - 2 * 45 / (45 + 90), in thousands of pixels.
        ("focal", np.log(2) / 4),
        ("hard_pixel_crossentropy", np.log(2)),
        ("jaccard", 1 / 2),  # 1 - 45 / 90.
        ("lovasz_softmax", 1 / 2),  # 1 - 45 / 90.
        ("tversky", 1 - 1 / 1.7),  # 1 - 45 / (45 + 0.7 * 45).
    ],
)
def test_the_loss_of_even_probabilities_equals_that_worked_by_hand(name, expected):
    labels = np.zeros((1, 300, 300), "uint8")
    total, count = losses.get(name)(labels, np.zeros((1, 300, 300, 2), "float32"))
    assert float(losses.mean(total, count)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_the_types_of_logits_and_labels_do_not_matter(name):
    random = np.random.default_rng(7)
    labels = random.choice([0, 1, 2, 100], (2, 5, 7))
    logits = random.normal(size=(2, 5, 7, 3)).astype("float16")
    loss = losses.get(name)
    total, count = loss(labels, logits.astype("float32"), ignore_label=100)
    for kind in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64"):
        found = loss(labels.astype(kind), logits, ignore_label=100)
        np.testing.assert_allclose(found, (total, count), rtol=1e-6)


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_the_loss_of_a_perfect_prediction_is_0(name, options):
    random = np.random.default_rng(8)
    labels = random.choice([0, 1, 2, 255], (2, 5, 7))
    logits = 40.0 * (labels[..., None] == np.arange(3))
    total, count = losses.get(name)(labels, logits.astype("float32"), **options)
    if "label_smoothing" not in options:
        assert float(losses.mean(total, count)) == pytest.approx(0, abs=1e-5)
    wrong, _ = losses.get(name)((labels != 255) * 1, -logits.astype("float32"))
    assert float(wrong) > 10


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(OPTIONS))
def test_the_order_of_pixels_does_not_matter(seed, case):
    name, options = case
    random = np.random.default_rng(seed)
    labels = random.choice([0, 1, 2, 255], (2, 4, 6))
    logits = random.normal(size=(2, 4, 6, 3)).astype("float32") * 3
    total, count = losses.get(name)(labels, logits, **options)
    order = random.permutation(24)
    labels = labels.reshape(2, 24)[:, order].reshape(2, 8, 3)
    logits = logits.reshape(2, 24, 3)[:, order].reshape(2, 8, 3, 3)
    again = losses.get(name)(labels, logits, **options)
    np.testing.assert_allclose(again, (total, count), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_compiled_values_and_gradients_equal_eager_ones(name):
    random = np.random.default_rng(9)
    labels = random.choice([0, 1, 2, 255], (2, 5, 7))
    logits = random.normal(size=(2, 5, 7, 3)).astype("float32") * 3

    def value_and_gradient(labels, logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            total, count = losses.get(name)(labels, logits)
        return total, count, tape.gradient(total, logits)

    pair = tf.constant(labels), tf.constant(logits)
    compiled = tf.function(value_and_gradient, jit_compile=True, autograph=False)(*pair)
    for one, other in zip(compiled, value_and_gradient(*pair), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
        assert np.any(one)


def test_huge_logits_stay_finite():
    labels, logits = pixels([0, 1], [[1e4, -1e4], [1e4, -1e4]])
    assert float(losses.crossentropy(labels, logits)[0]) == pytest.approx(2e4)


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_the_sum_over_a_batch_is_the_sum_over_its_images(name, options):
    random = np.random.default_rng(3)
    labels = random.choice([0, 1, 2, 255], (4, 6, 6), p=[0.2, 0.1, 0.1, 0.6])
    labels[3] = 255
    logits = random.normal(size=(4, 6, 6, 3)).astype("float32")
    loss = functools.partial(losses.get(name), **options)
    whole = np.array([float(value) for value in loss(labels, logits)])
    each = [loss(labels[i : i + 1], logits[i : i + 1]) for i in range(4)]
    np.testing.assert_allclose(np.array(each, "float64").sum(0), whole, rtol=1e-5)


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_the_count_is_the_number_of_labeled_pixels(name, options):
    logits = np.zeros((*THREE_CLASSES.shape, 3), "float32")
    total, count = losses.get(name)(THREE_CLASSES, logits, **options)
    assert float(count) == np.sum(THREE_CLASSES != 255)
    assert total.shape == count.shape == ()


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_gradient_descent_decreases_the_loss(name, options):
    logits = keras.Variable(np.zeros((*THREE_CLASSES.shape, 3), "float32"))
    optimizer = keras.optimizers.Adam(0.1)
    values = []
    for _ in range(20):
        with tf.GradientTape() as tape:
            value = losses.mean(
                *losses.get(name)(THREE_CLASSES, logits.value, **options)
            )
        optimizer.apply([tape.gradient(value, logits.value)], [logits])
        values.append(float(value))
    assert np.all(np.isfinite(values))
    assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize("name", losses.LOSSES)
def test_gradients_are_the_slopes_of_the_values(name):
    random = np.random.default_rng(1)
    labels = random.choice([0, 1, 2, 255], (2, 3, 4))
    logits = random.normal(size=(2, 3, 4, 3)).astype("float32")
    gradients = gradient(losses.get(name), labels, logits)
    for index in [(0, 0, 0, 0), (1, 2, 3, 1), (0, 1, 2, 2), (1, 0, 3, 0)]:
        step = np.zeros_like(logits)
        step[index] = 0.01
        up, down = [
            losses.get(name)(labels, x)[0] for x in (logits + step, logits - step)
        ]
        assert gradients[index] == pytest.approx(float(up - down) / 0.02, abs=2e-3)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_every_option_is_a_keyword_and_documented(name):
    loss = losses.get(name)
    parameters = list(inspect.signature(loss).parameters.values())
    assert [p.name for p in parameters[:2]] == ["labels", "logits"]
    for parameter in parameters:
        assert f"    {parameter.name}:" in loss.__doc__
    for parameter in parameters[2:]:
        assert parameter.kind == parameter.KEYWORD_ONLY
        assert parameter.default is not parameter.empty


def test_losses_are_attributes_of_the_package():
    assert list(losses.LOSSES) == registry.names_in("kerasseg.losses")
    for name, loss in losses.LOSSES.items():
        assert getattr(losses, name) is losses.get(name) is loss
        assert name in dir(losses)
    with pytest.raises(AttributeError, match="no attribute 'dise'"):
        _ = losses.dise


def test_a_weighted_sum_is_the_sum_of_its_losses():
    random = np.random.default_rng(4)
    labels = random.choice([0, 1, 255], (2, 6, 6))
    logits = random.normal(size=(2, 6, 6, 2)).astype("float32")
    both = losses.weighted_sum(
        {"crossentropy": 1, "dice": 0.5, "focal": 2}, class_weights=[1, 3], gamma=1
    )
    total, count = both(labels, logits)
    first = losses.crossentropy(labels, logits, class_weights=[1, 3])[0]
    second = losses.dice(labels, logits)[0]
    third = losses.focal(labels, logits, class_weights=[1, 3], gamma=1)[0]
    assert float(total) == pytest.approx(float(first + second / 2 + 2 * third))
    assert float(count) == np.sum(labels != 255)


def test_a_weighted_sum_passes_on_pixel_weights():
    labels, logits = pixels([0, 1], [QUARTER] * 2)
    weights = np.array([[[1.0, 0.0]]])
    loss = losses.weighted_sum({"crossentropy": 1, "focal": 2})
    total, _ = loss(labels, logits, pixel_weights=weights)
    assert float(total) == pytest.approx(1.386294 + 2 * 0.779790, abs=1e-5)
    loss = losses.weighted_sum({"crossentropy": 1, "dice": 2})
    with pytest.raises(
        ValueError, match="dice is not a sum over pixels and has no `pixel_weights`"
    ):
        loss(labels, logits, pixel_weights=weights)


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ({}, {}, "needs at least one loss, got none"),
        (
            {"dice": 0.0},
            {},
            "factor of dice must be above 0 and finite, got 0.0. Leave out",
        ),
        ({"dice": np.inf}, {}, "factor of dice must be above 0 and finite, got inf"),
        ({"dise": 1.0}, {}, "Unknown loss 'dise'"),
        (
            {"dice": 1, "focal": 1},
            {"keep": 0.5},
            "has an option `keep`. They have dice: ignore_label; focal: gamma, cla",
        ),
    ],
)
def test_wrong_weighted_sums_are_errors(weights, options, message):
    with pytest.raises(ValueError, match=message):
        losses.weighted_sum(weights, **options)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_unknown_static_shapes_work(name):
    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None], tf.uint8),
            tf.TensorSpec([None, None, None, 2]),
        ]
    )
    def call(labels, logits):
        return losses.get(name)(labels, logits)

    labels, logits = pixels([0, 1, 0, 1], [QUARTER] * 4)
    total, count = call(labels.astype("uint8"), logits)
    expected = losses.get(name)(labels, logits)[0]
    assert float(total) == pytest.approx(float(expected), abs=1e-5)
    assert float(count) == 4


def test_a_step_on_the_mean_loss_equals_that_worked_by_hand():
    logits = keras.Variable(np.zeros((1, 1, 2, 2), "float32"))
    optimizer = keras.optimizers.SGD(1.0)
    with tf.GradientTape() as tape:
        value = losses.mean(*losses.crossentropy(np.array([[[0, 255]]]), logits))
    optimizer.apply([tape.gradient(value, logits.value)], [logits])
    np.testing.assert_allclose(logits.numpy()[0, 0], [[0.5, -0.5], [0, 0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weights": [1.0]}, r"each of 2 classes, got shape \(1,\)"),
        ({"class_weights": [1.0, np.inf]}, "must be finite and at least 0, got"),
        ({"class_weights": [1.0, -1.0]}, "must be finite and at least 0, got"),
        ({"label_smoothing": 1.0}, r"`label_smoothing` must be in \[0, 1\), got 1.0"),
        ({"keep": 0.0}, r"`keep` must be in \(0, 1\], got 0.0"),
        ({"keep": float("nan")}, r"`keep` must be in \(0, 1\], got nan"),
        ({"threshold": 1.0}, r"`threshold` must be a probability in \(0, 1\), got 1.0"),
        ({"threshold": 0.0}, r"`threshold` must be a probability in \(0, 1\), got 0.0"),
        (
            {"pixel_weights": np.ones((1, 2, 1))},
            r"the shape of the labels, \(1, 1, 1\), got \(1, 2, 1\)",
        ),
        ({"pixel_weights": np.ones(1)}, r"the shape of the labels.*got \(1,\)"),
    ],
)
def test_wrong_options_are_errors(options, message):
    labels, logits = pixels([0], [QUARTER])
    with pytest.raises(ValueError, match=message):
        losses.hard_pixel_crossentropy(labels, logits, **options)
    with pytest.raises(
        ValueError, match=r"`gamma` must be at least 0 and finite, got -1"
    ):
        losses.focal(labels, logits, gamma=-1)


def test_wrong_shapes_and_types_are_errors():
    logits = np.zeros((1, 2, 2, 3), "float32")
    with pytest.raises(ValueError, match=r"got \(1, 4, 4\) and \(1, 2, 2, 3\)"):
        losses.crossentropy(np.zeros((1, 4, 4), "uint8"), logits)
    with pytest.raises(ValueError, match="Resize the logits"):
        losses.crossentropy(np.zeros((1, 2, 2, 1), "uint8"), logits)
    with pytest.raises(ValueError, match="integer type, got float32"):
        losses.crossentropy(np.zeros((1, 2, 2), "float32"), logits)


def test_an_unknown_loss_is_an_error():
    with pytest.raises(
        ValueError, match=f"'dise'.*: {', '.join(sorted(losses.LOSSES))}"
    ):
        losses.get("dise")
