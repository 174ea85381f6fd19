"""What one picture and its mask show, in a few bytes."""

import dataclasses
import hashlib
import pathlib

import cv2
import numpy as np

from kerasseg import images
from tfrecords_tools import annotations
from tfrecords_tools.converters import pairs
from tfrecords_tools.writing import label_rules

MANY_COLORS = 256  # A mask of more colours than this was smeared.
_THUMBNAIL = 8  # Pixels a side.
_DETAIL = 32  # Pixels a side.
_GREY, _PALETTE = "grey", "palette"
COLORS = "colors"
DRAWN = "drawn"
_KINDS = {  # By pillow's mode; 16-bit grey has none, and is an error that says so.
    **dict.fromkeys(("1", "L", "I;16", "I"), _GREY),
    "P": _PALETTE,
}


@dataclasses.dataclass(frozen=True)
class Mask:
    """What a mask shows.

    Attributes:
        kind: "grey", "palette", "colors", or "drawn" of annotations.
        format: "png" or "jpeg"; "" if drawn.
        size: Height and width.
        numbers: Pixels of each number, by number; empty for colours.
        colors: Pixels of each packed colour, at most `MANY_COLORS`, most frequent
            first; empty for grey.
        color_of: Colour of each number that occurs, for a palette.
        is_smeared: Whether there are more colours.
    """

    kind: str
    format: str
    size: tuple[int, int]
    numbers: dict[int, int]
    colors: dict[int, int] = dataclasses.field(default_factory=dict)
    color_of: dict[int, int] = dataclasses.field(default_factory=dict)
    is_smeared: bool = False


@dataclasses.dataclass(frozen=True)
class Look:
    """What a pair shows.

    Attributes:
        split: Name of its split.
        pair: The pair.
        fault: Why it cannot be read, or "".
        size: Height and width of the picture as it is stored.
        orientation: EXIF's, 1 (upright) to 8.
        content: Hash of the pixels of the upright picture.
        thumbnail: The upright picture, 8 x 8 pixels, uint8 `[192]`.
        detail: What is finer in the upright picture, 32 x 32 pixels, int8 `[1024]`.
        mask: What the mask shows, None where it cannot be read.
        edges: How strong the picture's edges are where the mask changes, if the mask
            is laid on the stored picture and on the upright one; of rotated pictures.
    """

    split: str
    pair: pairs.Pair
    fault: str = ""
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    content: bytes = b""
    thumbnail: np.ndarray | None = None
    detail: np.ndarray | None = None
    mask: Mask | None = None
    edges: tuple[float, float] = (0.0, 0.0)

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width of the picture as EXIF wants it shown."""
        return self.size[::-1] if self.orientation >= 5 else self.size

    @property
    def name(self) -> str:
        """How --leave_out names it."""
        return f"{self.split}:{self.pair.name}"


def look(split: str, pair: pairs.Pair, max_pixels: int) -> Look:
    """Looks at a pair; what cannot be read is a fault, not an error."""
    try:
        data = pathlib.Path(pair.image).read_bytes()
        header = images.probe(data, name=pair.image)
        upright = images.read_image(data, max_pixels=max_pixels, name=pair.image)
        mask, shown = _look_at_mask(pair, max_pixels)
    except (ValueError, OSError) as error:
        return Look(split, pair, fault=str(error))
    small = cv2.resize(upright, (_THUMBNAIL,) * 2, interpolation=cv2.INTER_AREA)
    edges = (0.0, 0.0)
    if header.orientation != 1:
        stored = images.read_image(data, apply_exif=False, name=pair.image)
        edges = _edges(stored, shown), _edges(upright, shown)
    return Look(
        split=split,
        pair=pair,
        size=(header.height, header.width),
        orientation=header.orientation,
        content=hashlib.sha256(
            f"{upright.shape}".encode() + upright.tobytes()
        ).digest(),
        thumbnail=small.ravel(),
        detail=_detail(upright),
        mask=mask,
        edges=edges,
    )


def _look_at_mask(pair, max_pixels):
    """Returns what a mask shows, and its numbers or packed colours."""
    if pair.shapes:
        numbers = annotations.draw(pair.shapes)
        return Mask(DRAWN, "", numbers.shape, _counted(numbers)), numbers
    data, name = pathlib.Path(pair.label).read_bytes(), pair.label
    header = images.probe(data, name=name)
    kind = _KINDS.get(header.mode, COLORS)
    if header.format == "png" and kind != COLORS:
        numbers = images.read_label(data, max_pixels=max_pixels, name=name)
        if kind == _GREY:
            return Mask(kind, header.format, numbers.shape, _counted(numbers)), numbers
    pixels = label_rules.read_colors(data, max_pixels, name)
    if kind == _GREY:  # A JPEG.
        numbers = pixels[..., 0]
        return Mask(kind, header.format, numbers.shape, _counted(numbers)), numbers
    codes = label_rules.pack(pixels)
    colors, is_smeared = _most_frequent(codes)
    seen = Mask(kind, header.format, codes.shape, {}, colors, is_smeared=is_smeared)
    if kind == COLORS:
        return seen, codes
    color_of = _colors_of(numbers, codes)
    return dataclasses.replace(
        seen, numbers=_counted(numbers), color_of=color_of
    ), numbers


def _counted(numbers):
    counts = np.bincount(numbers.ravel(), minlength=256)
    return {int(i): int(counts[i]) for i in np.flatnonzero(counts)}


def _most_frequent(codes):
    found, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MANY_COLORS]
    colors = dict(zip(found[order].tolist(), counts[order].tolist(), strict=True))
    return colors, len(found) > MANY_COLORS


def _colors_of(numbers, codes):
    found, places = np.unique(numbers, return_index=True)
    return dict(zip(found.tolist(), codes.ravel()[places].tolist(), strict=True))


def _detail(picture):
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_DETAIL,) * 2, interpolation=cv2.INTER_AREA).astype(float)
    fine = (small - cv2.GaussianBlur(small, (0, 0), 1.5)).ravel()
    return np.round(fine / max(np.abs(fine).max(), 1e-9) * 127).astype(np.int8)


def _edges(picture, label):
    """Mean strength of a picture's edges where its label changes; 0 if sizes differ."""
    if picture.shape[:2] != label.shape:
        return 0.0
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    strength = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    changes = np.zeros(label.shape, bool)
    changes[1:] |= label[1:] != label[:-1]
    changes[:, 1:] |= label[:, 1:] != label[:, :-1]
    return float(strength[changes].mean()) if changes.any() else 0.0
