"""Batch norm in one kernel, against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kerasseg import blocks

RNG = np.random.default_rng(0)


def pair(**options):
    """Makes both layers with the same random weights."""
    both = blocks.BatchNormalization(**options), layers.BatchNormalization(**options)
    weights = None
    for layer in both:
        layer.build((None, None, None, 3))
        weights = weights or [RNG.uniform(0.5, 2, w.shape) for w in layer.weights]
        layer.set_weights(weights)
    return both


def outcome(layer, x, training):
    """Returns the result, the gradients and the statistics after it."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
        loss = tf.reduce_sum(tf.sin(tf.cast(y, "float32")))
    variables = [v.value for v in layer.trainable_variables]
    return [y, *tape.gradient(loss, [x, *variables]), *layer.get_weights()]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 1, 1, 3), (4, 1, 1, 3)], ids=str)
def test_values_gradients_and_statistics_are_those_of_keras(shape, training):
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
def test_what_the_kernel_cannot_do_is_left_to_keras(options, shape, dtype):
    ours, theirs = pair(**options)
    x = RNG.normal(size=shape).astype(dtype)
    for training in (True, False):
        found, expected = ours(x, training=training), theirs(x, training=training)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_saved_layer_is_loaded_as_itself(tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, blocks.BatchNormalization()(image))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[-1]) is blocks.BatchNormalization
