"""Mean, deviation and used range of each channel of the images of a split."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from kerasseg import datasets
from kerasseg.records import reading, schema, shards
from kerasseg.system.image_kinds import ImageKind

# Values of a channel that the used range is computed from, over all images.
_SAMPLED = 1 << 20
_AT_ONCE = 4  # Channels that OpenCV takes.
_MIN_SAMPLED = 256  # Of one image.
_PERCENTILES = 0.1, 99.9  # Ends of the used range.


class Summary(NamedTuple):
    """What the statistics of one image are computed from.

    Attributes:
        num_pixels: Number of pixels that are not ignored.
        total: Sum of the values of each channel, float64.
        squares: Sum of their squares.
        sampled: Evenly spaced pixels, `[pixels, channels]`.
    """

    num_pixels: int
    total: np.ndarray
    squares: np.ndarray
    sampled: np.ndarray


def summarize(
    image: np.ndarray, label: np.ndarray | None, num_sampled: int = _MIN_SAMPLED
) -> Summary:
    """Summarizes the pixels of an image that are not ignored.

    Args:
        image: `[height, width, channels]`.
        label: Class numbers `[height, width]`, or None.
        num_sampled: Largest number of pixels for the used range.
    """
    pixels = image.reshape(-1, image.shape[2])
    if label is not None:
        pixels = pixels[label.reshape(-1) != datasets.IGNORE_LABEL]
    sampled = pixels[:: max(1, -(-len(pixels) // num_sampled))]
    mean, deviation = _moments(image, label)
    total, squares = len(pixels) * mean, len(pixels) * (mean**2 + deviation**2)
    return Summary(len(pixels), total, squares, np.array(sampled))


def _moments(image, label):
    """Returns mean and deviation of each channel, float64, without copies."""
    mask = None
    if label is not None:
        mask = (label != datasets.IGNORE_LABEL).view(np.uint8)
    moments = []
    for first in range(0, image.shape[2], _AT_ONCE):
        part = np.ascontiguousarray(image[..., first : first + _AT_ONCE])
        moments.append(cv2.meanStdDev(part, mask=mask))
    means, deviations = zip(*moments, strict=True)
    return np.concatenate(means)[:, 0], np.concatenate(deviations)[:, 0]


def combine(summaries: Iterable[Summary], kind: ImageKind) -> ImageKind:
    """Returns `kind` with the statistics of all images; see `measure`."""
    listed = [each for each in summaries if each.num_pixels]
    if not listed:
        return kind
    count = sum(each.num_pixels for each in listed)
    mean = sum(each.total for each in listed) / count
    squares = sum(each.squares for each in listed) / count
    deviation = np.sqrt(np.maximum(squares - mean**2, 0))
    values = np.concatenate([each.sampled for each in listed])
    low, high = np.percentile(values, _PERCENTILES, axis=0, method="nearest")
    low, high = low.astype(np.float64), high.astype(np.float64)
    return dataclasses.replace(
        kind,
        mean=_plain(mean),
        deviation=_plain(np.where(deviation > 1e-6 * np.abs(mean), deviation, 1.0)),
        low=_plain(low),
        high=_plain(np.where(high > low, high, low + 1)),
    )


def measure(
    pairs: Iterable[tuple[np.ndarray, np.ndarray | None]], kind: ImageKind, count: int
) -> ImageKind:
    """Measures the statistics of each channel, over the pixels that are not ignored.

    Mean and deviation are those of all pixels. The used range is from the 0.1th to the
    99.9th percentile of evenly spaced pixels, at most about a million of a channel, so
    that single bright or dead pixels do not count.

    Args:
        pairs: Images `[height, width, channels]`, and their labels `[height, width]` or
            None.
        kind: Channels and type of the images.
        count: Number of images.

    Returns:
        `kind` with the statistics. A channel whose values are all equal has the
        deviation 1 and a range of 1.
    """
    share = max(_MIN_SAMPLED, _SAMPLED // max(count, 1))
    return combine((summarize(*pair, share) for pair in pairs), kind)


def _plain(values):
    return tuple(float(f"{value:.7g}") for value in values)


def with_statistics(
    spec: datasets.DatasetSpec,
    folder: str | os.PathLike,
    splits: Mapping[str, Sequence[shards.Shard]],
) -> datasets.DatasetSpec:
    """Returns the spec with the statistics of each channel; of 8-bit RGB as it is.

    They are those of the split "train", or of all splits if there is none of that name.
    Each record is read once.

    Args:
        spec: The spec.
        folder: Folder of the records.
        splits: Files of each split.
    """
    if spec.image_kind.is_rgb or not splits:
        return spec
    opened = [
        reading.Split(
            spec, name, [pathlib.Path(folder, shard.name) for shard in splits[name]]
        )
        for name in of_training(splits)
    ]
    kind = measure(_pairs(opened), spec.image_kind, sum(map(len, opened)))
    return dataclasses.replace(spec, image_kind=kind)


def of_training(splits: Iterable[str]) -> list[str]:
    """Returns the names of the splits whose statistics are those of the records."""
    return ["train"] if "train" in splits else sorted(splits)


def _pairs(splits) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    for split in splits:
        for i in range(len(split)):
            example = schema.parse_example(split.read(i))
            label = example["label"]
            if label is not None:
                label = schema.decode_label(label, multi_label=split.spec.multi_label)
            yield schema.decode_image(example["image"]), label
