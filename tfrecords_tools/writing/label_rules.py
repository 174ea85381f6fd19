"""How numbers and colours of masks become class numbers: only as flags say."""

import dataclasses
import functools
import os

import cv2
import numpy as np

from kerasseg import datasets, images
from tfrecords_tools import texts

_MAX_LISTED = 10
_BIT_DEPTH = 24  # Which byte of a PNG has it.


@dataclasses.dataclass(frozen=True)
class LabelRules:
    """What a mask's values mean. Without any, they are class numbers already.

    Attributes:
        offset: What is added to every number but 255 and those of `numbers`.
        numbers: Numbers in masks with the numbers that they become.
        colors: RGB colours in masks with the class numbers that they become.
        palette_colors: Whether masks with a palette are read by their colours.
        tolerance: How far, of 255 in any channel, a value may be from one in `numbers`
            or `colors` and still count as it; what is farther from all is ignored.
            0 takes nothing but these values.
        resize: Whether a mask of another size, but the same shape, is brought to the
            size of its picture, by the nearest pixel.
    """

    offset: int = 0
    numbers: tuple[tuple[int, int], ...] = ()
    colors: tuple[tuple[tuple[int, int, int], int], ...] = ()
    palette_colors: bool = False
    tolerance: int = 0
    resize: bool = False


AS_THEY_ARE = LabelRules()


def has_colors(header: images.Header, rules: LabelRules) -> bool:
    """Tells whether a mask is read by its colours instead of its numbers."""
    return header.mode not in ("1", "L", "P", "I;16", "I") or (
        header.mode == "P" and rules.palette_colors
    )


def read_mask(
    data: bytes,
    rules: LabelRules = AS_THEY_ARE,
    *,
    max_pixels: int = images.DEFAULT_MAX_PIXELS,
    name: str = "",
) -> np.ndarray:
    """Reads the class numbers of a mask file.

    Returns:
        uint8 `[height, width]`; 255 is ignored.

    Raises:
        ImageError: It cannot be read, or holds a number or colour of which the rules
            say nothing that helps.
    """
    header = images.probe(data, name=name)
    if rules.colors and has_colors(header, rules):
        return _by_color(read_colors(data, max_pixels, name), rules, name)
    if header.format == "jpeg" and header.mode == "L" and rules.tolerance:
        return map_numbers(read_colors(data, max_pixels, name)[..., 0], rules, name)
    try:
        numbers = images.read_label(data, max_pixels=max_pixels, name=name)
    except images.ImageError as error:
        if header.format == "jpeg" or has_colors(header, rules):
            raise images.ImageError(f"{error}. {_COLORMAP}") from error
        raise
    return map_numbers(numbers, rules, name)


def read_colors(data: bytes, max_pixels: int, name: str) -> np.ndarray:
    """Reads the colours of a mask file, uint8 `[height, width, 3]`.

    Raises:
        ImageError: It cannot be read, or has 16 bits, of which 8 would be lost.
    """
    pixels = images.read_image(data, max_pixels=max_pixels, apply_exif=False, name=name)
    if images.probe(data, name=name).format == "png" and data[_BIT_DEPTH] == 16:
        raise images.ImageError(
            f"{name} has colours of 16 bits. Save it again with 8 bits a channel"
        )
    return pixels


_COLORMAP = (
    "Or say with --colormap which colour is which class: python -m "
    "tfrecords_tools.inspect with --images and --masks finds out"
)


def map_numbers(numbers: np.ndarray, rules: LabelRules, name: str) -> np.ndarray:
    """Maps the numbers of a mask, uint8 `[height, width]`.

    Raises:
        ImageError: A number becomes none from 0 to 255.
    """
    table = number_table(rules)
    if np.array_equal(table, np.arange(256)):
        return numbers
    counts = np.bincount(numbers.ravel(), minlength=256)
    lost = np.flatnonzero((counts > 0) & ((table < 0) | (table > 255))).tolist()
    if lost:
        listed = ", ".join(f"{i} ({counts[i]} pixels)" for i in lost[:_MAX_LISTED])
        raise images.ImageError(
            f"{name}: with `label_offset={rules.offset}` these numbers are no class "
            f"numbers: {listed}. Say what they mean with `label_map`, for example "
            f"`label_map={lost[0]}:{datasets.IGNORE_LABEL}` to ignore them"
        )
    return cv2.LUT(numbers, table.astype(np.uint8))


