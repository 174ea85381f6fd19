"""The worst confusions of each class, seen from near."""

import cv2
import numpy as np

from kerasseg import metrics
from kerasseg.report import crops, encoding, gallery, views, wording
from kerasseg.report.classes import swatch
from kerasseg.report.markup import joined, name, section, tag

_SIDE = 224  # Pixels; the longer side of a piece, enlarged where it is smaller.
_RIM = 255, 255, 255
_SPOKEN = 3  # Confusions in a sentence.


def draw(look, mistake: crops.Mistake, found, spec, album):
    """Writes a piece of a picture, its truth and its prediction side by side.

    Args:
        look: `evaluation.Sample` at the picture.
        mistake: What is to be seen.
        found: `evaluation.Evaluation`.
        spec: `datasets.DatasetSpec`.
        album: `encoding.Album`.

    Returns:
        Markup, or None where the page is full.
    """
    rows, columns = crops.piece(look, mistake)
    label, prediction = look.label[rows, columns], look.prediction[rows, columns]
    scale = _SIDE / max(label.shape)
    size = tuple(max(1, round(side * scale)) for side in label.shape)
    where = crops.marked(look, mistake)[rows, columns]
    title = found.names[mistake.index]
    shown = [
        ("Picture", _photo(look.image, rows, columns, where, size)),
        ("Truth", _mask(label, size, spec)),
        ("Prediction", _mask(prediction, size, spec)),
    ]
    shown = [(kind, address) for kind, address in shown if address]
    if not album.take(*(address for _, address in shown)):
        return None
    place = f"row {rows.start}, column {columns.start}"
    pictures = [
        gallery.image(address, f"{kind} of a piece of {title} at {place}", size)
        for kind, address in shown
    ]
    caption = tag(
        "figcaption",
        "as ",
        tag("strong", name(spec.class_names[mistake.taken])),
        f": {wording.pixels(mistake.pixels)} in ",
        name(title),
    )
    return tag("figure", tag("div", *pictures), caption, class_="closeup")


def _photo(image, rows, columns, where, size):
    """Outlines the confusion in the picture; returns None without one."""
    if image is None:
        return None
    shown = np.ascontiguousarray(_scaled(image[rows, columns], size, cv2.INTER_CUBIC))
    where = _scaled(where, size, cv2.INTER_NEAREST_EXACT)
    lines, _ = cv2.findContours(where, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown, lines, -1, _RIM, 3)
    cv2.drawContours(shown, lines, -1, views.WRONG, 1)
    return encoding.photo(shown)


def _mask(label, size, spec):
    shown = _scaled(label, size, cv2.INTER_NEAREST_EXACT)
    return encoding.mask(shown, spec.palette)


def _scaled(pixels, size, enlarging):
    shrinks = size[0] < pixels.shape[0] and enlarging == cv2.INTER_CUBIC
    kind = cv2.INTER_AREA if shrinks else enlarging
    pixels = np.ascontiguousarray(pixels)
    return cv2.resize(pixels, (size[1], size[0]), interpolation=kind)


def closeups(found, spec, drawn):
    """Writes the section: a class after the other, the one with the lowest IoU first.

    Args:
        found: `evaluation.Evaluation`.
        spec: `datasets.DatasetSpec`.
        drawn: Markup or None by `crops.Mistake`, in order.

    Returns:
        Markup, or None where there is nothing to show.
    """
    by_class: dict[int, list] = {}
    for mistake, markup in drawn.items():
        if markup is not None:
            by_class.setdefault(mistake.truth, []).append(markup)
    if not by_class:
        return None
    limit = f" Shown are {len(by_class)} classes of {spec.num_classes}."
    return section(
        "closeups",
        "Classes from near",
        tag(
            "p",
            "Of each class, what its pixels were most often taken for, in the picture "
            "with most of it, around its largest region; outlined in the picture. "
            "The class with the lowest IoU comes first.",
            limit if len(by_class) < spec.num_classes else None,
            class_="note",
        ),
        *(_class(number, found, spec, parts) for number, parts in by_class.items()),
    )


def _class(number, found, spec, parts):
    iou = float(metrics.iou(found.counts.sum(axis=0))[number])
    return tag(
        "article",
        tag(
            "h3",
            swatch(spec.palette[number]),
            name(spec.class_names[number]),
            tag("small", f"IoU {wording.percent(iou)} %"),
        ),
        tag("p", _sentence(number, found.confusion, spec)),
        tag("div", *parts, class_="closeups"),
    )


def _sentence(number, confusion, spec):
    """Says what the class was taken for, and what was taken for it."""
    row, column = confusion[number].copy(), confusion[:, number].copy()
    labelled, predicted = int(row.sum()), int(column.sum())
    row[number] = column[number] = 0
    missed = wording.share(int(row.sum()), labelled)
    false = wording.share(int(column.sum()), predicted)
    said = [f"Of its pixels {missed} were missed, taken for "]
    said += _shares(row, labelled, spec)
    if column.any():
        said += [f". Of the pixels predicted as it {false} are wrong: "]
        said += _shares(column, predicted, spec)
    return joined([*said, "."])


def _shares(counts, whole, spec):
    largest = np.argsort(-counts, kind="stable")[:_SPOKEN]
    parts: list = []
    for i in (i for i in largest.tolist() if counts[i]):
        parts += [", " if parts else None, name(spec.class_names[i])]
        parts.append(f" ({wording.share(int(counts[i]), whole)})")
    return parts
