"""Scores as text."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kerasseg.metrics import image_measures


def table(scores: Mapping[str, Any]) -> str:
    """Formats scores as text: a line per class, the means, then the other scores.

    Args:
        scores: Scores returned by `metrics.scores`, and by any measures. "interval" and
            "difference", if present, are those returned by `metrics.interval` and
            `metrics.paired_interval`.
    """
    iou, accuracy = scores["iou"], scores["accuracy"]
    columns = _columns(scores)
    means = _means(scores, columns)
    rows = [(name, *(values[name] for _, values, _ in columns)) for name in iou]
    width = max(len(row[0]) for row in rows + means)
    head = f"{'class':<{width}}" + "".join(f"{title:>12}" for title, _, _ in columns)
    lines = [
        (f"{name:<{width}}" + "".join(map(_cell, cells))).rstrip()
        for name, *cells in rows + means
    ]
    lines.insert(len(rows), "-" * len(head))
    unseen = [name for name in iou if iou[name] is None]
    if unseen:
        lines.append(f"Never seen, left out of the means: {', '.join(unseen)}.")
    unlabeled = [name for name in iou if accuracy[name] is None and name not in unseen]
    if unlabeled:
        lines.append(f"Predicted but never labeled, IoU 0: {', '.join(unlabeled)}.")
    return "\n".join([head, *lines, *_others(scores)])


def _columns(scores):
    """Returns title, values by class name, and mean of each column."""
    total = max(sum(scores["pixels"].values()), 1)
    shares = {name: pixels / total for name, pixels in scores["pixels"].items()}
    columns = [("IoU %", scores["iou"], scores["mean_iou"])]
    if "boundary_iou" in scores:
        boundary = scores["boundary_iou"], scores["mean_boundary_iou"]
        columns.append(("boundary %", *boundary))
    columns.append(("accuracy %", scores["accuracy"], scores["mean_accuracy"]))
    return [*columns, ("pixels %", shares, "")]


def _means(scores, columns):
    """Returns the rows below those of the classes."""
    means = [("mean of classes", *(mean for _, _, mean in columns))]
    if scores.get("mean_iou_without_background") is not None:
        means.append(("without background", scores["mean_iou_without_background"]))
    means.append(("frequency-weighted IoU", scores["frequency_weighted_iou"]))
    empty = [""] * (len(columns) - 2)
    return [*means, ("pixel accuracy", *empty, scores["pixel_accuracy"])]


def _others(scores):
    """Yields a line for each score that does not have a column."""
    if "interval" in scores:
        interval = scores["interval"]
        yield _line(
            "mean IoU",
            f"{_interval(interval)}, {interval['level']:.0%} interval of "
            f"{interval['resamples']:,} resamples of {interval['pictures']:,} images",
        )
    if "difference" in scores:
        mean = scores["difference"]["mean_iou"]
        share = f", above 0 in {mean['above_zero']:.1%} of them" if mean else ""
        yield _line("difference", _interval(scores["difference"]) + share)
    for measure in image_measures.MEASURES.values():
        for title, text in measure.lines(scores):
            yield _line(title, text)


def _interval(interval):
    mean = interval["mean_iou"]
    if mean is None:
        return "-"
    return f"{mean['value']:.4f} [{mean['low']:.4f}, {mean['high']:.4f}]"


def _line(title, text):
    return f"{title:<20}{text}"


def _cell(value):
    if value == "":
        return f"{'':>12}"
    return f"{'-' if value is None or np.isnan(value) else f'{100 * value:.2f}':>12}"
