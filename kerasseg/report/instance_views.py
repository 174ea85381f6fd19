"""Images of instances: ground truth and detections side by side, and close-ups."""

import dataclasses

import cv2
import numpy as np

from kerasseg.datasets import DatasetSpec
from kerasseg.images.instance_drawing import Drawing, draw_instances
from kerasseg.metrics.instance_errors import (
    CORRECT,
    DUPLICATE,
    FALSE_POSITIVE,
    IGNORED,
    MISSED,
    Error,
    Matches,
)
from kerasseg.report import encoding, gallery, markup
from kerasseg.report.markup import Markup, joined, name, swatch, tag

DUPLICATE_COLOR = 255, 160, 0
COLORS = {  # Of all but correct instances, which have the color of their class.
    MISSED: gallery.ERROR_COLOR,
    FALSE_POSITIVE: gallery.ERROR_COLOR,
    DUPLICATE: DUPLICATE_COLOR,
    IGNORED: gallery.IGNORED_COLOR,
}

_SIDE = 640  # Longer side of a displayed image in pixels.
_MAX_SCALE = 4.0  # By which small images are enlarged.
_CLOSEUP = 320  # Longer side of a close-up.
_CONTEXT = 1.8  # Side of a crop relative to that of the box in it.
_MIN_CROP = 48  # Side of a crop in pixels, if the image is large enough.
_NAMED = 4  # Classes in the description of an image.


@dataclasses.dataclass(frozen=True)
class _Window:
    """A part of an image, and its size on the page.

    Attributes:
        rows: Rows of the image.
        columns: Columns of the image.
        size: Height and width on the page.
    """

    rows: slice
    columns: slice
    size: tuple[int, int]

    def resize(self, pixels, *, nearest=False):
        """Cuts out and resizes an array `[height, width, ...]`."""
        part = np.ascontiguousarray(pixels[self.rows, self.columns])
        method = cv2.INTER_CUBIC if self.scale > 1 else cv2.INTER_AREA
        if nearest:
            method = cv2.INTER_NEAREST_EXACT
        return cv2.resize(part, self.size[::-1], interpolation=method)

    @property
    def scale(self):
        """Pixels of the page for a pixel of the image."""
        return self.size[0] / max(self.rows.stop - self.rows.start, 1)

    def box(self, box):
        """Returns a box of the image in pixels of the page; None if it is outside."""
        first = np.array([self.rows.start, self.columns.start] * 2)
        moved = (np.array(box) - first) * self.scale
        inside = (moved[:2] < self.size).all() and (moved[2:] > 0).all()
        return moved if inside else None


def _whole(size):
    height, width = size
    scale = min(_SIDE / max(size), _MAX_SCALE)
    shown = max(1, round(height * scale)), max(1, round(width * scale))
    return _Window(slice(0, height), slice(0, width), shown)


def _around(box, size):
    y1, x1, y2, x2 = box
    side = max(round(_CONTEXT * max(y2 - y1, x2 - x1)), _MIN_CROP)
    rows, columns = (
        _side((y1 + y2) / 2, side, size[0]),
        _side((x1 + x2) / 2, side, size[1]),
    )
    height, width = rows.stop - rows.start, columns.stop - columns.start
    scale = _CLOSEUP / max(height, width)
    shown = max(1, round(height * scale)), max(1, round(width * scale))
    return _Window(rows, columns, shown)


def _side(center, side, length):
    start = int(np.clip(round(center - side / 2), 0, max(length - side, 0)))
    return slice(start, min(start + side, length))


def row(
    sample, matches: Matches, title: str, spec: DatasetSpec, budget
) -> Markup | None:
    """Returns ground truth and detections side by side, or None if they do not fit.

    Args:
        sample: `evaluation.DetectedImage`.
        matches: What became of its instances and detections.
        title: Name of the image.
        spec: The data set.
        budget: `encoding.ImageBudget`, the remaining size of the page.
    """
    window = _whole(sample.objects.maps.shape[1:])
    views = _views(sample, matches, window, spec)
    if not budget.reserve(*views.values()):
        return None
    detected = _checked(matches.detections, sample.detections)
    texts = {
        "Image": f"{window.columns.stop} x {window.rows.stop} pixels",
        "Ground truth": _listed(
            sample.objects.classes[sample.objects.classes > 0], spec
        ),
        "Detections": _listed(sample.detections.classes[detected != IGNORED], spec),
    }
    figures = [
        tag(
            "figure",
            gallery.image(url, f"{kind} of {title}: {texts[kind]}", window.size),
            tag("figcaption", kind),
        )
        for kind, url in views.items()
    ]
    return tag("div", *figures, class_="views")


