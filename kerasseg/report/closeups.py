"""Close-ups: the largest confusions of each class, in crops of images with them."""

import dataclasses
import math
from collections.abc import Iterable

import cv2
import numpy as np

from kerasseg import metrics
from kerasseg.datasets import DatasetSpec
from kerasseg.report import encoding, gallery, markup
from kerasseg.report.markup import Markup, joined, name, section, swatch, tag

_MAX_CLASSES = 20  # Shown are those with the lowest IoU.
_PER_CLASS = 3
_MAX_PIXELS = 2**24  # Of a mask whose connected regions are searched.
_CONTEXT = 1.6  # Side of a crop relative to that of the region in it.
_MIN_CROP = 96  # Side of a crop in pixels, if the image is large enough.
_SIDE = 224  # Longer side of a displayed crop; smaller ones are enlarged.
_OUTLINE = 255, 255, 255
_LISTED = 3  # Confusions in a sentence.


@dataclasses.dataclass(frozen=True)
class Closeup:
    """A confusion and the image in which it is shown.

    Attributes:
        label: Class index of the label.
        predicted: Class index of the prediction.
        index: Index of the image in the split.
        pixels: Number of pixels of the confusion in this image.
    """

    label: int
    predicted: int
    index: int
    pixels: int


def choose_closeups(
    evaluation, selected: Iterable[int], max_more: int
) -> list[Closeup]:
    """Chooses the largest confusions of each class, and an image for each.

    The image is the one with most pixels of the confusion.

    Args:
        evaluation: `evaluation.Evaluation`.
        selected: Indices of the images that the page shows anyway.
        max_more: Maximum number of other images. Beyond it, a confusion is shown in one
            of the selected images, or not at all.

    Returns:
        At most three for each class, those of the class with the lowest IoU first.
    """
    sizes = [len(pairs) for pairs in evaluation.misclassified]
    images = np.repeat(np.arange(len(sizes)), sizes)
    misclassified = np.concatenate(evaluation.misclassified)
    available, remaining = set(selected), max_more
    chosen = []
    for place, label, predicted in _pairs(evaluation):
        rows = (misclassified[:, :2] == (label, predicted)).all(axis=1)
        indices, pixels = images[rows], misclassified[rows, 2]
        if not remaining:
            known = np.isin(indices, list(available))
            indices, pixels = indices[known], pixels[known]
        if not len(indices):
            continue
        index = int(indices[np.argmax(pixels)])
        remaining -= index not in available
        available.add(index)
        chosen.append((place, Closeup(label, predicted, index, int(pixels.max()))))
    return [closeup for _, closeup in sorted(chosen, key=lambda item: item[0])]


def _pairs(evaluation):
    """Returns place on the page, class of the label and predicted class.

    The largest confusion of each class comes first, then the second largest.
    """
    iou = metrics.iou(evaluation.counts.sum(axis=0))
    classes = [int(c) for c in np.argsort(iou, kind="stable") if not np.isnan(iou[c])]
    wrong = evaluation.confusion.copy()
    np.fill_diagonal(wrong, 0)
    pairs = []
    for place, label in enumerate(classes[:_MAX_CLASSES]):
        largest = np.argsort(-wrong[label], kind="stable")[:_PER_CLASS].tolist()
        pairs += [
            ((place, rank), label, predicted)
            for rank, predicted in enumerate(largest)
            if wrong[label, predicted]
        ]
    return sorted(pairs, key=lambda pair: pair[0][::-1])


def crop(sample, closeup: Closeup) -> tuple[slice, slice]:
    """Returns rows and columns around the largest region of a confusion.

    Args:
        sample: `evaluation.Sample` of the image.
        closeup: The confusion, which the image contains.
    """
    left, top, width, height = _largest_region(confused_pixels(sample, closeup))
    side = max(round(_CONTEXT * max(width, height)), _MIN_CROP)
    rows = _around(top + height / 2, side, sample.label.shape[0])
    return rows, _around(left + width / 2, side, sample.label.shape[1])


def confused_pixels(sample, closeup: Closeup) -> np.ndarray:
    """Returns the pixels of a confusion, uint8 `[height, width]` of 0 and 1."""
    wrong = (sample.label == closeup.label) & (sample.mask == closeup.predicted)
    return wrong.view(np.uint8)


def _largest_region(mask):
    """Returns left, top, width and height of the largest connected region."""
    left, top, width, height = cv2.boundingRect(mask)
    inside = mask[top : top + height, left : left + width]
    step = math.ceil(math.sqrt(inside.size / _MAX_PIXELS))
    inside = np.ascontiguousarray(inside[::step, ::step])
    _, _, regions, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    if len(regions) == 1:  # Only background: subsampling missed a thin region.
        return left, top, width, height
    largest = regions[1 + np.argmax(regions[1:, cv2.CC_STAT_AREA])]
    x, y, width, height = (int(value) * step for value in largest[:4])
    return left + x, top + y, width, height


def _around(center, side, length):
    start = int(np.clip(round(center - side / 2), 0, max(length - side, 0)))
    return slice(start, min(start + side, length))


