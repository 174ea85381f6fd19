"""Transposed convolutions that are initialized to bilinear interpolation."""

import keras
import numpy as np
import pytest

from kerasseg import blocks
from tests.support import reference

RNG = np.random.default_rng(0)


def upsample(x, stride, **options):
    """Applies `blocks.upscore` to an array."""
    scores = keras.Input(x.shape[1:])
    layer = blocks.upscore(scores, stride, name="upscore", **options)
    return np.asarray(keras.Model(scores, layer)(x.astype("float32")))


def test_a_kernel_is_triangular_and_separate_for_each_channel():
    kernel = np.asarray(blocks.Bilinear()((4, 4, 3, 3)))
    side = np.array([0.25, 0.75, 0.75, 0.25])
    np.testing.assert_array_equal(kernel[:, :, 1, 1], np.outer(side, side))
    assert kernel[:, :, 1, 1].sum() == 4  # The square of the stride.
    assert not kernel[:, :, ~np.eye(3, dtype=bool)].any()
    odd = np.asarray(blocks.Bilinear()((3, 3, 1, 1)))[1, :, 0, 0]
    np.testing.assert_array_equal(odd, [0.5, 1, 0.5])


def test_two_by_two_cells_equal_those_worked_by_hand():
    # In a row, [0, 4] becomes 0 .75 + 4 .25 = 1 and 0 .25 + 4 .75 = 3 in the middle,
    # and .75 of the cell at the ends, where the next cell counts as zero.
    cells = np.array([[0, 4], [8, 12]]).reshape(1, 2, 2, 1)
    expected = [
        [0, 0.75, 2.25, 2.25],
        [1.5, 3, 5, 4.5],
        [4.5, 7, 9, 7.5],
        [4.5, 6.75, 8.25, 6.75],
    ]
    np.testing.assert_allclose(upsample(cells, 2)[0, ..., 0], expected)


@pytest.mark.parametrize("stride", [2, 4, 8, 16, 32])
def test_it_equals_a_resize_with_half_pixel_centers_except_at_the_border(stride):
    cells = RNG.normal(size=(1, 4, 5, 3))
    upsampled = upsample(cells, stride)
    expected = reference.resize(cells, 4 * stride, 5 * stride)
    inside = (slice(None), *[slice(stride // 2, -stride // 2)] * 2)
    np.testing.assert_allclose(upsampled[inside], expected[inside], atol=1e-6)
    border = upsampled[:, 0, stride:-stride]  # The row above counts as zero.
    weight = 0.5 + 0.5 / stride
    np.testing.assert_allclose(
        border, weight * expected[:, 0, stride:-stride], atol=1e-6
    )


def test_an_odd_kernel_puts_cells_on_pixels():
    cells = RNG.normal(size=(1, 3, 4, 2))
    upsampled = upsample(cells, 32, kernel_size=63)
    np.testing.assert_allclose(upsampled[:, 16::32, 16::32], cells, atol=1e-6)
    # In the middle between two cells, 16 pixels on, is their mean.
    middle = (cells[:, :, 1:] + cells[:, :, :-1]) / 2
    np.testing.assert_allclose(upsampled[:, 16::32, 32::32], middle, atol=1e-6)


@pytest.mark.parametrize("kernel_size", [63, 64])
def test_constant_scores_stay_constant_inside(kernel_size):
    upsampled = upsample(np.full((1, 3, 3, 2), 7.0), 32, kernel_size=kernel_size)
    np.testing.assert_allclose(upsampled[:, 16:-16, 16:-16], 7, rtol=1e-6)


def test_it_can_be_trainable_or_not():
    scores = keras.Input((None, None, 2))
    for trainable in (False, True):
        x = blocks.upscore(scores, 2, trainable=trainable, name="upscore")
        model = keras.Model(scores, x)
        assert len(model.trainable_variables) == trainable
        again = keras.Model.from_config(model.get_config())
        assert len(again.trainable_variables) == trainable
        np.testing.assert_array_equal(again.get_weights(), model.get_weights())
