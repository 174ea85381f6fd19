import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from kerasseg import losses

# Softmax of [0, log 3] is [1/4, 3/4].
QUARTER = np.array([0.0, np.log(3.0)], "float32")


def pixels(labels, logits):
    """One picture, one pixel high."""
    return np.array([[labels]]), np.array([[logits]], "float32")


def gradient(loss, labels, logits, **options):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total, _ = loss(labels, logits, **options)
    return tape.gradient(total, logits).numpy()


@pytest.fixture(params=[False, True], ids=["plain", "xla"])
def compiled(request):
    def wrap(loss, **options):
        def call(labels, logits):
            return loss(labels, logits, **options)

        return tf.function(call, jit_compile=request.param, autograph=False)

    return wrap


def test_crossentropy_sums_and_counts_the_labelled_pixels():
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
    # Four are labelled, two are kept: both of class 0, 2 * 1.386294.
    assert float(total) == pytest.approx(2 * 1.386294, abs=1e-5)
    assert float(count) == 2


def test_equally_hard_pixels_share_what_is_left():
    labels, logits = pixels([0, 0, 0, 1], [QUARTER] * 4)
    total, count = losses.hard_pixel_crossentropy(labels, logits, keep=0.5)
    assert float(total) == pytest.approx(2 * 1.386294, abs=1e-5)
    assert float(count) == 2
    # Each of the three gets 2/3 of softmax - target = [1/4 - 1, 3/4].
    slope = gradient(losses.hard_pixel_crossentropy, labels, logits, keep=0.5)
    np.testing.assert_allclose(slope[0, 0, :3], [[-0.5, 0.5]] * 3, atol=1e-6)
    np.testing.assert_array_equal(slope[0, 0, 3], 0)


def test_hard_pixels_are_rounded_up_and_chosen_in_each_picture():
    labels = np.array([[[0, 255, 255]], [[1, 1, 0]], [[255, 255, 255]]])
    logits = np.broadcast_to(QUARTER, (3, 1, 3, 2))
    total, count = losses.hard_pixel_crossentropy(labels, logits, keep=0.25)
    # ceil(0.25 * 1) + ceil(0.25 * 3) + 0 = 2 pixels, both of class 0.
    assert float(count) == 2
    assert float(total) == pytest.approx(2 * 1.386294, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1.0))
