"""Images side by side: image, label, prediction, errors and entropy."""

import dataclasses
import functools

import cv2
import numpy as np

from kerasseg import images, metrics
from kerasseg.datasets import IGNORE_LABEL, DatasetSpec
from kerasseg.report import encoding, markup
from kerasseg.report.markup import Markup, joined, name, section, swatch, tag

ERROR_COLOR = 214, 0, 92  # RGB: visible on any gray, also with color blindness.
IGNORED_COLOR = 150, 150, 150

_SIDE = 640  # Longer side of an image in pixels.
_THUMBNAIL = 144
_MAX_COUNTED = 2**22  # Pixels counted at a time.
_MAX_PROBABILITIES = 2**24  # Probabilities processed at a time.
_SMALLEST = 1e-12  # Lower bound of a probability in the logarithm.
_NAMED = 4  # Classes in the description of a mask.


def image(url: str, alt: str, size: tuple[int, int], **attributes) -> Markup:
    """Returns an image of a given height and width that a click enlarges."""
    return tag(
        "img",
        src=url,
        alt=alt,
        width=size[1],
        height=size[0],
        data_zoom=True,
        **attributes,
    )


def row(
    sample, title: str, spec: DatasetSpec, budget: encoding.ImageBudget
) -> Markup | None:
    """Returns the views of one image side by side, or None if they do not fit.

    Args:
        sample: `evaluation.Sample`.
        title: Name of the image.
        spec: The data set.
        budget: Remaining size of the page.
    """
    size = encoding.fit_size(sample.label.shape, _SIDE)
    views = [
        ("Image", *_image_view(sample, size)),
        ("Label", *_mask_view(sample.label, size, spec)),
        ("Prediction", *_mask_view(sample.mask, size, spec)),
        ("Errors", *_error_view(sample, size)),
        ("Entropy", *_entropy_view(sample, size)),
    ]
    views = [(kind, url, text) for kind, url, text in views if url]
    if not budget.reserve(*(url for _, url, _ in views)):
        return None
    figures = [
        tag(
            "figure",
            image(url, f"{kind} of {title}: {text}", size),
            tag("figcaption", kind),
        )
        for kind, url, text in views
    ]
    return tag("div", *figures, class_="views")


def _image_view(sample, size):
    """Returns URL and description; the URL is None without an image."""
    if sample.image is None:
        return None, ""
    height, width = sample.label.shape
    url = encoding.jpeg_url(encoding.resize(sample.image, size))
    return url, f"{width} x {height} pixels"


def _mask_view(mask, size, spec):
    small = encoding.resize(mask, size, nearest=True)
    counts = _counts(mask)[:IGNORE_LABEL]
    largest = [i for i in np.argsort(-counts, kind="stable")[:_NAMED] if counts[i]]
    parts = [
        f"{spec.class_names[i]} {markup.share(int(counts[i]), mask.size)}"
        for i in largest
    ]
    more = np.count_nonzero(counts) - len(parts)
    parts += [f"{more} more"] if more else []
    return encoding.mask_url(small, spec.palette), ", ".join(parts) or "no class"


