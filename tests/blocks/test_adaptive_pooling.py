"""Average pooling to a fixed output size."""

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from kerasseg import blocks

RNG = np.random.default_rng(0)


def by_hand(x, bins):
    """Pools window by window, by their definition."""
    rows, columns = [
        [(side * i // bins, -(-side * (i + 1) // bins)) for i in range(bins)]
        for side in x.shape[1:3]
    ]
    return np.stack(
        [
            np.stack([x[:, t:b, left:r].mean((1, 2)) for left, r in columns], axis=1)
            for t, b in rows
        ],
        axis=1,
    )


def test_windows_overlap_where_the_bins_do_not_divide_the_side():
    # 5 cells to 3 bins: cells 0-1, 1-3 and 3-4.
    x = np.array([0, 2, 4, 6, 10], "float32")
    pooled = blocks.AdaptiveAveragePool(3)(
        np.tile(x[None, None, :, None], (1, 5, 1, 1))
    )
    for row in pooled[0, :, :, 0]:
        np.testing.assert_allclose(row, [1, 4, 8])


def test_a_map_smaller_than_the_bins_repeats_its_cells():
    x = np.array([[1, 2], [3, 4]], "float32")[None, :, :, None]
    pooled = blocks.AdaptiveAveragePool(4)(x)
    np.testing.assert_allclose(
        pooled[0, :, :, 0], np.kron(x[0, :, :, 0], np.ones((2, 2)))
    )
    # 2 cells to 3 bins: both are in the middle bin.
    np.testing.assert_allclose(
        blocks.AdaptiveAveragePool(3)(x)[0, :, :, 0],
        [[1, 1.5, 2], [2, 2.5, 3], [3, 3.5, 4]],
    )


@hypothesis.given(st.integers(1, 13), st.integers(1, 13), st.sampled_from([1, 2, 3, 6]))
@hypothesis.settings(max_examples=25, deadline=None)
def test_every_size_equals_the_definition(height, width, bins):
    x = RNG.normal(size=(2, height, width, 3)).astype("float32")
    pooled = blocks.AdaptiveAveragePool(bins)(x)
    np.testing.assert_allclose(pooled, by_hand(x, bins), atol=1e-5)


def test_the_size_can_be_known_only_at_run_time():
    x = RNG.normal(size=(2, 7, 5, 3)).astype("float32")
    layer = blocks.AdaptiveAveragePool(6)
    unknown = tf.function(layer, input_signature=[tf.TensorSpec([None, None, None, 3])])
    np.testing.assert_allclose(unknown(x), by_hand(x, 6), atol=1e-5)
    image = keras.Input((None, None, 3))
    assert layer(image).shape == (None, 6, 6, 3)


def test_a_single_bin_of_float16_does_not_overflow():
    # 64 x 64 x 100 is above 65,504.
    x = np.full((1, 64, 64, 2), 100, "float16")
    pooled = blocks.AdaptiveAveragePool(1, dtype="float16")(x)
    assert pooled.dtype == "float16"
    np.testing.assert_array_equal(pooled, np.full((1, 1, 1, 2), 100))


def test_zero_bins_are_an_error():
    with pytest.raises(ValueError, match=r"bins=0` .* must be at least 1"):
        blocks.AdaptiveAveragePool(0)


def test_the_layer_is_saved_with_its_bins():
    layer = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(blocks.AdaptiveAveragePool(3))
    )
    assert layer.bins == 3
