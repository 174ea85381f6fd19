"""Visualization: labels in color, overlays, contact sheets and curves."""

import os
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kerasseg import errors
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.images import bit_masks
from kerasseg.images.writing import IGNORE_COLOR

_GAP = 8  # Pixels between the images of a sheet.
_TEXT_COLOR, _BACKGROUND = (36, 36, 36), (255, 255, 255)


def colorize(
    label: np.ndarray, palette: np.ndarray, *, multi_label: bool = False
) -> np.ndarray:
    """Converts class indices to colors; ignored pixels get `IGNORE_COLOR`.

    Args:
        label: Label or mask: class indices and 255, `[height, width]`, any integer
            type.
        palette: RGB of each class, `[num_classes, 3]`, 0..255.
        multi_label: Whether the label has the bits of several classes, see `bit_masks`.
            The color is then the mean over the classes of a pixel, and black for none.

    Returns:
        RGB, uint8 `[height, width, 3]`.

    Raises:
        errors.UserError: Wrong shapes or types, or a class without a color.
    """
    label, palette = np.asarray(label), np.asarray(palette)
    if label.ndim != 2 or label.dtype.kind not in "iu":
        raise errors.UserError(
            "A label must be [height, width] of an integer type, got "
            f"{list(label.shape)} of {label.dtype}."
        )
    if palette.ndim != 2 or palette.shape[1] != 3 or len(palette) > IGNORE_LABEL:
        raise errors.UserError(
            f"A palette must be [num_classes, 3] with at most {IGNORE_LABEL} classes, "
            f"got {list(palette.shape)}."
        )
    if multi_label:
        return _mixed_colors(label, palette)
    wrong = ((label < 0) | (label >= len(palette))) & (label != IGNORE_LABEL)
    if wrong.any():
        numbers = ", ".join(map(str, np.unique(label[wrong])[:8]))
        raise errors.UserError(
            f"Labels without a color: {numbers}. The palette has {len(palette)} "
            f"colors, and {IGNORE_LABEL} is ignored. Use the palette of this data set."
        )
    table = np.full((256, 3), IGNORE_COLOR, np.uint8)
    table[: len(palette)] = palette
    return table[label.astype(np.uint8)]


def _mixed_colors(label, palette):
    """Returns the mean color of the classes of each pixel."""
    values = np.unique(label)
    has = bit_masks.decode(values, len(palette))
    counts = np.maximum(has.sum(axis=-1, keepdims=True), 1)
    colors = np.rint(has @ palette.astype(np.float64) / counts).astype(np.uint8)
    colors[values == IGNORE_LABEL] = IGNORE_COLOR
    return colors[np.searchsorted(values, label)]