def figure(
    sample,
    closeup: Closeup,
    title: str,
    spec: DatasetSpec,
    budget: encoding.ImageBudget,
) -> Markup | None:
    """Returns a crop of image, label and prediction, or None if it does not fit.

    Args:
        sample: `evaluation.Sample` of the image.
        closeup: The confusion to show.
        title: Name of the image.
        spec: The data set.
        budget: Remaining size of the page.
    """
    rows, columns = crop(sample, closeup)
    label, mask = sample.label[rows, columns], sample.mask[rows, columns]
    scale = _SIDE / max(label.shape)
    size = tuple(max(1, round(side * scale)) for side in label.shape)
    confused = confused_pixels(sample, closeup)[rows, columns]
    views = [
        ("Image", _outlined(sample.image, rows, columns, confused, size)),
        ("Label", _mask_url(label, size, spec)),
        ("Prediction", _mask_url(mask, size, spec)),
    ]
    views = [(kind, url) for kind, url in views if url]
    if not budget.reserve(*(url for _, url in views)):
        return None
    place = f"row {rows.start}, column {columns.start}"
    images = [
        gallery.image(url, f"{kind}, crop of {title} at {place}", size)
        for kind, url in views
    ]
    caption = tag(
        "figcaption",
        "predicted as ",
        tag("strong", name(spec.class_names[closeup.predicted])),
        f": {markup.pixels(closeup.pixels)} in ",
        name(title),
    )
    return tag("figure", tag("div", *images), caption, class_="closeup")


def _outlined(image, rows, columns, confused, size):
    """Returns the URL of the crop with the confusion outlined, None without image."""
    if image is None:
        return None
    crop_ = np.ascontiguousarray(_scaled(image[rows, columns], size, cv2.INTER_CUBIC))
    confused = _scaled(confused, size, cv2.INTER_NEAREST_EXACT)
    lines, _ = cv2.findContours(confused, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(crop_, lines, -1, _OUTLINE, 3)
    cv2.drawContours(crop_, lines, -1, gallery.ERROR_COLOR, 1)
    return encoding.jpeg_url(crop_)


def _mask_url(mask, size, spec):
    return encoding.mask_url(_scaled(mask, size, cv2.INTER_NEAREST_EXACT), spec.palette)


def _scaled(pixels, size, enlarging):
    shrinks = size[0] < pixels.shape[0] and enlarging == cv2.INTER_CUBIC
    method = cv2.INTER_AREA if shrinks else enlarging
    pixels = np.ascontiguousarray(pixels)
    return cv2.resize(pixels, (size[1], size[0]), interpolation=method)


def closeup_section(evaluation, spec: DatasetSpec, figures) -> Markup | None:
    """Returns the section of the close-ups, or None if it is empty.

    Args:
        evaluation: `evaluation.Evaluation`.
        spec: The data set.
        figures: Markup or None by `Closeup`, in order.
    """
    by_class: dict[int, list] = {}
    for closeup, markup_ in figures.items():
        if markup_ is not None:
            by_class.setdefault(closeup.label, []).append(markup_)
    if not by_class:
        return None
    limit = f" Shown are {len(by_class)} of {spec.num_classes} classes."
    return section(
        "closeups",
        "Close-ups of the classes",
        tag(
            "p",
            "For each class its largest confusions, each in the image with most pixels "
            "of it, cropped around its largest region and outlined in the image. "
            "Classes with the lowest IoU come first.",
            limit if len(by_class) < spec.num_classes else None,
            class_="note",
        ),
        *(_class(index, evaluation, spec, parts) for index, parts in by_class.items()),
    )


def _class(index, evaluation, spec, parts):
    iou = float(metrics.iou(evaluation.counts.sum(axis=0))[index])
    return tag(
        "article",
        tag(
            "h3",
            swatch(spec.palette[index]),
            name(spec.class_names[index]),
            tag("small", f"IoU {markup.percent(iou)} %"),
        ),
        tag("p", _sentence(index, evaluation.confusion, spec)),
        tag("div", *parts, class_="closeups"),
    )


def _sentence(index, confusion, spec):
    """Lists the classes with which a class was confused, in both directions."""
    row, column = confusion[index].copy(), confusion[:, index].copy()
    labeled, predicted = int(row.sum()), int(column.sum())
    row[index] = column[index] = 0
    missed = markup.share(int(row.sum()), labeled)
    wrong = markup.share(int(column.sum()), predicted)
    parts = [f"Of its pixels {missed} were predicted as another class: "]
    parts += _shares(row, labeled, spec)
    if column.any():
        parts += [f". Of the pixels predicted as this class {wrong} are wrong: "]
        parts += _shares(column, predicted, spec)
    return joined([*parts, "."])


def _shares(counts, whole, spec):
    largest = np.argsort(-counts, kind="stable")[:_LISTED]
    parts: list = []
    for i in (i for i in largest.tolist() if counts[i]):
        parts += [", " if parts else None, name(spec.class_names[i])]
        parts.append(f" ({markup.share(int(counts[i]), whole)})")
    return parts
