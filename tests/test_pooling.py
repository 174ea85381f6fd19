"""Pooling that leaves out what is not there, worked by hand."""

import numpy as np
import pytest

from kerasseg.backbones import pooling

ROW = np.array([1.0, -2.0, 3.0, -4.0, 5.0], "float32").reshape(1, 1, 5, 1)


def pooled(kind, size, x=ROW, **options):
    return np.array(pooling.Pool2D(kind, (1, size), **options)(x)).ravel().tolist()


def test_cells_beyond_the_map_are_never_the_maximum():
    # Windows (1, -2), (3, -4) and (5, nothing); of -x: the last is -5, not 0.
    padding = ((0, 0), (0, 1))
    assert pooled("max", 2, stride=2, padding=padding) == [1, 3, 5]
    assert pooled("max", 2, -ROW, stride=2, padding=padding) == [2, 4, -5]


def test_cells_beyond_the_map_are_not_in_the_mean():
    # (1 - 2) / 2, (3 - 4) / 2, 5 / 1.
    padding = ((0, 0), (0, 1))
    assert pooled("average", 2, stride=2, padding=padding) == [-0.5, -0.5, 5]


def test_a_rate_takes_every_second_cell():
    # Windows (1, 3), (-2, -4), (3, 5), (-4, nothing), (5, nothing).
    padding = ((0, 0), (0, 2))
    assert pooled("max", 2, rate=2, padding=padding) == [3, -2, 5, -4, 5]
    assert pooled("average", 2, rate=2, padding=padding) == [2, -3, 4, -4, 5]


def test_the_size_is_known_before_the_values():
    layer = pooling.Pool2D("max", (3, 2), stride=2, padding=((1, 1), (0, 1)))
    x = np.zeros((2, 7, 6, 4), "float32")
    # (7 + 2 - 3) // 2 + 1 = 4 rows, (6 + 1 - 2) // 2 + 1 = 3 columns.
    assert layer.compute_output_shape(x.shape) == layer(x).shape == (2, 4, 3, 4)
    assert layer.compute_output_shape((None, None, 6, 4)) == (None, None, 3, 4)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="'sum' is neither 'max' nor 'average'"):
        pooling.Pool2D("sum", (2, 2), padding=((0, 0), (0, 0)))
    with pytest.raises(ValueError, match="rate 2 and stride 2; make one 1"):
        pooling.Pool2D("max", (2, 2), stride=2, rate=2, padding=((0, 0), (0, 0)))