def overlay(
    image: np.ndarray,
    label: np.ndarray,
    palette: np.ndarray,
    alpha: float = 0.5,
    *,
    multi_label: bool = False,
) -> np.ndarray:
    """Blends an image with the colors of its classes, and outlines them in white.

    Ignored pixels, and in a multi-label mask those without a class, are not changed.

    Args:
        image: RGB, uint8 `[height, width, 3]`.
        label: Label or mask of the same size; see `colorize`.
        palette: RGB of each class, `[num_classes, 3]`, 0..255.
        alpha: Weight of the colors, from 0 (only the image) to 1.
        multi_label: See `colorize`.

    Returns:
        RGB, uint8 `[height, width, 3]`.

    Raises:
        errors.UserError: Wrong sizes or types, or `alpha` is out of range.
    """
    _checked_width(image)
    if not 0 <= alpha <= 1:
        raise errors.UserError(f"alpha must be from 0 to 1, got {alpha}.")
    colors = colorize(label, palette, multi_label=multi_label)
    if colors.shape != image.shape:
        given, expected = list(colors.shape[:2]), list(image.shape[:2])
        raise errors.UserError(
            f"A label must have the size of its image, {expected}, got {given}."
        )
    blended = cv2.addWeighted(image, 1 - alpha, colors, alpha, 0)
    label = np.asarray(label).astype(np.uint16 if multi_label else np.uint8)
    ignored = label == IGNORE_LABEL
    if multi_label:
        ignored |= label == 0
    if alpha:
        borders = _borders(label)
        blended[borders] = 128 + blended[borders] // 2
    blended[ignored] = image[ignored]
    return blended


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    *,
    captions: Sequence[str] = (),
    row_captions: Sequence[str] = (),
    legend: tuple[Sequence[str], np.ndarray] | None = None,
    max_width: int = 1600,
) -> np.ndarray:
    """Arranges images in rows and columns on a white background.

    Args:
        rows: Lists of images, RGB, uint8 `[height, width, 3]`, of any sizes.
        captions: A caption for each column, or none.
        row_captions: A caption for each row, or none.
        legend: Class names and palette of a legend below the images; see `colorize`.
        max_width: Width of the sheet in pixels, to which larger images are reduced.
            Smaller ones are never enlarged.

    Returns:
        RGB, uint8 `[height, width, 3]`.

    Raises:
        errors.UserError: A row is empty, an array is not an RGB image, or the number
            of captions is wrong.
    """
    if not rows or not all(rows):
        raise errors.UserError("A contact sheet needs at least one image in each row.")
    num_columns = max(map(len, rows))
    _check_captions(captions, num_columns, "column")
    _check_captions(row_captions, len(rows), "row")
    widest = max(_checked_width(image) for row in rows for image in row)
    column = max(1, min((max_width - _GAP) // num_columns - _GAP, widest))
    sheet = _Sheet(column, num_columns)
    if captions:
        sheet.text_row(captions)
    for i, row in enumerate(rows):
        if row_captions:
            sheet.text_row(row_captions[i : i + 1])
        sheet.image_row(row)
    if legend:
        sheet.legend(*legend)
    return sheet.draw()


def save_curves(
    path: str | os.PathLike,
    charts: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
) -> None:
    """Draws line charts, one below the other, into a PNG file.

    Args:
        path: The file; it is replaced as a whole.
        charts: For each title the series by name, each a pair of x (steps) and y.

    Raises:
        errors.UserError: There are no charts.
    """
    from matplotlib import figure, ticker  # Takes a second to import.

    if not charts:
        raise errors.UserError(
            "There is no chart to draw. Give at least one title with its series."
        )
    sheet = figure.Figure((8, 3 * len(charts)), dpi=100, layout="constrained")
    axes = sheet.subplots(len(charts), sharex=True, squeeze=False)[:, 0]
    for axis, (title, series) in zip(axes, charts.items(), strict=True):
        for name, (x, y) in series.items():
            last = f"{name} {y[-1]:.4g}" if len(y) else name
            axis.plot(
                x, y, label=last, linewidth=1.6, marker="." if len(x) < 30 else ""
            )
        axis.set_title(title, loc="left", fontsize=11)
        axis.grid(color="0.9")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        if series:
            axis.legend(frameon=False, fontsize=9)
    axes[-1].set_xlabel("step")
    axes[-1].xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    part = f"{os.fspath(path)}.part"
    sheet.savefig(part, format="png", metadata={"Software": None})
    os.replace(part, path)


class _Sheet:
    """Collects what to draw until the height of the sheet is known."""

    def __init__(self, column, num_columns):
        self.column = column
        self.width, self.height = _GAP + num_columns * (column + _GAP), _GAP
        self.size = max(13, min(22, self.width // 60))
        self.font, self.line = ImageFont.load_default(self.size), self.size * 3 // 2
        self._texts, self._images, self._boxes = [], [], []

    def text_row(self, texts):
        """Adds a line of text, one entry per column."""
        for i, text in enumerate(texts):
            self._text(_GAP + i * (self.column + _GAP), text)
        self.height += self.line

    def image_row(self, images):
        """Adds a row of images, each in the center of its column."""
        fitted = [_fit(image, self.column) for image in images]
        tallest = max(len(image) for image in fitted)
        for i, image in enumerate(fitted):
            left = _GAP + i * (self.column + _GAP)
            left += (self.column - image.shape[1]) // 2
            top = self.height + (tallest - len(image)) // 2
            self._images.append((left, top, image))
        self.height += tallest + _GAP

    def legend(self, names, palette):
        """Adds a box in the color of each class and its name, wrapped into lines."""
        left, box = _GAP, self.size
        for name, color in zip(names, np.asarray(palette).tolist(), strict=True):
            length = int(1.5 * box + self.font.getlength(name))
            if left > _GAP and left + length + _GAP > self.width:
                left, self.height = _GAP, self.height + self.line
            self._boxes.append((left, self.height + box // 4, box, tuple(color)))
            self._text(left + int(1.5 * box), name)
            left += length + 2 * _GAP
        self.height += self.line + _GAP

    def draw(self):
        """Returns the sheet, RGB, uint8 `[height, width, 3]`."""
        sheet = Image.new("RGB", (self.width, self.height), _BACKGROUND)
        pen = ImageDraw.Draw(sheet)
        for left, top, image in self._images:
            sheet.paste(Image.fromarray(image), (left, top))
        for left, top, box, color in self._boxes:
            pen.rectangle((left, top, left + box, top + box), color, (128, 128, 128))
        for left, top, text in self._texts:
            pen.text((left, top), text, _TEXT_COLOR, self.font)
        return np.asarray(sheet)

    def _text(self, left, text):
        self._texts.append((left, self.height + self.line // 8, text))


def _fit(image, side):
    """Reduces an image to fit into a square of `side` pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _borders(label):
    """Returns the borders between classes, about 1/400 of the image thick."""
    thickness = max(1, round(max(label.shape) / 400))
    kernel = np.ones((thickness + 1, thickness + 1), np.uint8)
    return cv2.dilate(label, kernel) != cv2.erode(label, kernel)


def _check_captions(captions, count, what):
    if len(captions) not in (0, count):
        given = f"{len(captions)}: {', '.join(captions)}"
        raise errors.UserError(
            f"Give one caption per {what}, {count} in all, got {given}."
        )


def _checked_width(image):
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise errors.UserError(
            "An image must be RGB, uint8 [height, width, 3], got "
            f"{list(image.shape)} of {image.dtype}."
        )
    return image.shape[1]
