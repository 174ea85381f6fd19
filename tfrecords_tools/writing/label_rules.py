"""Maps the values and colors of masks to class numbers, as options say."""

import dataclasses
import functools
import os

import cv2
import numpy as np

from kerasseg import datasets, images
from tfrecords_tools.converters import source_files

_MAX_LISTED = 10
_BIT_DEPTH = 24  # Offset of the bit depth in a PNG file.


@dataclasses.dataclass(frozen=True)
class LabelRules:
    """What the values of masks mean. By default they are class numbers.

    The key of a build depends on the names of these fields.

    Attributes:
        offset: Added to all values but 255 and those in `numbers`.
        numbers: Values of masks with their class numbers.
        colors: RGB colors of masks with their class numbers.
        palette_colors: Whether masks with a palette are read by their colors.
        tolerance: Largest distance, 0..255 in any channel, at which a value counts as
            one in `numbers` or `colors`. Values that are farther from all are ignored.
            With 0, only the exact values are accepted.
        resize: Whether masks with the aspect ratio of their image are resized to its
            size, with nearest neighbor.
    """

    offset: int = 0
    numbers: tuple[tuple[int, int], ...] = ()
    colors: tuple[tuple[tuple[int, int, int], int], ...] = ()
    palette_colors: bool = False
    tolerance: int = 0
    resize: bool = False


DEFAULT_RULES = LabelRules()


def has_colors(header: images.Header, rules: LabelRules) -> bool:
    """Returns whether a mask is read by its colors instead of its values."""
    return header.mode not in ("1", "L", "P", "I;16", "I") or (
        header.mode == "P" and rules.palette_colors
    )


def read_mask(
    data: bytes,
    rules: LabelRules = DEFAULT_RULES,
    *,
    max_pixels: int = images.DEFAULT_MAX_PIXELS,
    name: str = "",
) -> np.ndarray:
    """Reads a mask file as class numbers.

    Args:
        data: Bytes of the file.
        rules: What its values mean.
        max_pixels: Masks with more pixels are refused.
        name: Name of the file, for error messages.

    Returns:
        uint8 `[height, width]`; 255 is ignored.

    Raises:
        ImageError: The file cannot be read, or the rules do not cover one of its values
            or colors.
    """
    header = images.probe(data, name=name)
    if rules.colors and has_colors(header, rules):
        return _map_pixels(read_colors(data, max_pixels, name), rules, name)
    if header.format == "jpeg" and header.mode == "L" and rules.tolerance:
        return map_numbers(read_colors(data, max_pixels, name)[..., 0], rules, name)
    try:
        numbers = images.read_label(data, max_pixels=max_pixels, name=name)
    except images.ImageError as error:
        if header.format == "jpeg" or has_colors(header, rules):
            message = f"{str(error).rstrip('.')}. {_HINT_AT_COLORMAP}"
            raise images.ImageError(message) from error
        raise
    return map_numbers(numbers, rules, name)


def read_colors(data: bytes, max_pixels: int, name: str) -> np.ndarray:
    """Reads the colors of a mask file, uint8 `[height, width, 3]`.

    Args:
        data: Bytes of the file.
        max_pixels: Masks with more pixels are refused.
        name: Name of the file, for error messages.

    Raises:
        ImageError: The file cannot be read, or has 16 bits per channel.
    """
    pixels = images.read_image(data, max_pixels=max_pixels, apply_exif=False, name=name)
    if images.probe(data, name=name).format == "png" and data[_BIT_DEPTH] == 16:
        raise images.ImageError(
            f"{name} has colors of 16 bits per channel. Save it again with 8 bits."
        )
    return pixels


_HINT_AT_COLORMAP = (
    "Or give the class of each color with `colormap`: python -m "
    "tfrecords_tools.inspect with `images` and `masks` proposes one."
)


def map_numbers(numbers: np.ndarray, rules: LabelRules, name: str) -> np.ndarray:
    """Maps the values of a mask to class numbers, uint8 `[height, width]`.

    Args:
        numbers: Values, uint8 `[height, width]`.
        rules: What they mean.
        name: Name of the mask, for error messages.

    Raises:
        ImageError: A value becomes less than 0 or greater than 255.
    """
    table = number_table(rules)
    if np.array_equal(table, np.arange(256)):
        return numbers
    counts = np.bincount(numbers.ravel(), minlength=256)
    lost = np.flatnonzero((counts > 0) & ((table < 0) | (table > 255))).tolist()
    if lost:
        listed = source_files.shorten(
            lost,
            _MAX_LISTED,
            format_item=lambda i: f"{i} ({source_files.count(counts[i], 'pixel')})",
        )
        raise images.ImageError(
            f"{name}: with `label_offset={rules.offset}` these values are out of the "
            f"range of class numbers: {listed}. Map them with `label_map`, for example "
            f"`label_map={lost[0]}:{datasets.IGNORE_LABEL}` to ignore them."
        )
    return cv2.LUT(numbers, table.astype(np.uint8))


