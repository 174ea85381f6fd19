"""Curves as drawings in the page, in its own colours, light or dark."""

import math

from kerasseg.report import wording
from kerasseg.report.markup import joined, tag

_WIDTH, _HEIGHT = 420, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 40  # Margins.


class _Frame:
    """Turns values into places of a drawing, and draws its axes."""

    def __init__(self, x_range, y_range):
        self._x, self._y = x_range, y_range

    def place(self, x, y):
        """Returns the place of a point, in units of the drawing."""
        (left, right), (low, high) = self._x, self._y
        across = (x - left) / (right - left)
        up = (y - low) / (high - low)
        return (
            round(_LEFT + across * (_WIDTH - _LEFT - _RIGHT), 2),
            round(_HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM), 2),
        )

    def line(self, start, end, **attributes):
        """Draws a straight line between two points."""
        (x1, y1), (x2, y2) = self.place(*start), self.place(*end)
        return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)

    def path(self, points, **attributes):
        """Draws lines from point to point, broken where a y is None."""
        commands, pen = [], "M"
        for x, y in points:
            if y is None:
                pen = "M"
                continue
            commands.append(f"{pen}{' '.join(map(str, self.place(x, y)))}")
            pen = "L"
        return tag("path", d="".join(commands), **attributes)

    def bar(self, x_range, y_range, *parts, **attributes):
        """Draws a box."""
        left, bottom = self.place(x_range[0], y_range[0])
        right, top = self.place(x_range[1], y_range[1])
        size = {"width": round(right - left, 2), "height": round(bottom - top, 2)}
        return tag("rect", *parts, x=left, y=top, **size, **attributes)

    def axes(self, x_ticks, y_ticks, x_title, y_title):
        """Draws the grid; ticks are pairs of a value and its text."""
        bottom, middle = _HEIGHT - _BOTTOM, (_LEFT + _WIDTH - _RIGHT) / 2
        parts = []
        for value, text in y_ticks:
            ends = (self._x[0], value), (self._x[1], value)
            parts.append(self.line(*ends, class_="grid"))
            y = self.place(self._x[0], value)[1] + 4
            parts.append(tag("text", text, x=_LEFT - 6, y=y, text_anchor="end"))
        for value, text in x_ticks:
            x = self.place(value, self._y[0])[0]
            parts.append(tag("text", text, x=x, y=bottom + 16, text_anchor="middle"))
        title = {"text_anchor": "middle", "class_": "axis"}
        parts.append(tag("text", x_title, x=middle, y=_HEIGHT - 6, **title))
        up = (_TOP + bottom) / 2
        turned = f"rotate(-90 11 {up})"
        parts.append(tag("text", y_title, x=11, y=up, transform=turned, **title))
        return joined(parts)


def _drawing(label, *parts):
    return tag(
        "svg",
        *parts,
        class_="chart",
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=label,
    )


def curve(x, y, whole, *, label: str):
    """Draws mean IoU by the distance to a boundary.

    Args:
        x: Widths in pixels.
        y: Mean IoU from 0 to 1 or None, one a width.
        whole: Mean IoU of all pixels, or None or NaN.
        label: What the drawing shows, for those who cannot see it.
    """
    known = [value for value in [*y, whole] if not wording.missing(value)]
    low, high, step = _round_range(known or [0.0, 1.0])
    frame = _Frame((0, max(x)), (low, high))
    count = round((high - low) / step)
    y_ticks = [
        (low + i * step, f"{100 * (low + i * step):.4g}") for i in range(count + 1)
    ]
    x_ticks = [(value, value) for value in range(0, max(x) + 1, 10)]
    points = list(zip(x, y, strict=True))
    dots = [_dot(frame, *point) for point in points if point[1] is not None]
    level = None
    if not wording.missing(whole):
        level = frame.line((0, whole), (max(x), whole), class_="level")
    return _drawing(
        label,
        frame.axes(x_ticks, y_ticks, "pixels from a boundary", "mean IoU, %"),
        level,
        frame.path(points, class_="curve"),
        *dots,
    )


def _dot(frame, x, y):
    across, up = frame.place(x, y)
    said = tag("title", f"within {wording.pixels(x)}: {wording.percent(y)} %")
    return tag("circle", said, cx=across, cy=up, r=2.5, class_="dot")


def _round_range(values):
    """Returns low and high ends around values from 0 to 1, and the step of ticks."""
    low, high = min(values), max(values)
    spread = max(high - low, 0.02)
    step = next(s for s in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if spread / s <= 5)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    return low, max(high, low + step), step


def reliability(found, *, label: str):
    """Draws the share of right pixels by confidence, and how many pixels there are.

    Args:
        found: "reliability" of the scores.
        label: As for `curve`.
    """
    frame = _Frame((0, 1), (0, 1))
    size, total = len(found["pixels"]), max(sum(found["pixels"]), 1)
    rows = zip(found["confidence"], found["accuracy"], found["pixels"], strict=True)
    parts = []
    for i, (confidence, accuracy, pixels) in enumerate(rows):
        if not pixels:
            continue
        x_range = (i + 0.08) / size, (i + 0.92) / size
        said = tag(
            "title",
            f"confidence {wording.percent(confidence, 1)} %: "
            f"{wording.percent(accuracy, 1)} % right, "
            f"{wording.share(pixels, total)} of the pixels",
        )
        parts.append(frame.bar(x_range, (0, accuracy), said, class_="bar"))
        x, y = frame.place(confidence, accuracy)
        radius = round(2 + 6 * math.sqrt(pixels / total), 2)
        parts.append(tag("circle", said, cx=x, cy=y, r=radius, class_="dot"))
    ticks = [(i / 5, 20 * i) for i in range(6)]
    return _drawing(
        label,
        frame.axes(ticks, ticks, "confidence, %", "right, %"),
        frame.line((0, 0), (1, 1), class_="level"),
        *parts,
    )
