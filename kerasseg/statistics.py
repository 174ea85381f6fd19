"""How often each class occurs in a split, and the class weights made of it."""

import dataclasses
from concurrent import futures

import numpy as np

from kerasseg.datasets import IGNORE_LABEL


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
    """Counts the classes of all records of a `pipeline.PictureReader`."""
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
        text: "none", "median_frequency", "enet", or a number for each class.
        reader: `pipeline.PictureReader` of the training split.

    Raises:
        ValueError: Neither a known name nor one number for each class.
    """
    if text == "none":
        return None
    if text == "median_frequency":
        return median_frequency_weights(count_split(reader))
    if text == "enet":
        return enet_weights(count_split(reader))
    num_classes = reader.split.spec.num_classes
    try:
        numbers = np.array([float(part) for part in text.split(",")])
    except ValueError:
        numbers = np.array([])
    if len(numbers) != num_classes or not np.all(np.isfinite(numbers)):
        raise ValueError(
            f"--class_weights is none, median_frequency, enet or {num_classes} numbers "
            f"with commas between; got '{text}'."
        )
    return numbers
