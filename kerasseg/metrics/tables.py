"""Scores as text."""

import numpy as np


def table(scores: dict) -> str:
    """Sets out what `metrics.scores` returned as text: a line a class, then the means."""
    iou, accuracy, pixels = scores["iou"], scores["accuracy"], scores["pixels"]
    total = max(sum(pixels.values()), 1)
    rows = [(name, iou[name], accuracy[name], pixels[name] / total) for name in iou]
    means = [
        ("mean of classes", scores["mean_iou"], scores["mean_accuracy"]),
        ("frequency-weighted IoU", scores["frequency_weighted_iou"]),
        ("pixel accuracy", "", scores["pixel_accuracy"]),
    ]
    width = max(len(row[0]) for row in rows + means)
    head = f"{'class':<{width}}{'IoU %':>12}{'accuracy %':>12}{'pixels %':>12}"
    lines = [f"{n:<{width}}" + "".join(map(_cell, row)) for n, *row in rows + means]
    lines.insert(len(rows), "-" * len(head))
    unseen = [name for name in iou if iou[name] is None]
    if unseen:
        lines.append(f"Never seen, left out of the means: {', '.join(unseen)}.")
    unlabelled = [name for name in iou if accuracy[name] is None and name not in unseen]
    if unlabelled:
        lines.append(f"Predicted but never labelled, IoU 0: {', '.join(unlabelled)}.")
    return "\n".join([head, *lines])


def _cell(value):
    if value == "":
        return f"{'':>12}"
    return f"{'-' if value is None or np.isnan(value) else f'{100 * value:.2f}':>12}"