def number_table(rules: LabelRules) -> np.ndarray:
    """What each number from 0 to 255 becomes, int64 `[256]`; out of range: nothing."""
    table = np.arange(256) + rules.offset
    table[datasets.IGNORE_LABEL] = datasets.IGNORE_LABEL
    listed = dict(rules.numbers)
    if rules.tolerance and listed:
        known = np.array(list(listed))
        distance = np.abs(np.arange(256)[:, None] - known)
        table = np.array(list(listed.values()))[distance.argmin(axis=1)]
        table[distance.min(axis=1) > rules.tolerance] = datasets.IGNORE_LABEL
    for number, wanted in listed.items():
        table[number] = wanted
    return table


def pack(pixels: np.ndarray) -> np.ndarray:
    """Makes one number of each RGB colour: uint8 `[..., 3]` to int32 `[...]`."""
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def unpack(codes) -> np.ndarray:
    """Turns what `pack` made back into RGB, int64 `[..., 3]`."""
    codes = np.asarray(codes, np.int64)
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1)


def hexadecimal(code: int) -> str:
    """Six digits of a packed colour, as `--colormap` takes them."""
    return f"{code:06x}"


def map_colors(codes: np.ndarray, rules: LabelRules) -> np.ndarray:
    """Maps packed colours `[...]` to class numbers, int64; -1 where nothing is said."""
    known = np.array([color for color, _ in rules.colors])
    wanted = np.array([number for _, number in rules.colors])
    distance = np.abs(unpack(codes)[..., None, :] - known).max(axis=-1)
    found = wanted[distance.argmin(axis=-1)]
    otherwise = datasets.IGNORE_LABEL if rules.tolerance else -1
    return np.where(distance.min(axis=-1) <= rules.tolerance, found, otherwise)


def _by_color(pixels, rules, name):
    codes = pack(pixels)
    if not rules.tolerance:
        numbers = _color_table(rules.colors)[codes]
        if numbers.min() >= 0:
            return numbers.astype(np.uint8)
    found, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
    numbers = map_colors(found, rules)
    lost = np.flatnonzero(numbers < 0)
    if lost.size:
        lost = lost[np.argsort(-counts[lost], kind="stable")]
        listed = texts.some(
            lost,
            _MAX_LISTED,
            say=lambda i: f"{hexadecimal(int(found[i]))} ({counts[i]} pixels)",
        )
        raise images.ImageError(
            f"{name}: `colormap` does not have the colours {listed}. Add them, "
            f"for example {hexadecimal(found[lost[0]])}:{datasets.IGNORE_LABEL} to "
            "ignore one; python -m tfrecords_tools.inspect says what the masks hold"
        )
    return numbers.astype(np.uint8)[places].reshape(codes.shape)


@functools.lru_cache(maxsize=2)
def _color_table(colors):
    """Class number of each of the 2**24 colours, int16; -1 for others."""
    table = np.full(1 << 24, -1, np.int16)
    for color, number in colors:
        table[pack(np.array(color))] = number
    return table


def fits(size: tuple[int, int], wanted: tuple[int, int]) -> bool:
    """Tells whether two (height, width) are of one shape, to a pixel of rounding."""
    return (
        min(size) > 0
        and abs(size[0] * wanted[1] / size[1] - wanted[0])
        <= max(1, wanted[1] / size[1])
        and abs(size[1] * wanted[0] / size[0] - wanted[1])
        <= max(1, wanted[0] / size[0])
    )


def resize(numbers: np.ndarray, size: tuple[int, int], name: str | os.PathLike):
    """Brings class numbers to (height, width) by the nearest pixel.

    Raises:
        ImageError: The shape differs, so that it is no smaller or larger copy.
    """
    if not fits(numbers.shape[:2], size):
        raise images.ImageError(
            f"{name} is {numbers.shape[1]} x {numbers.shape[0]} pixels, its picture "
            f"{size[1]} x {size[0]}: another shape, which `resize_masks` does not "
            "mend. Give the right mask, or leave the pair out"
        )
    exact = cv2.INTER_NEAREST_EXACT
    return cv2.resize(numbers, (size[1], size[0]), interpolation=exact)
