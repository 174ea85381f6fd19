"""Pictures side by side: as they are, the truth, the prediction, errors, entropy."""

import numpy as np

from kerasseg import images, metrics
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.report import encoding, views, wording
from kerasseg.report.classes import swatch
from kerasseg.report.markup import joined, name, section, tag

_SIDE = 640  # Pixels; the longer side of a picture.
_THUMB = 144
_COUNTED = 2**22  # Pixels at a time.
_NAMED = 4  # Classes in the description of a mask.


def image(address: str, alt: str, size, **attributes):
    """Writes a picture that a click enlarges; `size` is height and width."""
    return tag(
        "img",
        src=address,
        alt=alt,
        width=size[1],
        height=size[0],
        data_zoom=True,
        **attributes,
    )


def row(look, title: str, spec, album):
    """Writes the views of one picture side by side.

    Args:
        look: `evaluation.Sample`.
        title: Name of the picture.
        spec: `datasets.DatasetSpec`.
        album: `encoding.Album`.

    Returns:
        Markup, or None where the page is full.
    """
    size = encoding.fitted(look.label.shape, _SIDE)
    shown = [
        ("Picture", *_photo(look, size)),
        ("Truth", *_mask(look.label, size, spec)),
        ("Prediction", *_mask(look.prediction, size, spec)),
        ("Errors", *_errors(look, size)),
        ("Entropy", *_entropy(look, size)),
    ]
    shown = [(kind, address, said) for kind, address, said in shown if address]
    if not album.take(*(address for _, address, _ in shown)):
        return None
    figures = [
        tag(
            "figure",
            image(address, f"{kind} of {title}: {said}", size),
            tag("figcaption", kind),
        )
        for kind, address, said in shown
    ]
    return tag("div", *figures, class_="views")


def _photo(look, size):
    if look.image is None:
        return None, ""
    height, width = look.label.shape
    address = encoding.photo(encoding.resized(look.image, size))
    return address, f"{width} x {height} pixels"


def _mask(label, size, spec):
    shrunk = encoding.resized(label, size, numbers=True)
    counts = _counts(label)[:IGNORE_LABEL]
    largest = [i for i in np.argsort(-counts, kind="stable")[:_NAMED] if counts[i]]
    parts = [
        f"{spec.class_names[i]} {wording.share(int(counts[i]), label.size)}"
        for i in largest
    ]
    more = np.count_nonzero(counts) - len(parts)
    parts += [f"{more} more"] if more else []
    return encoding.mask(shrunk, spec.palette), ", ".join(parts) or "nothing"


def _counts(numbers):
    """Counts the pixels of each of 256 numbers, in parts, as it takes much memory."""
    parts = np.array_split(numbers, 1 + numbers.size // _COUNTED)
    return sum(np.bincount(part.ravel(), minlength=256) for part in parts)


def _errors(look, size):
    labelled = look.label != IGNORE_LABEL
    wrong = int(np.count_nonzero((look.label != look.prediction) & labelled))
    said = wording.share(wrong, int(np.count_nonzero(labelled)))
    address = encoding.photo(views.errors(look, size))
    return address, f"{said} of the labelled pixels are wrong"


def _entropy(look, size):
    if look.probabilities is None:
        return None, ""
    address = encoding.photo(views.entropy(look.probabilities, size))
    return address, "bright where the network was unsure"


def thumb(look, title: str, album):
    """Writes a small picture of the errors, or returns None where the page is full."""
    size = encoding.fitted(look.label.shape, _THUMB)
    address = encoding.photo(views.errors(look, size))
    if not album.take(address):
        return None
    return image(address, f"Errors of {title}", size)


def legend(look, spec):
    """Names the colours of the classes in truth and prediction, the largest first."""
    counts = _counts(look.label) + _counts(look.prediction)
    seen = [i for i in np.argsort(-counts, kind="stable").tolist() if counts[i]]
    items = [
        tag("li", swatch(spec.palette[i]), name(spec.class_names[i]))
        for i in seen
        if i != IGNORE_LABEL
    ]
    if counts[IGNORE_LABEL]:
        items.append(tag("li", swatch(images.IGNORE_COLOR), "no label"))
    return tag("ul", *items, class_="legend")


def worst(indices, rows, found):
    """Writes the section of the worst pictures; see `_section`."""
    note = "By the mean IoU of the classes that each picture holds, the lowest first. "
    return _section(
        "worst", "Worst pictures", joined([note, _keys()]), indices, rows, found
    )


def best(indices, rows, found):
    """Writes the section of the best pictures; see `_section`."""
    note = "By the mean IoU of the classes that each picture holds, the highest first."
    return _section("best", "Best pictures", note, indices, rows, found)


def _section(identifier, title, note, indices, rows, found):
    """Writes a section of pictures side by side.

    Args:
        identifier: Of the section.
        title: Its heading.
        note: What the pictures are.
        indices: Numbers of the pictures, in order.
        rows: What was drawn of each, by number; those without are left out.
        found: `evaluation.Evaluation`.

    Returns:
        Markup, or None where there is nothing to show.
    """
    means = metrics.mean_iou(found.counts)
    parts = [
        tag(
            "article",
            tag(
                "h3",
                name(found.names[i]),
                tag("small", f"mean IoU {wording.percent(means[i])} %"),
            ),
            rows[i],
            id=f"picture-{i}",
        )
        for i in indices
        if rows.get(i) is not None
    ]
    if not parts:
        return None
    return section(identifier, title, tag("p", note, class_="note"), joined(parts))


def _keys():
    """Explains the colours of errors and entropy."""
    colors = ", ".join(
        f"rgb({red} {green} {blue})"
        for red, green, blue in views.entropy_colors()[::51].tolist()
    )
    return joined(
        [
            swatch(views.WRONG),
            "wrong, ",
            swatch(views.VOID),
            "without a label. Entropy of the network's probabilities: ",
            tag(
                "span",
                class_="scale",
                style=f"background:linear-gradient(90deg, {colors})",
            ),
            " from sure to undecided.",
        ]
    )
