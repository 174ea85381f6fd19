"""How often each class occurs in a split, and class weights computed from it."""

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from concurrent import futures

import numpy as np

from kerasseg import errors
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.images import bit_masks
from kerasseg.pipeline import reading
from kerasseg.system import files


@dataclasses.dataclass(frozen=True)
class ClassCounts:
    """Counts of the classes of a split.

    Attributes:
        pixels: int64 `[num_classes]`, pixels of each class.
        pixels_around: int64 `[num_classes]`, all pixels of the images that contain the
            class, including the ignored ones.
        images: int64 `[num_classes]`, images that contain the class.
        ignored: Number of ignored pixels.
    """

    pixels: np.ndarray
    pixels_around: np.ndarray
    images: np.ndarray
    ignored: int


def count_classes(
    labels: Iterable[np.ndarray], num_classes: int, *, multi_label: bool = False
) -> ClassCounts:
    """Counts the pixels of each class.

    Args:
        labels: Iterable of uint8 `[height, width]`; uint16 for several classes.
        num_classes: Number of classes.
        multi_label: Whether a pixel may have several classes, and counts for each.
    """
    pixels = np.zeros(256, np.int64)
    around = np.zeros(256, np.int64)
    images = np.zeros(256, np.int64)
    for label in labels:
        if multi_label:
            counts = np.zeros(256, np.int64)
            counts[:num_classes] = bit_masks.decode(label, num_classes).sum((0, 1))
            counts[IGNORE_LABEL] = np.count_nonzero(label == IGNORE_LABEL)
        else:
            counts = np.bincount(label.ravel(), minlength=256)
        pixels += counts
        images += counts > 0
        around += np.where(counts > 0, label.size, 0)
    return ClassCounts(
        pixels[:num_classes],
        around[:num_classes],
        images[:num_classes],
        int(pixels[IGNORE_LABEL]),
    )


def count_split(reader) -> ClassCounts:
    """Counts the classes of the labels of a `pipeline.ImageReader` that are used."""
    labeled = reading.labeled_order(reader)
    indices = range(len(reader.split)) if labeled is None else labeled
    with futures.ThreadPoolExecutor() as pool:
        images = pool.map(reader.read, indices)
        labels = (label for _, label, _ in images)
        spec = reader.split.spec
        return count_classes(labels, spec.num_classes, multi_label=spec.multi_label)


def median_frequency_weights(counts: ClassCounts) -> np.ndarray:
    """Returns class weights: the median frequency divided by that of the class.

    The frequency of a class is its number of pixels divided by the number of all pixels
    in the images that contain it.

    Returns:
        float64 `[num_classes]`; 0 for a class that does not occur.

    Source: https://arxiv.org/abs/1411.4734, section 6.3.2; SegNet uses it.
    """
    occurs = counts.pixels > 0
    frequency = counts.pixels[occurs] / counts.pixels_around[occurs]
    weights = np.zeros(len(counts.pixels))
    weights[occurs] = np.median(frequency) / frequency
    return weights


def enet_weights(counts: ClassCounts, constant: float = 1.02) -> np.ndarray:
    """Returns class weights `1 / ln(constant + p)`, `p` the fraction of the pixels.

    Ignored pixels do not count.

    Source: https://arxiv.org/abs/1606.02147, section 5.2.
    """
    return 1 / np.log(constant + counts.pixels / counts.pixels.sum())


def class_weights(text: str, reader) -> np.ndarray | None:
    """Returns the class weights that an option names.

    Args:
        text: "none", "median_frequency", "enet", a number for each class separated by
            commas, or the path of a file: see `read_weights`.
        reader: `pipeline.ImageReader` of the training split.

    Returns:
        float64 `[num_classes]`, or None for "none".

    Raises:
        errors.UserError: The text is none of these.
    """
    if text == "none":
        return None
    if text == "median_frequency":
        return median_frequency_weights(count_split(reader))
    if text == "enet":
        return enet_weights(count_split(reader))
    names = reader.split.spec.class_names
    if os.path.isfile(text):
        return read_weights(text, names)
    weights = _numbers(text.split(","), len(names))
    if weights is None:
        raise errors.UserError(
            f"`class_weights` must be none, median_frequency, enet, a file, or "
            f"{len(names)} numbers of at least 0 separated by commas, got '{text}'."
        )
    return weights


def read_weights(path: str | os.PathLike, names: Sequence[str]) -> np.ndarray:
    """Reads class weights from a file.

    The file has a line `name weight` for each class, in any order, and may have empty
    lines and lines that start with `#`. Or it is JSON: an object of weights by class
    name, or a list in the order of the classes.

    Args:
        path: The file.
        names: Class names, in order.

    Returns:
        float64 `[num_classes]`.

    Raises:
        errors.UserError: The file has another format, or not one weight per class.
    """
    text = files.read_text(path)
    try:
        values = json.loads(text)
    except ValueError:
        lines = [line.strip() for line in text.splitlines()]
        pairs = [line.rsplit(None, 1) for line in lines if line and line[0] != "#"]
        values = {pair[0]: pair[-1] for pair in pairs}
        if len(values) != len(pairs):
            values = None
    if isinstance(values, dict) and set(values) == set(names):
        values = [values[name] for name in names]
    weights = _numbers(values, len(names)) if isinstance(values, list) else None
    if weights is None:
        raise errors.UserError(
            f"{path} does not contain class weights. It needs a line `name weight` for "
            f"each of {', '.join(names)}, with a weight of at least 0, or the same as "
            f"JSON."
        )
    return weights


def _numbers(values, count):
    """Returns `count` numbers of at least 0, or None if the values are not."""
    try:
        numbers = np.array([float(value) for value in values])
    except (TypeError, ValueError):
        return None
    valid = len(numbers) == count and np.all((numbers >= 0) & (numbers < np.inf))
    return numbers if valid else None
