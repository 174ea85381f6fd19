"""The sections with charts: IoU near boundaries, and calibration."""

import math

from kerasseg.report import markup
from kerasseg.report.markup import joined, section, tag

_WIDTH, _HEIGHT = 420, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 40  # Margins.


def boundary_section(scores: dict) -> markup.Markup | None:
    """Returns the section of the trimap curve, or None if it was not computed."""
    if "trimap" not in scores:
        return None
    curve, mean_iou = scores["trimap"], scores["mean_iou"]
    near, overall = markup.percent(curve["mean_iou"][0]), markup.percent(mean_iou)
    rows = zip(curve["width"], curve["mean_iou"], curve["pixels"], strict=True)
    return section(
        "boundaries",
        "Boundaries",
        tag(
            "p",
            "Mean IoU of the pixels within a given distance of a boundary of the "
            "labels (trimap). The dashed line is the mean IoU of all pixels. A curve "
            "that starts far below it means that regions are found, but their "
            "boundaries are inaccurate.",
            class_="note",
        ),
        _trimap_chart(
            curve["width"],
            curve["mean_iou"],
            mean_iou,
            label=f"Mean IoU by distance to a boundary: {near} % within one pixel, "
            f"{overall} % for all pixels. The numbers follow.",
        ),
        _numbers(
            ("pixels from a boundary", "mean IoU, %", "labeled pixels"),
            [(width, markup.percent(value), f"{n:,}") for width, value, n in rows],
        ),
    )


def calibration_section(scores: dict) -> markup.Markup | None:
    """Returns the section of the reliability diagram, or None if not computed."""
    if "reliability" not in scores:
        return None
    bins, error = scores["reliability"], scores["expected_calibration_error"]
    total = max(sum(bins["pixels"]), 1)
    rows = zip(bins["confidence"], bins["accuracy"], bins["pixels"], strict=True)
    return section(
        "calibration",
        "Calibration",
        tag(
            "p",
            "Accuracy of the pixels whose predicted class has a given probability "
            "(confidence). Where bars are below the dashed line the network is "
            "overconfident, above it underconfident. Larger dots stand for more "
            f"pixels. The expected calibration error is {markup.percent(error)} %.",
            class_="note",
        ),
        _reliability_chart(
            bins,
            label=f"Accuracy by confidence; expected calibration error "
            f"{markup.percent(error)} %. The numbers follow.",
        ),
        _numbers(
            ("confidence, %", "accuracy, %", "share of pixels"),
            [
                (
                    markup.percent(confidence),
                    markup.percent(accuracy),
                    markup.share(n, total),
                )
                for confidence, accuracy, n in rows
                if n
            ],
        ),
    )


def _numbers(titles, rows):
    """Returns the numbers of a chart as a folded table."""
    head = tag("tr", *(tag("th", title, scope="col") for title in titles))
    lines = [
        tag("tr", *(tag("td", cell, class_="number") for cell in row)) for row in rows
    ]
    table = tag("table", tag("thead", head), tag("tbody", *lines))
    return tag("details", tag("summary", "Numbers"), table)


class _Frame:
    """Converts values to coordinates of a chart, and draws its axes."""

    def __init__(self, x_range, y_range):
        self._x, self._y = x_range, y_range

    def point(self, x, y):
        """Returns the coordinates of a point."""
        (left, right), (low, high) = self._x, self._y
        across = (x - left) / (right - left)
        up = (y - low) / (high - low)
        return (
            round(_LEFT + across * (_WIDTH - _LEFT - _RIGHT), 2),
            round(_HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM), 2),
        )

    def line(self, start, end, **attributes):
        """Draws a straight line between two points."""
        (x1, y1), (x2, y2) = self.point(*start), self.point(*end)
        return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)

    def path(self, points, **attributes):
        """Connects points by lines, with a gap where y is None."""
        commands, command = [], "M"
        for x, y in points:
            if y is None:
                command = "M"
                continue
            commands.append(f"{command}{' '.join(map(str, self.point(x, y)))}")
            command = "L"
        return tag("path", d="".join(commands), **attributes)

    def bar(self, x_range, y_range, *parts, **attributes):
        """Draws a rectangle."""
        left, bottom = self.point(x_range[0], y_range[0])
        right, top = self.point(x_range[1], y_range[1])
        size = {"width": round(right - left, 2), "height": round(bottom - top, 2)}
        return tag("rect", *parts, x=left, y=top, **size, **attributes)

    def axes(self, x_ticks, y_ticks, x_title, y_title):
        """Draws the grid; ticks are pairs of a value and its text."""
        bottom, middle = _HEIGHT - _BOTTOM, (_LEFT + _WIDTH - _RIGHT) / 2
        parts = []
        for value, text in y_ticks:
            ends = (self._x[0], value), (self._x[1], value)
            parts.append(self.line(*ends, class_="grid"))
            y = self.point(self._x[0], value)[1] + 4
            parts.append(tag("text", text, x=_LEFT - 6, y=y, text_anchor="end"))
        for value, text in x_ticks:
            x = self.point(value, self._y[0])[0]
            parts.append(tag("text", text, x=x, y=bottom + 16, text_anchor="middle"))
        title = {"text_anchor": "middle", "class_": "axis"}
        parts.append(tag("text", x_title, x=middle, y=_HEIGHT - 6, **title))
        center = (_TOP + bottom) / 2
        rotation = f"rotate(-90 11 {center})"
        parts.append(tag("text", y_title, x=11, y=center, transform=rotation, **title))
        return joined(parts)


