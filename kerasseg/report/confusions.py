"""What was taken for what: the confusion matrix, and its largest entries in words."""

import numpy as np

from kerasseg.report import encoding, wording
from kerasseg.report.classes import swatch
from kerasseg.report.markup import joined, name, scrolled, section, tag

_READABLE = 30  # Classes whose numbers are set out; beyond them, a picture.
_TENTHS = 15  # Classes up to which tenths of a percent are shown.
_LISTED, _LISTED_BESIDE_PICTURE = 10, 30
_DEEP = 0.8  # Strength of a colour from which on the number in it is light.
_PAPER, _HIT, _MISS = (255, 255, 255), (20, 80, 170), (180, 40, 20)


def confusions(found, spec):
    """Writes the section of the confusion matrix."""
    confusion, readable = found.confusion, spec.num_classes <= _READABLE
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    matrix = _matrix(shares, confusion, spec) if readable else _picture(shares)
    return section(
        "confusions",
        "Confusions",
        tag(
            "p",
            "Of the pixels that are labelled as the class of a row, the share in "
            "percent that was predicted as the class of a column. ",
            tag("span", "Right", class_="key hit"),
            " and ",
            tag("span", "wrong", class_="key miss"),
            "; the colours follow the square root, so that small shares are seen.",
            class_="note",
        ),
        tag("div", matrix, tag("div", _largest(confusion, spec)), class_="beside"),
    )


def _matrix(shares, confusion, spec):
    labels = list(zip(spec.class_names, spec.palette, strict=True))
    heads = [
        tag("th", tag("span", swatch(color), name(label)), scope="col")
        for label, color in labels
    ]
    corner = tag("td", tag("span", "labelled as, down"), tag("span", "taken for"))
    rows = [
        tag(
            "tr",
            tag("th", swatch(color), name(label), scope="row"),
            *(_cell(shares, confusion, i, j) for j in range(len(labels))),
        )
        for i, (label, color) in enumerate(labels)
    ]
    body = tag(
        "table",
        tag("thead", tag("tr", corner, *heads)),
        tag("tbody", *rows),
        class_="matrix",
    )
    return scrolled("Confusion matrix", body)


def _cell(shares, confusion, i, j):
    if not confusion[i].any():
        return tag("td", wording.NOTHING)
    if not confusion[i, j]:
        return tag("td")
    digits = 1 if len(shares) <= _TENTHS else 0
    shown = wording.percent(shares[i, j], digits)
    strength = float(np.sqrt(shares[i, j]))
    kinds = ["hit" if i == j else "miss", "deep" if strength > _DEEP else ""]
    return tag(
        "td",
        shown if float(shown) else "<1" if not digits else "<.1",
        class_=" ".join(filter(None, kinds)),
        style=f"--strength:{strength:.3f}",
        title=wording.pixels(int(confusion[i, j])),
    )


def _picture(shares):
    """Draws the matrix, a pixel a pair of classes."""
    strength = np.sqrt(shares)[..., None]
    colors = np.where(np.eye(len(shares), dtype=bool)[..., None], _HIT, _MISS)
    drawn = (np.array(_PAPER) * (1 - strength) + colors * strength).round()
    return tag(
        "figure",
        tag(
            "img",
            src=encoding.drawing(drawn.astype(np.uint8)),
            alt="Confusion matrix: the classes that are labelled from top to bottom, "
            "those that are predicted from left to right. Its largest entries are "
            "listed below.",
            width=len(shares),
            height=len(shares),
            data_zoom=True,
        ),
        tag("figcaption", "Labelled: down. Predicted: across. In the table's order."),
        class_="matrix",
    )


def _largest(confusion, spec):
    number = _LISTED if spec.num_classes <= _READABLE else _LISTED_BESIDE_PICTURE
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    places = np.argsort(-wrong, axis=None, kind="stable")[:number]
    pairs = np.stack(np.unravel_index(places, wrong.shape), axis=-1).tolist()
    items = [
        _words(confusion, spec, truth, taken)
        for truth, taken in pairs
        if wrong[truth, taken]
    ]
    if not items:
        return tag("p", "No pixel was taken for another class.")
    title = tag("h3", "The largest confusions" if len(items) > 1 else "One confusion")
    return joined([title, tag("ol", *items, class_="largest")])


def _words(confusion, spec, truth, taken):
    pixels = int(confusion[truth, taken])
    labelled, total = int(confusion[truth].sum()), int(confusion.sum())
    return tag(
        "li",
        swatch(spec.palette[truth]),
        tag("strong", name(spec.class_names[truth])),
        " taken for ",
        swatch(spec.palette[taken]),
        tag("strong", name(spec.class_names[taken])),
        tag(
            "small",
            f"{wording.pixels(pixels)}, {wording.share(pixels, labelled)} of the "
            f"class, {wording.share(pixels, total)} of all",
        ),
    )
