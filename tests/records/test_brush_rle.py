"""Label Studio's run lengths: bit by bit, both ways, and damaged ones."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from kerasseg import errors
from kerasseg.records import brush_rle

QUICK = hypothesis.settings(max_examples=60, deadline=None, database=None)
SMALL = np.array([[0, 1], [1, 1]], bool)
# As label_studio_sdk.converter.brush.mask2rle 2.0 encodes it: 16 values in 32 bits,
# 8 - 1 in 5 bits (00111), the sizes 3, 4, 8 and 16, each minus 1, in 4 bits (0010 0011
# 0111 1111), a run (1) of the first size (00) of 4 values (011) 0, and a run (1) of the
# second size (01) of 12 values (1011) 255.
GOLDEN = bytes.fromhex("00000010391bfc6016ffc0")
HEADER = f"{16:032b}" + "00111" + "0010001101111111"


def packed(bits):
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def test_bytes_are_those_of_label_studio():
    assert packed(HEADER + "10001100000000101101111111111") == (GOLDEN)
    assert brush_rle.encode(SMALL) == GOLDEN
    assert brush_rle.decode(GOLDEN, (2, 2)).tolist() == SMALL.tolist()


def test_a_list_of_values_is_read_and_only_alpha_counts():
    # A list (0) of the second size of 16 values (1111): alpha, the last of four, is 0,
    # 1, 0 and 9.
    values = [7, 7, 7, 0, 0, 0, 0, 1, 5, 5, 5, 0, 0, 0, 0, 9]
    bits = HEADER + "0011111" + "".join(f"{value:08b}" for value in values)
    decoded = brush_rle.decode(packed(bits), (1, 4))
    assert decoded.tolist() == [[False, True, False, True]]


@QUICK
@hypothesis.given(arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2)))
def test_masks_stay_the_same(mask):
    data = brush_rle.encode(mask)
    assert brush_rle.num_values(data) == 4 * mask.size
    assert (brush_rle.decode(data, mask.shape) == mask).all()


def test_runs_of_more_than_65536_values_are_split():
    # 20,000 pixels are 80,000 values, which take two blocks.
    mask = np.zeros((200, 200), bool)
    mask[100:] = True
    data = brush_rle.encode(mask)
    # 53 bits of header, and 4 blocks of 1 + 2 + 16 + 8 bits: 161 bits.
    assert len(data) == 21
    assert (brush_rle.decode(data, (200, 200)) == mask).all()


@pytest.mark.parametrize(
    ("data", "size", "reason"),
    [
        (b"", (2, 2), "cut off"),
        (GOLDEN[:4], (2, 2), "cut off"),
        (GOLDEN[:-2], (2, 2), "cut off"),
        (GOLDEN, (2, 3), "for 16 values, an image of 3 x 2 pixels has 24"),
        (b"\xff" * 11, (2, 2), "for 4,294,967,295 values"),
        (packed(HEADER + "1101111111100000000"), (2, 2), "too long"),
        (packed(HEADER + "001111100000000"), (2, 2), "cut off"),
        (packed(f"{16:032b}" + "1" * 40), (2, 2), "have 32 bits, expected 8"),
    ],
)
def test_damaged_masks_are_errors(data, size, reason):
    with pytest.raises(errors.UserError, match=reason):
        brush_rle.decode(data, size)


@QUICK
@hypothesis.given(strategies.binary(max_size=40))
def test_any_bytes_give_a_mask_or_an_error(data):
    for whole in (data, HEADER_BYTES + data):
        try:
            mask = brush_rle.decode(whole, (2, 2))
        except errors.UserError:
            continue
        assert mask.shape == (2, 2)


HEADER_BYTES = packed(HEADER)[:-1]
