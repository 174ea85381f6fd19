"""Reads an image and its mask into a small summary."""

import dataclasses
import hashlib

import cv2
import numpy as np

from kerasseg import images, records
from kerasseg.system import files
from tfrecords_tools import annotations
from tfrecords_tools.converters import pairs
from tfrecords_tools.writing import image_kinds, label_rules, tasks

MANY_COLORS = 256  # A mask with more colors was compressed or interpolated.
_THUMBNAIL = 8  # Pixels per side.
_DETAIL = 32  # Pixels per side.
_BIT_DEPTH = 24  # Offset of the bit depth in a PNG file.
GRAY, PALETTE, COLORS, DRAWN = "gray", "palette", "colors", "drawn"
_KINDS = {  # By Pillow's mode.
    **dict.fromkeys(("1", "L", "I;16", "I"), GRAY),
    "P": PALETTE,
}


@dataclasses.dataclass(frozen=True)
class MaskScan:
    """Summary of a mask.

    Attributes:
        kind: "gray", "palette", "colors", or "drawn" from annotations.
        format: As `images.Header` has it; "" if drawn.
        size: Height and width.
        numbers: Number of pixels by value; empty for colors.
        colors: Number of pixels by packed color, at most `MANY_COLORS`, most frequent
            first; empty for gray.
        color_of: Color of each value that occurs, for a palette.
        has_many_colors: Whether there are more colors.
    """

    kind: str
    format: str
    size: tuple[int, int]
    numbers: dict[int, int]
    colors: dict[int, int] = dataclasses.field(default_factory=dict)
    color_of: dict[int, int] = dataclasses.field(default_factory=dict)
    has_many_colors: bool = False


