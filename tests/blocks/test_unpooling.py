"""Max pooling with indices, and unpooling."""

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from kerasseg import blocks


def pool(x):
    return [np.asarray(output) for output in blocks.MaxPoolWithIndices()(x)]


def square(rows):
    return np.array(rows, "float32")[None, :, :, None]


def test_the_first_of_equal_cells_is_the_maximum():
    x = square([[1, 5, 2, 0], [3, 4, 9, 8], [7, 7, 0, 1], [6, 2, 3, 3]])
    maxima, indices = pool(x)
    # 5 is cell 1 of its window, 9 cell 2; the first 7 is cell 0, the first 3 cell 2.
    np.testing.assert_array_equal(maxima[0, :, :, 0], [[5, 9], [7, 3]])
    np.testing.assert_array_equal(indices[0, :, :, 0], [[1, 2], [0, 2]])
    back = blocks.Unpool()([maxima, indices, x])
    expected = [[0, 5, 0, 0], [0, 0, 9, 0], [7, 0, 0, 0], [0, 0, 3, 0]]
    np.testing.assert_array_equal(back, square(expected))


@hypothesis.given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
@hypothesis.settings(max_examples=25, deadline=None)
def test_unpooling_puts_the_maxima_at_their_positions(height, width, seed):
    x = np.random.default_rng(seed).normal(size=(2, height, width, 3))
    x = x.astype("float32")
    maxima, indices = pool(x)
    expected = tf.nn.max_pool2d(x, 2, 2, "SAME")
    np.testing.assert_array_equal(maxima, expected)
    back = np.asarray(blocks.Unpool()([maxima, indices, x]))
    assert back.shape == x.shape
    kept = back != 0
    np.testing.assert_array_equal(back[kept], x[kept])
    assert kept.sum() == maxima.size
    again, same = pool(np.where(kept, back, -np.inf).astype("float32"))
    np.testing.assert_array_equal(again, maxima)
    np.testing.assert_array_equal(same, indices)


def test_the_gradient_goes_to_the_maximum_only():
    x = tf.constant(square([[1, 1, 2], [0, 1, 2]]))
    with tf.GradientTape() as tape:
        tape.watch(x)
        maxima, indices = blocks.MaxPoolWithIndices()(x)
        y = tf.reduce_sum(blocks.Unpool()([3 * maxima, indices, x]))
    expected = square([[3, 0, 3], [0, 0, 0]])
    np.testing.assert_array_equal(tape.gradient(y, x), expected)


@pytest.mark.parametrize("size", [(None, None), (5, 7)])
def test_static_shapes(size):
    image = keras.Input((*size, 2))
    maxima, indices = blocks.MaxPoolWithIndices()(image)
    half = (3, 4) if size[0] else (None, None)
    assert maxima.shape == indices.shape == (None, *half, 2)
    assert indices.dtype == "int32"
    assert blocks.Unpool()([maxima, indices, image]).shape == image.shape


def test_the_layers_can_be_converted_to_tflite():
    image = keras.Input((6, 7, 2))
    maxima, indices = blocks.MaxPoolWithIndices()(image)
    model = keras.Model(image, blocks.Unpool()([maxima, indices, image]))
    x = np.random.default_rng(0).normal(size=(1, 6, 7, 2)).astype("float32")
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [tf.function(model).get_concrete_function(tf.TensorSpec((1, 6, 7, 2)))]
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    assert len(converter.convert()) > 0
    np.testing.assert_array_equal(model(x).shape, x.shape)
