"""NumPy layers of the tests, compared with those of Keras."""

import numpy as np
import pytest
from keras import layers, ops

from tests.support import reference

RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.normal(size=shape).astype("float32")


@pytest.mark.parametrize(
    "layer, function",
    [
        (
            layers.Conv2D(4, 3, dilation_rate=2, padding="same"),
            lambda x, kernel, bias: reference.conv(x, kernel, bias, rate=2),
        ),
        (
            layers.Conv2D(4, 2, strides=2),
            lambda x, k, bias: reference.conv(x, k, bias, stride=2, padding=0),
        ),
        (
            layers.DepthwiseConv2D(3, padding="same", use_bias=False),
            reference.depthwise,
        ),
        (
            layers.Conv2DTranspose(4, 3, strides=2),
            lambda x, kernel, bias: reference.conv_transpose(x, kernel, bias, stride=2),
        ),
        (
            layers.MaxPooling2D(3, strides=2),
            lambda x: reference.max_pool(x, 3, stride=2),
        ),
    ],
    ids=["dilated", "strided", "depthwise", "transposed", "pooled"],
)
def test_layers_equal_those_of_keras(layer, function):
    x = draw(2, 8, 10, 3)
    expected = np.asarray(layer(x))
    weights = [draw(*array.shape) for array in layer.get_weights()]
    if weights:
        layer.set_weights(weights)
        expected = np.asarray(layer(x))
    np.testing.assert_allclose(function(x, *weights), expected, atol=1e-4)


def test_batch_norm_equals_that_of_keras():
    layer, x = layers.BatchNormalization(epsilon=1e-2), draw(2, 3, 3, 4)
    layer.build(x.shape)
    layer.set_weights([1 + RNG.random(4) for _ in range(4)])
    np.testing.assert_allclose(reference.batch_norm(x, layer), layer(x), atol=1e-5)


def test_resizing_equals_that_by_hand_and_that_of_keras():
    ramp = np.array([0.0, 1.0, 2.0]).reshape(1, 1, 3, 1)
    aligned = reference.resize(ramp, 1, 5, aligned=True)
    np.testing.assert_allclose(aligned.ravel(), [0, 0.5, 1, 1.5, 2])
    half = reference.resize(ramp[:, :, :2], 1, 4)
    np.testing.assert_allclose(half.ravel(), [0, 0.25, 0.75, 1])
    x = draw(1, 5, 4, 2)
    expected = ops.image.resize(x, (9, 11), interpolation="bilinear")
    np.testing.assert_allclose(reference.resize(x, 9, 11), expected, atol=1e-5)