def _counts(mask):
    """Counts the pixels of each value from 0 to 255, in chunks, to save memory."""
    chunks = np.array_split(mask, 1 + mask.size // _MAX_COUNTED)
    return sum(np.bincount(chunk.ravel(), minlength=256) for chunk in chunks)


def _error_view(sample, size):
    labeled = sample.label != IGNORE_LABEL
    wrong = int(np.count_nonzero((sample.label != sample.mask) & labeled))
    share = markup.share(wrong, int(np.count_nonzero(labeled)))
    url = encoding.jpeg_url(error_map(sample, size))
    return url, f"{share} of the labeled pixels are wrong"


def _entropy_view(sample, size):
    if sample.probabilities is None:
        return None, ""
    url = encoding.jpeg_url(entropy_map(sample.probabilities, size))
    return url, "bright where the network is uncertain"


def thumbnail(sample, title: str, budget: encoding.ImageBudget) -> Markup | None:
    """Returns a small image of the errors, or None if it does not fit."""
    size = encoding.fit_size(sample.label.shape, _THUMBNAIL)
    url = encoding.jpeg_url(error_map(sample, size))
    if not budget.reserve(url):
        return None
    return image(url, f"Errors of {title}", size)


def legend(sample, spec: DatasetSpec) -> Markup:
    """Returns the colors and names of the classes in an image, the largest first."""
    counts = _counts(sample.label) + _counts(sample.mask)
    present = [i for i in np.argsort(-counts, kind="stable").tolist() if counts[i]]
    items = [
        tag("li", swatch(spec.palette[i]), name(spec.class_names[i]))
        for i in present
        if i != IGNORE_LABEL
    ]
    if counts[IGNORE_LABEL]:
        items.append(tag("li", swatch(images.IGNORE_COLOR), "ignored"))
    return tag("ul", *items, class_="legend")


def worst_section(indices, rows, evaluation) -> Markup | None:
    """Returns the section of the worst images; see `image_section`."""
    note = "Ordered by the mean IoU of the classes in the image, lowest first. "
    note = joined([note, _color_key()])
    return image_section(
        "worst", "Worst images", note, _titles(indices, evaluation), rows
    )


def best_section(indices, rows, evaluation) -> Markup | None:
    """Returns the section of the best images; see `image_section`."""
    note = "Ordered by the mean IoU of the classes in the image, highest first."
    return image_section(
        "best", "Best images", note, _titles(indices, evaluation), rows
    )


def _titles(indices, evaluation):
    means = metrics.mean_iou(evaluation.counts)
    return {
        i: (evaluation.names[i], f"mean IoU {markup.percent(means[i])} %")
        for i in indices
    }


def image_section(identifier, title, note, titles, rows) -> Markup | None:
    """Returns a section of images side by side, or None if it is empty.

    Args:
        identifier: Identifier of the section.
        title: Its heading.
        note: Explanation of the images.
        titles: Name and score of each image, by index, in order.
        rows: Views of the images by index; images without are left out.
    """
    parts = [
        tag(
            "article",
            tag("h3", name(image), tag("small", score)),
            rows[i],
            id=f"image-{i}",
        )
        for i, (image, score) in titles.items()
        if rows.get(i) is not None
    ]
    if not parts:
        return None
    return section(identifier, title, tag("p", note, class_="note"), joined(parts))


def _color_key():
    """Explains the colors of errors and entropy."""
    colors = ", ".join(
        f"rgb({red} {green} {blue})"
        for red, green, blue in entropy_colors()[::51].tolist()
    )
    return joined(
        [
            "Errors: ",
            swatch(ERROR_COLOR),
            "wrong, ",
            swatch(IGNORED_COLOR),
            "ignored. Entropy of the network's probabilities: ",
            tag(
                "span",
                class_="scale",
                style=f"background:linear-gradient(90deg, {colors})",
            ),
            " from certain to uncertain.",
        ]
    )


def replace_unknown_classes(sample, num_classes: int):
    """Replaces predicted indices out of range, which ignored pixels may have, by 255.

    Args:
        sample: `evaluation.Sample`.
        num_classes: Number of classes.
    """
    known = sample.mask < num_classes
    mask = np.where(known, sample.mask, IGNORE_LABEL).astype(np.uint8)
    return dataclasses.replace(sample, mask=mask)


def error_map(sample, size: tuple[int, int]) -> np.ndarray:
    """Marks the wrong pixels on a faint image; ignored pixels are gray.

    Args:
        sample: `evaluation.Sample`.
        size: Height and width of the result.

    Returns:
        RGB, uint8 `[height, width, 3]`.
    """
    ignored = sample.label == IGNORE_LABEL
    wrong = (sample.label != sample.mask) & ~ignored
    gray: np.ndarray
    if sample.image is None:
        gray = np.full(size, 255, np.uint8)
    else:
        gray = cv2.cvtColor(encoding.resize(sample.image, size), cv2.COLOR_RGB2GRAY)
    result = np.repeat(170 + gray[..., None].astype(np.float32) / 3, 3, axis=-1)
    for pixels, color in ((ignored, IGNORED_COLOR), (wrong, ERROR_COLOR)):
        share = encoding.resize(pixels.view(np.uint8) * np.uint8(255), size)
        # Enhanced, so that thin lines stay visible in a reduced image.
        weight = np.minimum(share[..., None].astype(np.float32) * (1.5 / 255), 1)
        result += weight * (np.array(color, np.float32) - result)
    return result.astype(np.uint8)


def entropy_map(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shows the uncertainty of the network: dark for certain, bright for uncertain.

    Args:
        probabilities: float `[height, width, num_classes]`; processed in chunks.
        size: Height and width of the result, no larger than the input.

    Returns:
        RGB, uint8 `[height, width, 3]`: the entropy relative to its maximum, in the
        color map "inferno".
    """
    height, width, num_classes = probabilities.shape
    step = max(height // size[0], 1)
    rows = step * max(_MAX_PROBABILITIES // (step * width * num_classes), 1)
    chunks = [
        _reduced(_entropy(probabilities[start : start + rows]), step)
        for start in range(0, height, rows)
    ]
    entropy = encoding.resize(np.concatenate(chunks), size)
    largest = max(np.log(num_classes), _SMALLEST)
    levels = np.clip(255 * entropy / largest, 0, 255).astype(np.uint8)
    return entropy_colors()[levels]


@functools.cache
def entropy_colors() -> np.ndarray:
    """Returns the RGB of 256 levels of entropy, uint8 `[256, 3]`."""
    levels = np.arange(256, dtype=np.uint8)[:, None]
    return cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, 0, ::-1]


def _entropy(probabilities):
    p = np.asarray(probabilities, np.float32)
    return -np.sum(p * np.log(np.maximum(p, _SMALLEST)), axis=-1)


def _reduced(rows, step):
    """Averages squares of `step` pixels, and what is left at the lower, right edge."""
    height, width = -(-rows.shape[0] // step), -(-rows.shape[1] // step)
    return encoding.resize(rows, (height, width))
