"""Pooling that ignores padding, worked by hand."""

import numpy as np
import pytest

from kerasseg.backbones import pooling

ROW = np.array([1.0, -2.0, 3.0, -4.0, 5.0], "float32").reshape(1, 1, 5, 1)


def pooled(kind, size, x=ROW, **options):
    return np.array(pooling.Pool2D(kind, (1, size), **options)(x)).ravel().tolist()


def test_cells_beyond_the_map_are_never_the_maximum():
    # Windows (1, -2), (3, -4) and (5); for -x the last maximum is -5, not 0.
    padding = ((0, 0), (0, 1))
    assert pooled("max", 2, stride=2, padding=padding) == [1, 3, 5]
    assert pooled("max", 2, -ROW, stride=2, padding=padding) == [2, 4, -5]


def test_cells_beyond_the_map_are_not_in_the_mean():
    # (1 - 2) / 2, (3 - 4) / 2, 5 / 1.
    padding = ((0, 0), (0, 1))
    assert pooled("average", 2, stride=2, padding=padding) == [-0.5, -0.5, 5]


def test_windows_can_be_dilated():
    # Windows (1, 3), (-2, -4), (3, 5), (-4) and (5).
    padding = ((0, 0), (0, 2))
    assert pooled("max", 2, rate=2, padding=padding) == [3, -2, 5, -4, 5]
    assert pooled("average", 2, rate=2, padding=padding) == [2, -3, 4, -4, 5]


def test_the_output_shape_is_computed():
    layer = pooling.Pool2D("max", (3, 2), stride=2, padding=((1, 1), (0, 1)))
    x = np.zeros((2, 7, 6, 4), "float32")
    # (7 + 2 - 3) // 2 + 1 = 4 rows, (6 + 1 - 2) // 2 + 1 = 3 columns.
    assert layer.compute_output_shape(x.shape) == layer(x).shape == (2, 4, 3, 4)
    assert layer.compute_output_shape((None, None, 6, 4)) == (None, None, 3, 4)


def test_wrong_arguments_are_errors():
    with pytest.raises(ValueError, match=r"Unknown pooling 'sum'\. Choose 'max' or"):
        pooling.Pool2D("sum", (2, 2), padding=((0, 0), (0, 0)))
    with pytest.raises(ValueError, match=r"rate 2 and stride 2\. Set one of them"):
        pooling.Pool2D("max", (2, 2), stride=2, rate=2, padding=((0, 0), (0, 0)))
