"""Turns what a survey found into text and a contact sheet."""

import numpy as np

from kerasseg import datasets
from kerasseg.images import visualization
from kerasseg.pipeline import class_statistics
from tfrecords_tools.doctor import survey

_MAX_FAULTS = 10
_SHEET_WIDTH = 1600  # Pixels.


def describe(pictures: survey.Pictures, found: survey.Survey) -> str:
    """Returns what a split holds, as lines of text with a table of its classes."""
    spec, counts = pictures.spec, found.counts
    stated = spec.num_images.get(pictures.split)
    note = (
        f" (the data set has {stated})" if stated not in (None, pictures.count) else ""
    )
    lines = [
        f"{spec.name} {pictures.split}: {pictures.count} pictures{note}",
        f"  sizes (height x width): {_sizes(found.sizes)}",
    ]
    if found.faults:
        lines.append(f"  bad: {len(found.faults)}")
    if found.num_unlabelled:
        lines.append(f"  without a label: {found.num_unlabelled}")
    if counts.pixels.any():
        lines += _table(spec, counts)
    return "\n".join(lines)


def _sizes(sizes):
    common = sizes.most_common(4)
    texts = [f"{height} x {width}: {count}" for (height, width), count in common]
    others = sum(sizes.values()) - sum(count for _, count in common)
    return ", ".join(texts + ([f"others: {others}"] if others else []))


def _table(spec, counts):
    median = class_statistics.median_frequency_weights(counts)
    enet = class_statistics.enet_weights(counts)
    total = counts.pixels.sum()
    width = max(len(name) for name in (*spec.class_names, "ignored"))
    lines = [
        f"  {'class':<{width}} {'pixels':>15} {'share':>8} {'pictures':>8} "
        f"{'median-frequency weight':>23} {'ENet weight':>11}"
    ]
    for i, name in enumerate(spec.class_names):
        lines.append(
            f"  {name:<{width}} {counts.pixels[i]:>15,} "
            f"{counts.pixels[i] / total:>8.2%} {counts.images[i]:>8} "
            f"{median[i]:>23.4f} {enet[i]:>11.4f}"
        )
    lines.append(f"  {'ignored':<{width}} {counts.ignored:>15,}")
    for name, weights in {"median_frequency": median, "enet": enet}.items():
        texts = ",".join(f"{weight:.4f}" for weight in weights)
        lines.append(f"  --class_weights of {name}: {texts}")
    return lines


def list_faults(faults: list[str]) -> str:
    """Puts the first faults into one line."""
    more = len(faults) - _MAX_FAULTS
    tail = f"; and {more} more" if more > 0 else ""
    return f"{len(faults)} pictures are bad: {'; '.join(faults[:_MAX_FAULTS])}{tail}"


def contact_sheet(found: list[survey.Pictures], num_pictures: int) -> np.ndarray:
    """Shows pictures spread evenly over each split, each with its label over it.

    Args:
        found: Splits of one data set.
        num_pictures: Pictures of each split.

    Returns:
        RGB, uint8 `[height, width, 3]`.
    """
    rows, captions = [], []
    for pictures in found:
        last = pictures.count - 1
        chosen = np.linspace(0, last, min(num_pictures, pictures.count)).astype(int)
        for i in chosen.tolist():
            image, label = survey.look_at(pictures, i)
            if label is None:
                label = np.full(image.shape[:2], datasets.IGNORE_LABEL, np.uint8)
            palette = pictures.spec.palette
            shown = visualization.overlay(image, label, palette)
            rows.append([image, shown, visualization.colorize(label, palette)])
            captions.append(f"{pictures.split} {i}")
    spec = found[0].spec
    return visualization.contact_sheet(
        rows,
        captions=("picture", "overlay", "label"),
        row_captions=captions,
        legend=(spec.class_names, spec.palette),
        max_width=_SHEET_WIDTH,
    )