def _svg(label, *parts):
    return tag(
        "svg",
        *parts,
        class_="chart",
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=label,
    )


def _trimap_chart(x, y, overall, *, label):
    """Draws mean IoU by distance to a boundary.

    Args:
        x: Distances in pixels.
        y: For each distance the mean IoU from 0 to 1, or None.
        overall: Mean IoU of all pixels, or None or NaN.
        label: Description of the chart for screen readers.
    """
    known = [value for value in [*y, overall] if not markup.is_missing(value)]
    low, high, step = _axis_range(known or [0.0, 1.0])
    frame = _Frame((0, max(x)), (low, high))
    count = round((high - low) / step)
    y_ticks = [
        (low + i * step, f"{100 * (low + i * step):.4g}") for i in range(count + 1)
    ]
    x_ticks = [(value, value) for value in range(0, max(x) + 1, 10)]
    points = list(zip(x, y, strict=True))
    dots = [_dot(frame, *point) for point in points if point[1] is not None]
    level = None
    if not markup.is_missing(overall):
        level = frame.line((0, overall), (max(x), overall), class_="level")
    return _svg(
        label,
        frame.axes(x_ticks, y_ticks, "pixels from a boundary", "mean IoU, %"),
        level,
        frame.path(points, class_="curve"),
        *dots,
    )


def _dot(frame, x, y):
    center_x, center_y = frame.point(x, y)
    title = tag("title", f"within {markup.pixels(x)}: {markup.percent(y)} %")
    return tag("circle", title, cx=center_x, cy=center_y, r=2.5, class_="dot")


def _axis_range(values):
    """Returns rounded ends of an axis for values from 0 to 1, and the tick step."""
    low, high = min(values), max(values)
    spread = max(high - low, 0.02)
    step = next(s for s in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if spread / s <= 5)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    return low, max(high, low + step), step


def _reliability_chart(bins, *, label):
    """Draws accuracy and number of pixels by confidence.

    Args:
        bins: "reliability" of the scores.
        label: Description of the chart for screen readers.
    """
    frame = _Frame((0, 1), (0, 1))
    size, total = len(bins["pixels"]), max(sum(bins["pixels"]), 1)
    rows = zip(bins["confidence"], bins["accuracy"], bins["pixels"], strict=True)
    parts = []
    for i, (confidence, accuracy, pixels) in enumerate(rows):
        if not pixels:
            continue
        x_range = (i + 0.08) / size, (i + 0.92) / size
        title = tag(
            "title",
            f"confidence {markup.percent(confidence, 1)} %: "
            f"accuracy {markup.percent(accuracy, 1)} %, "
            f"{markup.share(pixels, total)} of the pixels",
        )
        parts.append(frame.bar(x_range, (0, accuracy), title, class_="bar"))
        x, y = frame.point(confidence, accuracy)
        radius = round(2 + 6 * math.sqrt(pixels / total), 2)
        parts.append(tag("circle", title, cx=x, cy=y, r=radius, class_="dot"))
    ticks = [(i / 5, 20 * i) for i in range(6)]
    return _svg(
        label,
        frame.axes(ticks, ticks, "confidence, %", "accuracy, %"),
        frame.line((0, 0), (1, 1), class_="level"),
        *parts,
    )
