"""Pictures for people: labels as colours, overlays, contact sheets and curves."""

import os
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kerasseg import errors

IGNORE_LABEL = 255
IGNORE_COLOR = (224, 224, 192)  # As PASCAL VOC shows its void.

_GAP = 8  # Pixels between the pictures of a sheet.
_INK, _PAPER = (36, 36, 36), (255, 255, 255)


def colorize(label: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Paints every class in its colour, ignored pixels in `IGNORE_COLOR`.

    Args:
        label: Class numbers and 255, `[height, width]`, any integer type.
        palette: RGB of each class, `[num_classes, 3]`, 0..255.

    Returns:
        RGB, uint8 `[height, width, 3]`.

    Raises:
        ValueError: No label, no palette, or a label without a colour.
    """
    label, palette = np.asarray(label), np.asarray(palette)
    if label.ndim != 2 or label.dtype.kind not in "iu":
        raise errors.UserError(
            "A label is [height, width] of an integer type, got "
            f"{list(label.shape)} of {label.dtype}."
        )
    if palette.ndim != 2 or palette.shape[1] != 3 or len(palette) > IGNORE_LABEL:
        raise errors.UserError(
            f"A palette is [num_classes, 3] with at most {IGNORE_LABEL} classes, got "
            f"{list(palette.shape)}."
        )
    wrong = ((label < 0) | (label >= len(palette))) & (label != IGNORE_LABEL)
    if wrong.any():
        numbers = ", ".join(map(str, np.unique(label[wrong])[:8]))
        raise errors.UserError(
            f"Labels without a colour: {numbers}. The palette has {len(palette)}, and "
            f"{IGNORE_LABEL} is ignored: is it the palette of this data set?"
        )
    table = np.full((256, 3), IGNORE_COLOR, np.uint8)
    table[: len(palette)] = palette
    return table[label.astype(np.uint8)]


def overlay(
    image: np.ndarray, label: np.ndarray, palette: np.ndarray, alpha: float = 0.5
) -> np.ndarray:
    """Tints a picture with the colours of its classes, and outlines them in white.

    Ignored pixels show the picture as it is.

    Args:
        image: RGB, uint8 `[height, width, 3]`.
        label: Of the same size; see `colorize`, as for `palette`.
        palette: RGB of each class.
        alpha: Weight of the colours, from 0 (picture alone) to 1.

    Returns:
        RGB, uint8 `[height, width, 3]`.

    Raises:
        ValueError: Sizes, types or a weight that do not fit.
    """
    _checked_width(image)
    if not 0 <= alpha <= 1:
        raise errors.UserError(f"alpha is a weight from 0 to 1, got {alpha}.")
    colors = colorize(label, palette)
    if colors.shape != image.shape:
        given, wanted = list(colors.shape[:2]), list(image.shape[:2])
        raise errors.UserError(
            f"A label has the size of its picture, {wanted}, got {given}."
        )
    tinted = cv2.addWeighted(image, 1 - alpha, colors, alpha, 0)
    label = np.asarray(label).astype(np.uint8)
    if alpha:
        borders = _borders(label)
        tinted[borders] = 128 + tinted[borders] // 2
    ignored = label == IGNORE_LABEL
    tinted[ignored] = image[ignored]
    return tinted


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    *,
    captions: Sequence[str] = (),
    row_captions: Sequence[str] = (),
    legend: tuple[Sequence[str], np.ndarray] | None = None,
    max_width: int = 1600,
) -> np.ndarray:
    """Sets pictures side by side on white paper.

    Args:
        rows: Lists of pictures, RGB, uint8 `[height, width, 3]`, of any sizes.
        captions: A line above each column, or none.
        row_captions: A line above each row, or none.
        legend: Class names and palette, as for `colorize`: set below the pictures.
        max_width: Pixels. Pictures are shrunk to it, never enlarged.

    Returns:
        RGB, uint8 `[height, width, 3]`.

    Raises:
        ValueError: No pictures, other arrays, or another number of captions.
    """
    if not rows or not all(rows):
        raise errors.UserError(
            "A contact sheet needs at least one picture in each row."
        )
    num_columns = max(map(len, rows))
    _check_captions(captions, num_columns, "column")
    _check_captions(row_captions, len(rows), "row")
    widest = max(_checked_width(picture) for row in rows for picture in row)
    column = max(1, min((max_width - _GAP) // num_columns - _GAP, widest))
    page = _Page(column, num_columns)
    if captions:
        page.text_row(captions)
    for i, row in enumerate(rows):
        if row_captions:
            page.text_row(row_captions[i : i + 1])
        page.picture_row(row)
    if legend:
        page.legend(*legend)
    return page.draw()


def save_curves(
    path: str | os.PathLike,
    charts: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
) -> None:
    """Draws line charts one above the other into a PNG file.

    Args:
        path: The file; it is replaced as a whole.
        charts: Series by title, and (x, y) by name of the series; x in steps.
    """
    from matplotlib import figure, ticker  # A second to import, for few commands.

    if not charts:
        raise errors.UserError(
            "No chart to draw: give at least one title with its series."
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


class _Page:
    """A sheet that grows downwards; what is to be drawn waits for its height."""

    def __init__(self, column, num_columns):
        self.column = column
        self.width, self.height = _GAP + num_columns * (column + _GAP), _GAP
        self.size = max(13, min(22, self.width // 60))
        self.font, self.line = ImageFont.load_default(self.size), self.size * 3 // 2
        self._texts, self._pictures, self._boxes = [], [], []

    def text_row(self, texts):
        """Adds a line of texts, one a column."""
        for i, text in enumerate(texts):
            self._text(_GAP + i * (self.column + _GAP), text)
        self.height += self.line

    def picture_row(self, pictures):
        """Adds pictures, each in the middle of its column."""
        fitted = [_fit(picture, self.column) for picture in pictures]
        tallest = max(len(picture) for picture in fitted)
        for i, picture in enumerate(fitted):
            left = _GAP + i * (self.column + _GAP)
            left += (self.column - picture.shape[1]) // 2
            top = self.height + (tallest - len(picture)) // 2
            self._pictures.append((left, top, picture))
        self.height += tallest + _GAP

    def legend(self, names, palette):
        """Adds each class, a box of its colour and its name, in lines."""
        left, box = _GAP, self.size
        for name, color in zip(names, np.asarray(palette).tolist(), strict=True):
            needed = int(1.5 * box + self.font.getlength(name))
            if left > _GAP and left + needed + _GAP > self.width:
                left, self.height = _GAP, self.height + self.line
            self._boxes.append((left, self.height + box // 4, box, tuple(color)))
            self._text(left + int(1.5 * box), name)
            left += needed + 2 * _GAP
        self.height += self.line + _GAP

    def draw(self):
        """Returns the sheet as RGB."""
        sheet = Image.new("RGB", (self.width, self.height), _PAPER)
        pen = ImageDraw.Draw(sheet)
        for left, top, picture in self._pictures:
            sheet.paste(Image.fromarray(picture), (left, top))
        for left, top, box, color in self._boxes:
            pen.rectangle((left, top, left + box, top + box), color, (128, 128, 128))
        for left, top, text in self._texts:
            pen.text((left, top), text, _INK, self.font)
        return np.asarray(sheet)

    def _text(self, left, text):
        self._texts.append((left, self.height + self.line // 8, text))


def _fit(picture, side):
    """Shrinks a picture until it fits into a square of `side` pixels."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _borders(label):
    """Returns where a class meets another, about a 400th of the picture thick."""
    thickness = max(1, round(max(label.shape) / 400))
    kernel = np.ones((thickness + 1, thickness + 1), np.uint8)
    return cv2.dilate(label, kernel) != cv2.erode(label, kernel)


def _check_captions(captions, count, what):
    if len(captions) not in (0, count):
        given = f"{len(captions)}: {', '.join(captions)}"
        raise errors.UserError(f"Captions are one a {what}, {count} here, got {given}.")


def _checked_width(image):
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise errors.UserError(
            "A picture is RGB, uint8 [height, width, 3], got "
            f"{list(image.shape)} of {image.dtype}."
        )
    return image.shape[1]
