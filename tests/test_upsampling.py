"""Transposed convolutions that start bilinear."""

import keras
import numpy as np
import pytest

from kerasseg import blocks
from tests import reference

RNG = np.random.default_rng(0)


def enlarge(x, stride, **options):
    """Runs one `blocks.upscore` over an array."""
    scores = keras.Input(x.shape[1:])
    layer = blocks.upscore(scores, stride, name="upscore", **options)
    return np.asarray(keras.Model(scores, layer)(x.astype("float32")))


def test_a_kernel_falls_from_its_middle_and_keeps_channels_apart():
    kernel = np.asarray(blocks.Bilinear()((4, 4, 3, 3)))
    side = np.array([0.25, 0.75, 0.75, 0.25])
    np.testing.assert_array_equal(kernel[:, :, 1, 1], np.outer(side, side))
    assert kernel[:, :, 1, 1].sum() == 4  # The square of the stride.
    assert not kernel[:, :, ~np.eye(3, dtype=bool)].any()
    odd = np.asarray(blocks.Bilinear()((3, 3, 1, 1)))[1, :, 0, 0]
    np.testing.assert_array_equal(odd, [0.5, 1, 0.5])


def test_two_by_two_cells_by_hand():
    # Across, [0, 4] becomes 0 .75 + 4 .25 = 1 and 0 .25 + 4 .75 = 3 in the middle; at
    # the ends .75 of what is there, as the cell beyond is missing.
    cells = np.array([[0, 4], [8, 12]]).reshape(1, 2, 2, 1)
    expected = [
        [0, 0.75, 2.25, 2.25],
        [1.5, 3, 5, 4.5],
        [4.5, 7, 9, 7.5],
        [4.5, 6.75, 8.25, 6.75],
    ]
    np.testing.assert_allclose(enlarge(cells, 2)[0, ..., 0], expected)


@pytest.mark.parametrize("stride", [2, 4, 8, 16, 32])
def test_it_is_a_resize_with_half_pixel_centres_but_for_half_a_cell(stride):
    cells = RNG.normal(size=(1, 4, 5, 3))
    enlarged = enlarge(cells, stride)
    expected = reference.resize(cells, 4 * stride, 5 * stride)
    inside = (slice(None), *[slice(stride // 2, -stride // 2)] * 2)
    np.testing.assert_allclose(enlarged[inside], expected[inside], atol=1e-6)
    border = enlarged[:, 0, stride:-stride]  # Of the row above the half is missing.
    share = 0.5 + 0.5 / stride
    np.testing.assert_allclose(
        border, share * expected[:, 0, stride:-stride], atol=1e-6
    )


def test_one_pixel_less_puts_cells_on_pixels():
    cells = RNG.normal(size=(1, 3, 4, 2))
    enlarged = enlarge(cells, 32, kernel_size=63)
    np.testing.assert_allclose(enlarged[:, 16::32, 16::32], cells, atol=1e-6)
    # Half-way between two cells, 16 pixels on, lies their mean.
    middle = (cells[:, :, 1:] + cells[:, :, :-1]) / 2
    np.testing.assert_allclose(enlarged[:, 16::32, 32::32], middle, atol=1e-6)


@pytest.mark.parametrize("kernel_size", [63, 64])
def test_constant_scores_stay_constant_inside(kernel_size):
    enlarged = enlarge(np.full((1, 3, 3, 2), 7.0), 32, kernel_size=kernel_size)
    np.testing.assert_allclose(enlarged[:, 16:-16, 16:-16], 7, rtol=1e-6)


def test_it_can_be_learned_or_not():
    scores = keras.Input((None, None, 2))
    for trainable in (False, True):
        x = blocks.upscore(scores, 2, trainable=trainable, name="upscore")
        model = keras.Model(scores, x)
        assert len(model.trainable_variables) == trainable
        again = keras.Model.from_config(model.get_config())
        assert len(again.trainable_variables) == trainable
        np.testing.assert_array_equal(again.get_weights(), model.get_weights())