@dataclasses.dataclass(frozen=True)
class Scan:
    """Summary of a pair.

    Attributes:
        split: Name of its split.
        pair: The pair.
        fault: Why it cannot be read, or "".
        size: Height and width of the image as stored.
        orientation: EXIF orientation, 1 (upright) to 8.
        content: Hash of the pixels of the upright image.
        thumbnail: The upright image, 8 x 8 pixels, uint8 `[192]`.
        detail: High frequencies of the upright image, 32 x 32 pixels, int8 `[1024]`.
        mask: Summary of the mask; empty if it cannot be read, or there is none.
        edges: Mean edge strength of the image where the mask changes, with the mask on
            the stored and on the upright image; for rotated images only.
        max_16_bit: Largest value of an image of 16 bits per channel; -1 for others.
        kind: Channels and type of the image as the build reads it.
    """

    split: str
    pair: pairs.Pair
    fault: str = ""
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    content: bytes = b""
    thumbnail: np.ndarray | None = None
    detail: np.ndarray | None = None
    mask: MaskScan = MaskScan("", "", (0, 0), {})
    edges: tuple[float, float] = (0.0, 0.0)
    max_16_bit: int = -1
    kind: images.ImageKind = images.RGB

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width of the image after the EXIF rotation."""
        return self.size[::-1] if self.orientation >= 5 else self.size

    @property
    def name(self) -> str:
        """Its name for `leave_out`."""
        return f"{self.split}:{self.pair.name}"


def scan(split: str, pair: pairs.Pair, max_pixels: int, channels: str = "") -> Scan:
    """Reads a pair. A file that cannot be read gives a fault, not an error.

    Args:
        split: Name of its split.
        pair: The pair.
        max_pixels: Images with more pixels are not decoded.
        channels: Option of the build, see `encoding.Rules`.
    """
    try:
        return _scan(split, pair, max_pixels, channels)
    except tasks.BAD as error:
        return Scan(split, pair, fault=tasks.reason(error, max_pixels))


def _scan(split, pair, max_pixels, channels):
    data = files.read_bytes(pair.image)
    header = images.read_header(data, name=pair.image)
    pixels, kind = _pixels(data, max_pixels, channels, pair.image)
    upright = kind.view(pixels)
    mask, values = _scan_mask(pair, header, max_pixels)
    small = cv2.resize(upright, (_THUMBNAIL,) * 2, interpolation=cv2.INTER_AREA)
    edges = (0.0, 0.0)
    if header.orientation != 1:
        turned, _ = _pixels(data, max_pixels, channels, pair.image, apply_exif=False)
        stored = kind.view(turned)
        edges = _edges(stored, values), _edges(upright, values)
    return Scan(
        split=split,
        pair=pair,
        size=(header.height, header.width),
        orientation=header.orientation,
        content=hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).digest(),
        thumbnail=small.ravel(),
        detail=_detail(upright),
        mask=mask,
        edges=edges,
        max_16_bit=_max_16_bit(data, header, pixels),
        kind=images.ImageKind(kind.channels, kind.dtype),
    )


def _pixels(data, max_pixels, channels, name, *, apply_exif=True):
    """Returns an image as the build reads it, and its kind with its own range."""
    options = {"max_pixels": max_pixels, "apply_exif": apply_exif, "name": name}
    number = image_kinds.parse(channels)
    if number == 0:
        return images.read_image(data, **options), images.RGB
    pixels = images.read_raster(data, channels=number, **options).pixels
    kind = images.ImageKind(pixels.shape[2], str(pixels.dtype))
    if kind.is_rgb:
        return pixels, images.RGB
    return pixels, records.measure([(pixels, None)], kind, 1)


def _max_16_bit(data, header, pixels):
    if pixels.dtype == np.uint16:
        return int(pixels.max())
    if header.format != "png" or data[_BIT_DEPTH] != 16:
        return -1
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        return -1
    has_alpha = pixels.ndim == 3 and pixels.shape[2] == 4
    return int(pixels[..., :3].max() if has_alpha else pixels.max())


def _scan_mask(pair, image, max_pixels):
    """Returns the summary of the mask of an image, and its values or packed colors."""
    if pair.is_unlabeled:
        return Scan.mask, np.zeros((0, 0), np.uint8)
    if pair.shapes:
        numbers = annotations.draw(pair.shapes, (image.height, image.width))
        return MaskScan(DRAWN, "", numbers.shape, _count(numbers)), numbers
    data, name = files.read_bytes(pair.label), pair.label
    header = images.probe(data, name=name)
    kind = _KINDS.get(header.mode, COLORS)
    if header.format != "jpeg" and kind != COLORS:
        numbers = images.read_label(data, max_pixels=max_pixels, name=name)
        if kind == GRAY:
            return (
                MaskScan(kind, header.format, numbers.shape, _count(numbers)),
                numbers,
            )
    pixels = label_rules.read_colors(data, max_pixels, name)
    if kind == GRAY:  # A JPEG.
        numbers = pixels[..., 0]
        return MaskScan(kind, header.format, numbers.shape, _count(numbers)), numbers
    codes = label_rules.pack(pixels)
    colors, has_more = _most_frequent(codes)
    mask = MaskScan(
        kind, header.format, codes.shape, {}, colors, has_many_colors=has_more
    )
    if kind == COLORS:
        return mask, codes
    color_of = _colors_of(numbers, codes)
    mask = dataclasses.replace(mask, numbers=_count(numbers), color_of=color_of)
    return mask, numbers


def _count(numbers):
    counts = np.bincount(numbers.ravel(), minlength=256)
    return {int(i): int(counts[i]) for i in np.flatnonzero(counts)}


def _most_frequent(codes):
    values, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MANY_COLORS]
    colors = dict(zip(values[order].tolist(), counts[order].tolist(), strict=True))
    return colors, len(values) > MANY_COLORS


def _colors_of(numbers, codes):
    values, places = np.unique(numbers, return_index=True)
    return dict(zip(values.tolist(), codes.ravel()[places].tolist(), strict=True))


def _detail(image):
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (_DETAIL,) * 2, interpolation=cv2.INTER_AREA).astype(float)
    fine = (small - cv2.GaussianBlur(small, (0, 0), 1.5)).ravel()
    return np.round(fine / max(np.abs(fine).max(), 1e-9) * 127).astype(np.int8)


def _edges(image, label):
    """Returns the mean edge strength where the label changes; 0 if sizes differ."""
    if image.shape[:2] != label.shape:
        return 0.0
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    strength = cv2.morphologyEx(gray, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    changes = np.zeros(label.shape, bool)
    changes[1:] |= label[1:] != label[:-1]
    changes[:, 1:] |= label[:, 1:] != label[:, :-1]
    return float(strength[changes].mean()) if changes.any() else 0.0
