"""Mapping a source's values to class numbers."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from kerasseg import images
from tfrecords_tools.converters import renumbering


def test_other_values_are_ignored_or_become_others():
    # Values 0 to 4, of which 3 and 1 are classes 0 and 1.
    table = renumbering.make_table((3, 1), 5)
    assert table.tolist() == [255, 1, 255, 0, 255]
    assert renumbering.make_table((3, 1), 5, others=7).tolist() == [7, 1, 7, 0, 7]


def test_other_values_can_be_errors():
    table = renumbering.make_table((0, 255), 256, others=None)
    label = np.array([[0, 255], [255, 17]])
    with pytest.raises(images.ImageError, match=r"17 \(1 pixel\) .* are 0, 255\."):
        renumbering.renumber(label, table, "a.png")
    assert renumbering.renumber(label[:1], table, "a.png").tolist() == [[0, 1]]


@hypothesis.given(
    strategies.sampled_from(["u1", "i2", "u2", "i4", "i8", "f4", "f8"]).flatmap(
        lambda dtype: arrays.arrays(
            dtype,
            arrays.array_shapes(min_dims=2, max_dims=2, max_side=8),
            elements=strategies.integers(0, 99),
        )
    )
)
def test_every_pixel_is_looked_up_whatever_its_type(label):
    table = renumbering.make_table(range(50, 100), 100)
    found = renumbering.renumber(label, table, "a.png")
    expected = np.where(label < 50, 255, label.astype(int) - 50)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("wrong", [-1, 3, 0.5, np.nan, np.inf, 1e30])
def test_other_numbers_are_listed_with_their_pixels(wrong):
    label = np.array([[0, 1, wrong], [wrong, 2, 2]])
    with pytest.raises(
        images.ImageError, match=r"a\.png: .* \(2 pixels\) are not"
    ) as e:
        renumbering.renumber(label, renumbering.make_table((1, 2), 3), "a.png")
    assert f"{wrong} (2 pixels)" in str(e.value) and "from 0 to 2" in str(e.value)


@pytest.mark.parametrize(
    "label", [np.zeros(3), np.zeros((2, 2, 3), np.uint8), np.array([["a"]])]
)
def test_other_arrays_are_refused(label):
    with pytest.raises(images.ImageError, match="expected integers"):
        renumbering.renumber(label, renumbering.make_table((1,), 2), "a.png")