def number_table(rules: LabelRules) -> np.ndarray:
    """Returns the class number of each value from 0 to 255, int64 `[256]`.

    Entries may be out of the range 0..255.
    """
    table = np.arange(256) + rules.offset
    table[datasets.IGNORE_LABEL] = datasets.IGNORE_LABEL
    listed = dict(rules.numbers)
    if rules.tolerance and listed:
        known = np.array(list(listed))
        distance = np.abs(np.arange(256)[:, None] - known)
        table = np.array(list(listed.values()))[distance.argmin(axis=1)]
        table[distance.min(axis=1) > rules.tolerance] = datasets.IGNORE_LABEL
    for value, number in listed.items():
        table[value] = number
    return table


def pack(pixels: np.ndarray) -> np.ndarray:
    """Packs each RGB color into one number: uint8 `[..., 3]` to int32 `[...]`."""
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def unpack(codes: np.ndarray | int) -> np.ndarray:
    """Unpacks the numbers of `pack` into RGB, int64 `[..., 3]`."""
    codes = np.asarray(codes, np.int64)
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1)


def hexadecimal(code: int) -> str:
    """Returns the six digits of a packed color, as `colormap` takes them."""
    return f"{code:06x}"


def map_colors(codes: np.ndarray, rules: LabelRules) -> np.ndarray:
    """Maps packed colors `[...]` to class numbers, int64; -1 for unknown colors."""
    known = np.array([color for color, _ in rules.colors])
    numbers = np.array([number for _, number in rules.colors])
    distance = np.abs(unpack(codes)[..., None, :] - known).max(axis=-1)
    nearest = numbers[distance.argmin(axis=-1)]
    otherwise = datasets.IGNORE_LABEL if rules.tolerance else -1
    return np.where(distance.min(axis=-1) <= rules.tolerance, nearest, otherwise)


def _map_pixels(pixels, rules, name):
    codes = pack(pixels)
    if not rules.tolerance:
        numbers = _color_table(rules.colors)[codes]
        if numbers.min() >= 0:
            return numbers.astype(np.uint8)
    colors, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
    numbers = map_colors(colors, rules)
    lost = np.flatnonzero(numbers < 0)
    if lost.size:
        lost = lost[np.argsort(-counts[lost], kind="stable")]
        listed = source_files.shorten(
            lost.tolist(),
            _MAX_LISTED,
            format_item=lambda i: (
                f"{hexadecimal(int(colors[i]))} "
                f"({source_files.count(counts[i], 'pixel')})"
            ),
        )
        raise images.ImageError(
            f"{name}: `colormap` does not have the colors {listed}. Add them, for "
            f"example {hexadecimal(colors[lost[0]])}:{datasets.IGNORE_LABEL} to ignore "
            "one. python -m tfrecords_tools.inspect lists the colors of all masks."
        )
    return numbers.astype(np.uint8)[places].reshape(codes.shape)


@functools.lru_cache(maxsize=2)
def _color_table(colors):
    """Returns the class number of each of the 2**24 colors, int16; -1 for others."""
    table = np.full(1 << 24, -1, np.int16)
    for color, number in colors:
        table[pack(np.array(color))] = number
    return table


def same_aspect_ratio(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Returns whether two (height, width) have one aspect ratio, up to rounding."""
    return (
        min(size) > 0
        and abs(size[0] * other[1] / size[1] - other[0]) <= max(1, other[1] / size[1])
        and abs(size[1] * other[0] / size[0] - other[1]) <= max(1, other[0] / size[0])
    )


def resize(
    numbers: np.ndarray, size: tuple[int, int], name: str | os.PathLike
) -> np.ndarray:
    """Resizes class numbers with nearest neighbor.

    Args:
        numbers: uint8 `[height, width]`.
        size: New height and width.
        name: Name of the mask, for error messages.

    Raises:
        ImageError: The aspect ratios differ.
    """
    if not same_aspect_ratio(numbers.shape[:2], size):
        raise images.ImageError(
            f"{name} is {numbers.shape[1]} x {numbers.shape[0]} pixels, its image "
            f"{size[1]} x {size[0]}. `resize_masks` does not change the aspect ratio. "
            "Give the right mask, or leave the pair out."
        )
    exact = cv2.INTER_NEAREST_EXACT
    return cv2.resize(numbers, (size[1], size[0]), interpolation=exact)