def test_hard_pixels_equal_a_sort_in_numpy(seed, keep):
    random = np.random.default_rng(seed)
    labels = random.choice([0, 1, 2, 255], (2, 3, 4))
    logits = np.round(random.normal(size=(2, 3, 4, 3)), 1).astype("float32")
    total, count = losses.hard_pixel_crossentropy(labels, logits, keep=keep)
    wanted, kept = 0.0, 0
    for label, logit in zip(labels, logits, strict=True):
        chance = np.exp(logit) / np.exp(logit).sum(-1, keepdims=True)
        flat = zip(label.flat, chance.reshape(-1, 3), strict=True)
        each = [-np.log(share[number]) for number, share in flat if number != 255]
        num_kept = int(np.ceil(np.float32(keep) * np.float32(len(each))))
        wanted += sum(sorted(each, reverse=True)[:num_kept])
        kept += num_kept
    assert float(count) == kept
    assert float(total) == pytest.approx(wanted, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize(
    "options", [{}, {"class_weights": [1, 2, 3]}, {"label_smoothing": 0.1}]
)
def test_ignored_pixels_have_exactly_no_gradient(name, options):
    random = np.random.default_rng(1)
    labels = random.choice([0, 1, 2, 255], (2, 5, 7))
    logits = random.normal(size=(2, 5, 7, 3)).astype("float32") * 9
    slope = gradient(losses.get(name), labels, logits, **options)
    np.testing.assert_array_equal(slope[labels == 255], 0)
    assert np.all(np.isfinite(slope)) and np.any(slope)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_batch_without_labels_has_loss_0_and_gradient_0(name, compiled):
    labels = np.full((2, 3, 3), 255, "uint8")
    logits = np.random.default_rng(2).normal(size=(2, 3, 3, 4)).astype("float32")
    total, count = compiled(losses.get(name))(labels, logits)
    assert (float(total), float(count)) == (0, 0)
    assert float(losses.mean(total, count)) == 0
    np.testing.assert_array_equal(gradient(losses.get(name), labels, logits), 0)


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize(
    "options", [{}, {"class_weights": [1, 2]}, {"ignore_label": 9}]
)
@pytest.mark.parametrize("bad", [2, -1, 254, 2**32, 2**32 + 1])
def test_a_label_that_is_no_class_gives_nan(name, options, bad, compiled):
    labels, logits = pixels([0, 1, bad], [QUARTER] * 3)
    total, count = compiled(losses.get(name), **options)(labels, logits)
    assert np.isnan(losses.mean(total, count))


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_nan_among_the_logits_is_never_hidden(name):
    labels, logits = pixels([0, 1, 255], [QUARTER, QUARTER, [np.nan, 0]])
    assert np.isnan(losses.get(name)(labels, logits)[0])


@pytest.mark.parametrize("name", losses.LOSSES)
def test_narrow_logits_are_summed_in_float32(name, compiled):
    labels = np.zeros((1, 300, 300), "uint8")
    logits = ops.cast(np.zeros((1, 300, 300, 2)), "float16")
    total, count = compiled(losses.get(name))(labels, logits)
    # 90,000 or a quarter of them; float16 ends at 65,504.
    assert total.dtype == count.dtype == tf.float32
    assert float(count) == (90_000 if name == "crossentropy" else 22_500)
    assert float(losses.mean(total, count)) == pytest.approx(np.log(2), rel=1e-5)


def test_huge_logits_stay_finite():
    labels, logits = pixels([0, 1], [[1e4, -1e4], [1e4, -1e4]])
    assert float(losses.crossentropy(labels, logits)[0]) == pytest.approx(2e4)


def test_sums_of_parts_are_the_sum_of_the_whole():
    random = np.random.default_rng(3)
    labels = random.choice([0, 1, 255], (4, 6, 6), p=[0.2, 0.2, 0.6])
    logits = random.normal(size=(4, 6, 6, 2)).astype("float32")
    for loss in losses.LOSSES.values():
        whole = np.array([float(part) for part in loss(labels, logits)])
        parts = [loss(labels[i : i + 1], logits[i : i + 1]) for i in range(4)]
        np.testing.assert_allclose(np.array(parts, "float64").sum(0), whole, rtol=1e-5)


def test_sizes_known_only_at_run_time_work():
    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None], tf.uint8),
            tf.TensorSpec([None, None, None, 2]),
        ]
    )
    def call(labels, logits):
        return losses.hard_pixel_crossentropy(labels, logits, keep=0.5)

    labels, logits = pixels([0, 1, 0, 1], [QUARTER] * 4)
    total, count = call(labels.astype("uint8"), logits)
    assert float(count) == 2
    assert float(total) == pytest.approx(2 * 1.386294, abs=1e-5)


def test_a_model_trains_with_the_mean():
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
        ({"class_weights": [1.0, np.inf]}, "finite and at least 0, got"),
        ({"class_weights": [1.0, -1.0]}, "finite and at least 0, got"),
        ({"label_smoothing": 1.0}, r"label_smoothing is in \[0, 1\), got 1.0"),
        ({"keep": 0.0}, r"keep is a share in \(0, 1\], got 0.0"),
        ({"keep": float("nan")}, r"keep is a share in \(0, 1\], got nan"),
    ],
)
def test_wrong_options_are_named(options, message):
    labels, logits = pixels([0], [QUARTER])
    with pytest.raises(ValueError, match=message):
        losses.hard_pixel_crossentropy(labels, logits, **options)


def test_wrong_shapes_and_types_are_named():
    logits = np.zeros((1, 2, 2, 3), "float32")
    with pytest.raises(ValueError, match=r"got \(1, 4, 4\) and \(1, 2, 2, 3\)"):
        losses.crossentropy(np.zeros((1, 4, 4), "uint8"), logits)
    with pytest.raises(ValueError, match="Resize the logits"):
        losses.crossentropy(np.zeros((1, 2, 2, 1), "uint8"), logits)
    with pytest.raises(ValueError, match="integer type, got float32"):
        losses.crossentropy(np.zeros((1, 2, 2), "float32"), logits)


def test_an_unknown_loss_lists_the_known():
    with pytest.raises(ValueError, match=r"'dice'.*crossentropy, hard_pixel_cross"):
        losses.get("dice")
