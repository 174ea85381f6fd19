"""Layers of DecoupledNet, with numbers worked by hand."""

import keras
import numpy as np
import pytest
from keras import ops

from kerasseg import blocks

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_transposed_call_is_the_adjoint_of_the_convolution(padding):
    layer = blocks.TransposableConv2D(4, 3, padding=padding)
    x = RNG.normal(size=(2, 5, 6, 3)).astype("float32")
    forward = np.asarray(layer(x))
    y = RNG.normal(size=forward.shape).astype("float32")
    backward = np.asarray(layer(y, transposed=True))
    assert backward.shape == x.shape
    # The bias is zero at first: <A x, y> = <x, A' y>.
    np.testing.assert_allclose((forward * y).sum(), (x * backward).sum(), rtol=1e-4)
    layer.bias.assign(np.ones(4))
    np.testing.assert_array_equal(layer(y, transposed=True), backward)


def test_peaks_are_at_the_maxima_and_equal_ones_share_a_peak():
    # Channel 0 has its maximum in cell 1, channel 1 in cells 0 and 2.
    x = np.float32([[[[1, 7], [3, 5], [2, 7]]]])
    maxima, peaks = blocks.GlobalMaxPoolWithPeaks()(x)
    assert np.asarray(maxima).tolist() == [[3, 7]]
    assert np.asarray(peaks).tolist() == [[[[0, 0.5], [1, 0], [0, 0.5]]]]


def test_a_gate_passes_what_the_relu_has_passed():
    x, activation = np.float32([[[[2, -3, 4]]]]), np.float32([[[[0, 1, 5]]]])
    assert np.asarray(blocks.ReluGate()([x, activation])).tolist() == [[[[0, -3, 4]]]]


def test_passes_are_seeded_with_active_classes_together_and_each_class_alone():
    # Probabilities 3/4 (active) and 1/4, with peaks in cells 0 and 1.
    scores = np.log(np.float32([[3, 1 / 3]]))
    peaks = np.float32([[[[1, 0], [0, 1]]]])
    shared = np.float32([[7]])
    seeds, repeated = blocks.ClassPasses()([scores, peaks, shared])
    expected = [
        [[0.75, 0], [0, 0]],
        [[0.75, 0], [0, 0]],
        [[0, 0], [0, 0.25]],
    ]
    np.testing.assert_allclose(np.asarray(seeds)[:, 0], expected, atol=1e-6)
    assert np.asarray(repeated).tolist() == [[7], [7], [7]]


def test_images_of_a_batch_stay_together_within_a_pass():
    scores, peaks = np.zeros((2, 1), "float32"), np.zeros((2, 1, 1, 1), "float32")
    _, shared = blocks.ClassPasses()([scores, peaks, np.float32([[1], [2]])])
    assert np.asarray(shared)[:, 0].tolist() == [1, 2, 1, 2]


def merge(scores, binary, training=False):
    """Returns the probabilities of one pixel, for lists of its passes."""
    binary = np.float32(binary).reshape(-1, 1, 1, 2)
    layer = blocks.ClassProbabilities()
    return np.asarray(layer([np.float32([scores]), binary], training=training))[0, 0, 0]


PASSES = [(0, 0), (0, np.log(3)), (0, np.log(9))]  # Foreground 1/2, 3/4 and 9/10.


def test_probabilities_of_active_classes_are_divided_by_their_sum():
    # Background 1/2, class 1 3/4, class 2 inactive: 2/5, 3/5 and 0.
    np.testing.assert_allclose(merge([1, -1], PASSES), [0.4, 0.6, 0], atol=1e-6)
    # Both classes: 0.5, 0.75 and 0.9 of 2.15.
    expected = np.array([0.5, 0.75, 0.9]) / 2.15
    np.testing.assert_allclose(merge([1, 1], PASSES), expected, atol=1e-6)


def test_a_pixel_without_any_probability_is_shared_by_the_active_classes():
    passes = [(-200, 200), (200, -200), (200, -200)]
    assert merge([1, -1], passes).tolist() == [0.5, 0.5, 0]
    assert merge([-1, -1], passes).tolist() == [1, 0, 0]


def test_in_training_the_share_of_a_class_is_weighted_by_its_score():
    # Shares 0.5, 0.75 and 0.9 of 2.15; the scores 0 and log 3 are 1/2 and 3/4. The
    # background has the rest, 2.15 - 0.375 - 0.675.
    expected = np.array([1.1, 0.375, 0.675]) / 2.15
    actual = merge([0, np.log(3)], PASSES, training=True)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_the_softmax_of_log_probabilities_are_the_probabilities():
    p = np.float32([0.5, 0.5, 0.0])
    logits = blocks.LogProbabilities()(p)
    np.testing.assert_allclose(ops.softmax(logits), p, atol=1e-6)
    assert float(logits[2]) == pytest.approx(-16.118, abs=1e-3)  # log 1e-7


def test_layers_state_their_output_shapes():
    scores = keras.KerasTensor((2, 3))
    x = keras.KerasTensor((2, None, 5, 4))
    layer = blocks.TransposableConv2D(3, 7)
    y = layer(keras.KerasTensor((2, 7, 9, 4)))
    assert y.shape == (2, 1, 3, 3)
    assert layer(y, transposed=True).shape == (2, 7, 9, 4)
    maxima, peaks = blocks.GlobalMaxPoolWithPeaks()(x)
    assert (maxima.shape, peaks.shape) == ((2, 4), (2, None, 5, 4))
    outputs = blocks.ClassPasses()([scores, keras.KerasTensor((2, None, 5, 3)), x])
    assert [t.shape for t in outputs] == [(8, None, 5, 3), (8, None, 5, 4)]
    merged = blocks.ClassProbabilities()([scores, keras.KerasTensor((8, None, 5, 2))])
    assert merged.shape == (2, None, 5, 4)
