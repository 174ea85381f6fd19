"""Scores as text."""

import numpy as np

_WIDTHS = (1, 5, 10, 20, 40)  # Of the trimap curve.


def table(scores: dict) -> str:
    """Sets out scores as text: a line a class, then the means, then the others.

    Args:
        scores: What `metrics.scores` returned, with those of other measures where
            there are any; "interval" and "difference" are what `metrics.interval` and
            `metrics.paired_interval` returned.
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
    unlabelled = [name for name in iou if accuracy[name] is None and name not in unseen]
    if unlabelled:
        lines.append(f"Predicted but never labelled, IoU 0: {', '.join(unlabelled)}.")
    return "\n".join([head, *lines, *_others(scores)])


def _columns(scores):
    """Returns title, dict by class name and mean of each column."""
    total = max(sum(scores["pixels"].values()), 1)
    shares = {name: pixels / total for name, pixels in scores["pixels"].items()}
    columns = [("IoU %", scores["iou"], scores["mean_iou"])]
    if "boundary_iou" in scores:
        boundary = scores["boundary_iou"], scores["mean_boundary_iou"]
        columns.append(("boundary %", *boundary))
    columns.append(("accuracy %", scores["accuracy"], scores["mean_accuracy"]))
    return [*columns, ("pixels %", shares, "")]


def _means(scores, columns):
    """Returns the rows below the classes."""
    means = [("mean of classes", *(mean for _, _, mean in columns))]
    if scores.get("mean_iou_without_background") is not None:
        means.append(("without background", scores["mean_iou_without_background"]))
    means.append(("frequency-weighted IoU", scores["frequency_weighted_iou"]))
    empty = [""] * (len(columns) - 2)
    return [*means, ("pixel accuracy", *empty, scores["pixel_accuracy"])]


def _others(scores):
    """Yields a line for each score, from 0 to 1, that is no column."""
    if "interval" in scores:
        drawn = scores["interval"]
        yield _line(
            "mean IoU",
            f"{_interval(drawn)} in {drawn['level']:.0%} of "
            f"{drawn['resamples']:,} draws of {drawn['pictures']:,} pictures",
        )
    if "difference" in scores:
        found = scores["difference"]["mean_iou"]
        share = f", above 0 in {found['above_zero']:.1%} of them" if found else ""
        yield _line("difference", _interval(scores["difference"]) + share)
    if "bf_score" in scores:
        yield _line("BF score", _number(scores["bf_score"]))
    if "trimap" in scores:
        curve = scores["trimap"]
        values = dict(zip(curve["width"], curve["mean_iou"], strict=True))
        points = [f"{_number(values[width])} ({width} px)" for width in _WIDTHS]
        yield _line("trimap mean IoU", ", ".join(points))
    if "expected_calibration_error" in scores:
        error = scores["expected_calibration_error"]
        yield _line("calibration error", _number(error))


def _interval(drawn):
    found = drawn["mean_iou"]
    if found is None:
        return "-"
    return f"{found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"


def _line(title, text):
    return f"{title:<20}{text}"


def _number(value):
    return "-" if value is None else f"{value:.4f}"


def _cell(value):
    if value == "":
        return f"{'':>12}"
    return f"{'-' if value is None or np.isnan(value) else f'{100 * value:.2f}':>12}"
