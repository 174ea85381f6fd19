"""Batch normalization, compared with Keras, and local response normalization."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kerasseg import blocks

RNG = np.random.default_rng(0)


def pair(**options):
    """Creates our layer and that of Keras with the same random weights."""
    both = blocks.BatchNormalization(**options), layers.BatchNormalization(**options)
    weights = None
    for layer in both:
        layer.build((None, None, None, 3))
        weights = weights or [RNG.uniform(0.5, 2, w.shape) for w in layer.weights]
        layer.set_weights(weights)
    return both


def outcome(layer, x, training):
    """Returns outputs, gradients and updated statistics."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
        loss = tf.reduce_sum(tf.sin(tf.cast(y, "float32")))
    variables = [v.value for v in layer.trainable_variables]
    return [y, *tape.gradient(loss, [x, *variables]), *layer.get_weights()]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 1, 1, 3), (4, 1, 1, 3)], ids=str)
def test_outputs_gradients_and_statistics_equal_those_of_keras(shape, training):
    x = RNG.normal(3, 2, shape).astype("float32")
    ours, theirs = pair(epsilon=1e-5, momentum=0.9)
    for a, b in zip(
        outcome(ours, x, training), outcome(theirs, x, training), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_a_frozen_layer_keeps_its_statistics():
    ours, _ = pair()
    ours.trainable = False
    before = ours.get_weights()
    ours(RNG.normal(size=(2, 4, 4, 3)).astype("float32"), training=True)
    for a, b in zip(ours.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "options, shape, dtype",
    [
        ({"scale": False}, (2, 4, 4, 3), "float32"),
        ({"dtype": "mixed_float16"}, (2, 4, 4, 3), "float16"),
        ({"renorm": True}, (2, 4, 4, 3), "float32"),
    ],
)
def test_other_options_equal_those_of_keras(options, shape, dtype):
    ours, theirs = pair(**options)
    x = RNG.normal(size=shape).astype(dtype)
    for training in (True, False):
        found, expected = ours(x, training=training), theirs(x, training=training)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_saved_layer_is_loaded_with_its_class(tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, blocks.BatchNormalization()(image))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[-1]) is blocks.BatchNormalization


def test_responses_are_normalized_by_neighboring_channels():
    x = np.array([100, 200, 300, 400, 500, 600], "float32").reshape(1, 1, 1, 6)
    # Third channel: 1 + 4 + 9 + 16 + 25 = 55 times 100 squared. First channel: 1 + 4 +
    # 9 = 14 times. Each is multiplied by 1e-4 / 5.
    y = np.asarray(blocks.LocalResponseNormalization()(x))[0, 0, 0]
    assert y[2] == pytest.approx(300 / (1 + 55e4 * 2e-5) ** 0.75)
    assert y[0] == pytest.approx(100 / (1 + 14e4 * 2e-5) ** 0.75)


def test_response_normalization_equals_that_of_tensorflow():
    x = RNG.normal(0, 50, (2, 3, 4, 7)).astype("float32")
    layer = blocks.LocalResponseNormalization(size=3, alpha=0.3, beta=0.5)
    expected = tf.nn.local_response_normalization(x, 1, 1.0, 0.3 / 3, 0.5)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5)
    assert type(layer).from_config(layer.get_config()).get_config()["size"] == 3


def test_responses_too_large_for_half_precision_to_square_are_normalized():
    layer = blocks.LocalResponseNormalization(dtype="float16")
    y = layer(np.full((1, 1, 1, 5), 1000, "float16"))
    assert y.dtype == "float16"
    # In the middle five squares of a million: 1 + 1e-4 / 5 * 5e6 = 101.
    assert float(y[0, 0, 0, 2]) == pytest.approx(1000 / 101**0.75, rel=1e-2)
