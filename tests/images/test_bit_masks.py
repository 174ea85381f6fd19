"""Masks of several classes for each pixel, as one integer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kerasseg import errors
from kerasseg.images import bit_masks

SHAPES = st.tuples(
    st.integers(1, 6), st.integers(1, 6), st.integers(1, bit_masks.MAX_CLASSES)
)


def test_class_k_is_bit_k_plus_1():
    masks = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1]]], bool)
    # 2 ** 1 = 2; 2 ** 2 + 2 ** 3 = 12; 2 + 12 = 14.
    code = bit_masks.encode(masks)
    assert code.dtype == np.uint8 and code.tolist() == [[0, 2, 12, 14]]
    ignored = np.array([[False, True, False, False]])
    code = bit_masks.encode(masks, ignored)
    assert code.tolist() == [[0, 255, 12, 14]]
    assert not bit_masks.decode(code, 3)[0, 1].any()


@given(arrays.arrays(bool, SHAPES))
def test_masks_return_unchanged(masks):
    code = bit_masks.encode(masks)
    assert code.dtype == (np.uint8 if masks.shape[-1] <= 7 else np.uint16)
    np.testing.assert_array_equal(bit_masks.decode(code, masks.shape[-1]), masks)
    assert not bit_masks.wrong(code, masks.shape[-1]).any()


@given(st.integers(0, 2**16 - 1), st.integers(1, bit_masks.MAX_CLASSES))
def test_wrong_values_are_those_that_no_classes_have(value, count):
    code = np.array([value], np.uint16)
    again = bit_masks.encode(bit_masks.decode(code, count)).astype(int)
    is_right = value == 255 or (again == value).all()
    assert bit_masks.wrong(code, count).tolist() == [not is_right]


def test_too_many_classes_are_refused():
    with pytest.raises(errors.UserError, match="hold 1 to 15 classes, got 16"):
        bit_masks.encode(np.zeros((1, 1, 16), bool))
