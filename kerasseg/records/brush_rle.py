"""Label Studio's run-length encoding of brush masks: RGBA values, packed into bits.

The first 32 bits hold the number of values, 5 bits the bits of a value minus 1, and
four times 4 bits the sizes of a length minus 1. Blocks follow: one bit, 1 for a run of
one value and 0 for a list of values; two bits, which of the four sizes the length has;
the length minus 1; and the value or values. All numbers start with the highest bit.

Source: https://github.com/thi-ng/umbrella, packages/rle-pack, which Label Studio uses.
"""

import numpy as np

from kerasseg import errors

_CHANNELS, _ALPHA = 4, 3
_VALUE_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_HEADER = 32 + 5 + 4 * 4  # Bits.
_MOST = 1 << _LENGTH_BITS[-1]  # Values of one block.


def encode(mask: np.ndarray) -> bytes:
    """Encodes a mask as RGBA: 255 in all four channels, and 0 outside of the mask.

    Args:
        mask: bool `[height, width]`.

    Raises:
        errors.UserError: It has too many pixels for the 32 bits of the format.
    """
    total = mask.size * _CHANNELS
    if total >= 1 << 32:
        raise errors.UserError(
            f"A brush mask of Label Studio has at most {(1 << 30) - 1:,} pixels, got "
            f"{mask.size:,}. Divide the image into parts."
        )
    flat = np.asarray(mask, bool).ravel()
    starts = np.append(0, np.flatnonzero(flat[1:] != flat[:-1]) + 1)
    lengths = np.diff(np.append(starts, flat.size)) * _CHANNELS
    counts, values = _blocks(lengths, flat[starts])
    sizes = np.searchsorted(1 << np.array(_LENGTH_BITS), counts)
    bits = np.array(_LENGTH_BITS)[sizes]
    codes = (4 + sizes) << bits | (
        counts - 1
    )  # The bit of a run, the size, the length.
    codes = codes << _VALUE_BITS | np.where(values, 255, 0)
    header = total << 21 | (_VALUE_BITS - 1) << 16
    for i, size in enumerate(_LENGTH_BITS):
        header |= (size - 1) << 4 * (3 - i)
    return _pack(np.append(header, codes), np.append(_HEADER, 3 + bits + _VALUE_BITS))


def _blocks(lengths, values):
    """Splits runs that are too long for one block; returns lengths and values."""
    repeats = -(-lengths // _MOST)
    counts = np.full(repeats.sum(), _MOST)
    counts[np.cumsum(repeats) - 1] = lengths - (repeats - 1) * _MOST
    return counts, np.repeat(values, repeats)


def _pack(codes, num_bits):
    """Writes the lowest bits of each code, the highest of them first."""
    width = num_bits.max()
    bits = codes[:, np.newaxis] >> np.arange(width)[::-1] & 1
    is_used = np.arange(width) >= width - num_bits[:, np.newaxis]
    return np.packbits(bits[is_used].astype(np.uint8)).tobytes()


def num_values(data: bytes) -> int:
    """Returns the number of RGBA values: four times the pixels of the mask.

    Raises:
        errors.UserError: The header is cut off.
    """
    return _Bits(data).read(32)


def decode(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decodes a mask: the pixels that are not fully transparent.

    Args:
        data: The encoded mask. Bytes after the last value are not read.
        size: Height and width of the mask.

    Returns:
        bool `[height, width]`.

    Raises:
        errors.UserError: It is cut off or damaged, or of another size.
    """
    bits = _Bits(data)
    total = bits.read(32)
    if total != _CHANNELS * size[0] * size[1]:
        raise errors.UserError(
            f"the run lengths of a brush mask are for {total:,} values, an image of "
            f"{size[1]} x {size[0]} pixels has {_CHANNELS * size[0] * size[1]:,}"
        )
    value_bits = bits.read(5) + 1
    if value_bits != _VALUE_BITS:
        raise errors.UserError(
            f"the values of a brush mask have {value_bits} bits, expected {_VALUE_BITS}"
        )
    sizes = [bits.read(4) + 1 for _ in _LENGTH_BITS]
    values = np.zeros(total, np.uint8)
    start = 0
    while start < total:
        is_run = bits.read(1)
        end = start + bits.read(sizes[bits.read(2)]) + 1
        if end > total:
            raise errors.UserError("the run lengths of a brush mask are too long")
        values[start:end] = bits.read(8) if is_run else bits.read_bytes(end - start)
        start = end
    return values[_ALPHA::_CHANNELS].reshape(size) > 0


class _Bits:
    """Reads bits, the highest of a byte first."""

    def __init__(self, data: bytes):
        self._data, self._position = data, 0

    def _advance(self, count):
        start = self._position
        self._position += count
        if self._position > 8 * len(self._data):
            raise errors.UserError("the run lengths of a brush mask are cut off")
        return start

    def read(self, count: int) -> int:
        """Returns the number that the next bits hold."""
        start = self._advance(count)
        end = -(-self._position // 8)
        number = int.from_bytes(self._data[start // 8 : end], "big")
        return number >> (8 * end - self._position) & ((1 << count) - 1)

    def read_bytes(self, count: int) -> np.ndarray:
        """Returns numbers of 8 bits, uint8 `[count]`."""
        start = self._advance(8 * count)
        data = self._data[start // 8 : -(-self._position // 8)]
        bits = np.unpackbits(np.frombuffer(data, np.uint8))
        return np.packbits(bits[start % 8 : start % 8 + 8 * count])