def closeup(
    sample, matches: Matches, error: Error, title: str, spec: DatasetSpec, budget
) -> Markup | None:
    """Returns a crop around an error, or None if it does not fit.

    Args:
        sample: `evaluation.DetectedImage`.
        matches: What became of its instances and detections.
        error: The error.
        title: Name of the image.
        spec: The data set.
        budget: See `row`.
    """
    window = _around(error.box, sample.objects.maps.shape[1:])
    views = _views(sample, matches, window, spec)
    if not budget.reserve(*views.values()):
        return None
    place = f"row {window.rows.start}, column {window.columns.start}"
    shown = [
        gallery.image(url, f"{kind}, crop of {title} at {place}", window.size)
        for kind, url in views.items()
    ]
    rank = f": {markup.pixels(int(error.rank))} in "
    if error.kind != MISSED:
        rank = f" with score {error.rank:.2f} in "
    color = spec.palette[error.class_number]
    class_name = tag("strong", name(spec.class_names[error.class_number]))
    caption = tag("figcaption", swatch(color), class_name, rank, name(title))
    return tag("figure", tag("div", *shown), caption, class_="closeup")


def _views(sample, matches, window, spec):
    """Returns the URLs of image, ground truth and detections."""
    canvas = np.full((*window.size, 3), 255, np.uint8)
    views = {}
    if sample.image is not None:
        canvas = window.resize(sample.image)
        views["Image"] = encoding.jpeg_url(canvas)
    pairs = {
        "Ground truth": _ground_truth(sample, matches, window, spec),
        "Detections": _detections(sample, matches, window, spec),
    }
    for kind, drawings in pairs.items():
        views[kind] = encoding.jpeg_url(draw_instances(canvas, drawings))
    return views


def _ground_truth(sample, matches, window, spec):
    boxes, _ = sample.objects.measure()
    objects = []
    for i, kind in enumerate(_checked(matches.objects, sample.objects)):
        caption = spec.class_names[sample.objects.classes[i]]
        if sample.objects.is_crowd[i]:
            caption = f"{caption} (crowd)" if sample.objects.classes[i] else "ignored"
        number = sample.objects.classes[i]
        mask = sample.objects.mask(i)
        objects.append((kind, number, boxes[i], mask, caption))
    return _drawings(objects, window, spec)


def _detections(sample, matches, window, spec):
    detections = []
    kinds = _checked(matches.detections, sample.detections)
    for i in range(len(kinds))[::-1]:  # The highest score is drawn last.
        if kinds[i] != IGNORED:
            number = sample.detections.classes[i]
            caption = f"{spec.class_names[number]} {sample.detections.scores[i]:.2f}"
            masks = sample.detections.masks
            mask = None if masks is None else masks[i]
            box = sample.detections.boxes[i]
            detections.append((kinds[i], number, box, mask, caption))
    return _drawings(detections, window, spec)


def _checked(kinds, instances):
    """Returns the kinds, unless the image was predicted differently this time."""
    if len(kinds) == len(instances):
        return kinds
    return np.full(len(instances), CORRECT, np.int8)


def _drawings(instances, window, spec):
    drawings = []
    for kind, number, box, mask, caption in instances:
        moved = window.box(box)
        if moved is None:
            continue
        if mask is not None:
            mask = np.asarray(mask).astype(np.uint8)
            mask = window.resize(mask, nearest=True).astype(bool)
        color = COLORS.get(int(kind), tuple(spec.palette[number].tolist()))
        drawings.append(Drawing(color, mask, moved, caption))
    return drawings


def _listed(classes, spec):
    """Counts instances by class, the most frequent first."""
    numbers, counts = np.unique(classes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    parts = [f"{counts[i]} {spec.class_names[numbers[i]]}" for i in order[:_NAMED]]
    parts += [f"{len(order) - _NAMED} more classes"] if len(order) > _NAMED else []
    return ", ".join(parts) or "nothing"


def color_key() -> Markup:
    """Explains the colors of the instances."""
    return joined(
        [
            "Instances that were found, and correct detections, have the color of "
            "their class. ",
            swatch(gallery.ERROR_COLOR),
            "missed, or false positive; ",
            swatch(DUPLICATE_COLOR),
            "duplicate; ",
            swatch(gallery.IGNORED_COLOR),
            "crowd.",
        ]
    )
