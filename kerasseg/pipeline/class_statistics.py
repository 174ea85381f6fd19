"""How often each class occurs in a split, and the class weights made of it."""

import dataclasses
import json
import os
from concurrent import futures

import numpy as np

from kerasseg import errors
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.system import files


@dataclasses.dataclass(frozen=True)
class ClassCounts:
    """Pixels of a split.

    Attributes:
        pixels: int64 `[num_classes]`, pixels of each class.
        pixels_around: int64 `[num_classes]`, all pixels of the pictures that show the
            class, ignored ones too.
        pictures: int64 `[num_classes]`, pictures that show the class.
        ignored: Pixels that are ignored.
    """

    pixels: np.ndarray
    pixels_around: np.ndarray
    pictures: np.ndarray
    ignored: int


def count_classes(labels, num_classes) -> ClassCounts:
    """Counts the pixels of each class.

    Args:
        labels: Iterable of uint8 `[height, width]`.
        num_classes: Classes.
    """
    pixels = np.zeros(256, np.int64)
    around = np.zeros(256, np.int64)
    pictures = np.zeros(256, np.int64)
    for label in labels:
        counts = np.bincount(label.ravel(), minlength=256)
        pixels += counts
        pictures += counts > 0
        around += np.where(counts > 0, label.size, 0)
    return ClassCounts(
        pixels[:num_classes],
        around[:num_classes],
        pictures[:num_classes],
        int(pixels[IGNORE_LABEL]),
    )


def count_split(reader) -> ClassCounts:
    """Counts the classes of all records of a `pipeline.ImageReader`."""
    with futures.ThreadPoolExecutor() as pool:
        labels = (
            picture[1] for picture in pool.map(reader.read, range(len(reader.split)))
        )
        return count_classes(labels, reader.split.spec.num_classes)


def median_frequency_weights(counts: ClassCounts) -> np.ndarray:
    """Weighs each class by the median frequency over its own.

    The frequency of a class is its share of the pixels of the pictures that show it.

    Returns:
        float64 `[num_classes]`; 0 for a class that never occurs.

    Source: https://arxiv.org/abs/1411.4734, section 6.3.2; SegNet uses it.
    """
    seen = counts.pixels > 0
    frequency = counts.pixels[seen] / counts.pixels_around[seen]
    weights = np.zeros(len(counts.pixels))
    weights[seen] = np.median(frequency) / frequency
    return weights


def enet_weights(counts: ClassCounts, constant=1.02) -> np.ndarray:
    """Weighs each class by `1 / ln(constant + p)`, `p` its share of labelled pixels.

    Source: https://arxiv.org/abs/1606.02147, section 5.2.
    """
    return 1 / np.log(constant + counts.pixels / counts.pixels.sum())


def class_weights(text, reader) -> np.ndarray | None:
    """Reads the flag `--class_weights`.

    Args:
        text: "none", "median_frequency", "enet", a number for each class, or a file
            of them: see `read_weights`.
        reader: `pipeline.ImageReader` of the training split.

    Raises:
        ValueError: Neither a known name nor a file nor one number for each class.
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
            f"`class_weights` is none, median_frequency, enet, {len(names)} numbers "
            f"with commas between, each at least 0, or a file; got '{text}'."
        )
    return weights


def read_weights(path, names) -> np.ndarray:
    """Reads the weights of the classes from a file.

    It has a line `name weight` for each class, in any order, and may have empty lines
    and lines that start with `#`; or it is JSON: an object of weights by name, or a
    list in the order of the classes.

    Args:
        path: The file.
        names: Of the classes, in their order.

    Raises:
        ValueError: The file is anything else.
    """
    text = files.read_text(path)
    try:
        found = json.loads(text)
    except ValueError:
        lines = [line.strip() for line in text.splitlines()]
        pairs = [line.rsplit(None, 1) for line in lines if line and line[0] != "#"]
        found = {pair[0]: pair[-1] for pair in pairs}
        if len(found) != len(pairs):
            found = None
    if isinstance(found, dict) and set(found) == set(names):
        found = [found[name] for name in names]
    weights = _numbers(found, len(names)) if isinstance(found, list) else None
    if weights is None:
        raise errors.UserError(
            f"{path} holds no class weights: it needs one line `name weight` for each "
            f"of {', '.join(names)}, the weight at least 0, or the same as JSON."
        )
    return weights


def _numbers(values, count):
    """Returns `count` numbers from 0, or None where the values are anything else."""
    try:
        numbers = np.array([float(value) for value in values])
    except (TypeError, ValueError):
        return None
    right = len(numbers) == count and np.all((numbers >= 0) & (numbers < np.inf))
    return numbers if right else None
