"""Writes the survey of a split as text, and draws a contact sheet."""

from collections.abc import Sequence

import numpy as np

from kerasseg import datasets, records
from kerasseg.images import visualization
from kerasseg.pipeline import class_statistics
from kerasseg.system import image_kinds
from tfrecords_tools.converters import source_files
from tfrecords_tools.doctor import object_counts, splits, survey

_MAX_FAULTS = 10
_SHEET_WIDTH = 1600  # Pixels.


def describe(reader: splits.SplitReader, surveyed: survey.Survey) -> str:
    """Returns the statistics of a split as lines of text, with a table of classes."""
    spec, counts = reader.spec, surveyed.counts
    stated = spec.num_images.get(reader.split)
    note = f" (the data set has {stated})" if stated not in (None, reader.count) else ""
    images = source_files.count(reader.count, "image")
    lines = [
        f"{spec.name} {reader.split}: {images}{note}",
        f"  sizes (height x width): {_sizes(surveyed.sizes)}",
    ]
    kind = surveyed.image_kind
    lines += [f"  images: {kind}", *(f"    {x}" for x in image_kinds.describe(kind))]
    if surveyed.faults:
        lines.append(f"  bad: {len(surveyed.faults)}")
    if surveyed.num_unlabeled:
        lines.append(f"  without a label: {surveyed.num_unlabeled}")
    if counts.pixels.any():
        lines += _table(spec, counts)
    return "\n".join(lines + object_counts.describe(surveyed.objects, spec))


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
        f"  {'class':<{width}} {'pixels':>15} {'percent':>8} {'images':>8} "
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


def list_faults(faults: Sequence[str]) -> str:
    """Joins the first faults into one line."""
    first = [fault.rstrip(".") for fault in faults[:_MAX_FAULTS]]
    more = len(faults) - _MAX_FAULTS
    tail = f"; and {more} more" if more > 0 else ""
    are = "images are" if len(faults) > 1 else "image is"
    return f"{len(faults)} {are} bad: {'; '.join(first)}{tail}"


def contact_sheet(readers: Sequence[splits.SplitReader], num_images: int) -> np.ndarray:
    """Draws images spread evenly over each split, with overlay and label.

    Args:
        readers: Splits of one data set.
        num_images: Number of images of each split.

    Returns:
        RGB, uint8 `[height, width, 3]`.
    """
    rows, captions = [], []
    for reader in readers:
        last = reader.count - 1
        chosen = np.linspace(0, last, min(num_images, reader.count)).astype(int)
        for i in chosen.tolist():
            image, label = reader.decode(i)
            if label is None:
                label = np.full(image.shape[:2], datasets.IGNORE_LABEL, np.uint8)
            palette, kind = reader.spec.palette, reader.spec.image_kind
            if not kind.is_rgb and not kind.mean:  # Records that are not built yet.
                kind = records.measure([(image, label)], kind, 1)
            image = kind.view(image)
            multi = {"multi_label": reader.spec.multi_label}
            overlay = visualization.overlay(image, label, palette, **multi)
            rows.append(
                [image, overlay, visualization.colorize(label, palette, **multi)]
            )
            captions.append(f"{reader.split} {i}")
    spec = readers[0].spec
    return visualization.contact_sheet(
        rows,
        captions=("image", "overlay", "label"),
        row_captions=captions,
        legend=(spec.class_names, spec.palette),
        max_width=_SHEET_WIDTH,
    )
