"""The instances of an image: `EncodedObjects` in a record, `Objects` in memory."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from kerasseg import errors
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.records import rle

_MAX_IDS = (1 << 16) - 1


@dataclasses.dataclass(frozen=True)
class EncodedObjects:
    """The instances of an image as a record stores them, one item for each.

    Attributes:
        rles: Masks, COCO's compressed strings of runs, each of the size of the image.
            They may overlap, and a mask may have no pixel.
        classes: Class numbers, from 1; 0 for a crowd of unknown class.
        is_crowd: Whether the mask covers a group of objects, or pixels that cannot be
            evaluated.
    """

    rles: tuple[bytes, ...]
    classes: tuple[int, ...]
    is_crowd: tuple[bool, ...]

    def __post_init__(self):
        """Checks that there are as many of each, and the classes."""
        numbers = len(self.rles), len(self.classes), len(self.is_crowd)
        if len(set(numbers)) > 1:
            raise errors.UserError(
                f"{numbers[0]} masks of instances have {numbers[1]} classes and "
                f"{numbers[2]} values of is_crowd, expected one of each for every mask."
            )
        pairs = zip(self.classes, self.is_crowd, strict=True)
        wrong = [number for number, crowd in pairs if number < (0 if crowd else 1)]
        if wrong or max(self.classes, default=0) >= IGNORE_LABEL:
            raise errors.UserError(
                f"An instance has the class {wrong[0] if wrong else max(self.classes)},"
                f" expected 1 to {IGNORE_LABEL - 1}: class 0 is no object."
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Objects:
    """The instances of an image. Instance `i` is `maps[layers[i]] == ids[i]`.

    Attributes:
        maps: Instance ids, uint16 `[layers, height, width]`; 0 is no instance. There is
            at least one layer. Instances that overlap are in different layers, and all
            pixels of an instance are in one.
        layers: Index of the layer of each instance, int32 `[instances]`.
        ids: Id of each instance in its layer, from 1, int32 `[instances]`; no two are
            equal.
        classes: Class number of each instance, from 1, int32 `[instances]`; 0 for a
            crowd of unknown class.
        is_crowd: bool `[instances]`, see `EncodedObjects`.
    """

    maps: np.ndarray
    layers: np.ndarray
    ids: np.ndarray
    classes: np.ndarray
    is_crowd: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def mask(self, i: int) -> np.ndarray:
        """Returns the mask of instance `i`, bool `[height, width]`."""
        return self.maps[self.layers[i]] == self.ids[i]

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """Measures the masks.

        Returns:
            Smallest boxes around the masks, float32 `[instances, 4]`: y1, x1, y2, x2 in
            pixels, where pixel i covers [i, i + 1); and numbers of pixels, int64
            `[instances]`. A mask without a pixel has the box 0, 0, 0, 0.
        """
        _, height, width = self.maps.shape
        rows = self.maps.reshape(-1, width)
        starts_run = np.ones(rows.shape, bool)
        np.not_equal(rows[:, 1:], rows[:, :-1], out=starts_run[:, 1:])
        starts = np.flatnonzero(starts_run)  # Of runs of equal ids in a row.
        lengths = np.diff(starts, append=rows.size)
        index_of = np.full(_MAX_IDS + 1, -1)
        index_of[self.ids] = range(len(self))
        owners = index_of[rows.ravel()[starts]]
        starts, lengths, owners = (x[owners >= 0] for x in (starts, lengths, owners))
        y, x = starts // width % height, starts % width
        areas, boxes = np.zeros(len(self), np.int64), np.zeros((len(self), 4), np.int64)
        np.add.at(areas, owners, lengths)
        boxes[areas > 0, :2] = height, width
        np.minimum.at(boxes[:, 0], owners, y)
        np.minimum.at(boxes[:, 1], owners, x)
        np.maximum.at(boxes[:, 2], owners, y + 1)
        np.maximum.at(boxes[:, 3], owners, x + lengths)
        return boxes.astype(np.float32), areas


def encode_masks(
    masks: Iterable[np.ndarray], classes: Sequence[int], is_crowd: Sequence[bool]
) -> EncodedObjects:
    """Encodes masks for a record.

    Args:
        masks: bool `[height, width]`, one for each instance.
        classes: Class numbers, from 1; 0 for a crowd of unknown class.
        is_crowd: See `EncodedObjects`.

    Raises:
        errors.MissingPackageError: pycocotools is not installed.
        errors.UserError: The numbers differ, or a class is 0.
    """
    rles = tuple(rle.encode(mask) for mask in masks)
    return EncodedObjects(rles, tuple(map(int, classes)), tuple(map(bool, is_crowd)))


def from_rles(encoded: EncodedObjects, size: tuple[int, int]) -> Objects:
    """Decodes the instances of a record. Ids are 1, 2, ... in the order of the record.

    Each instance goes into the first layer where it overlaps no earlier one.

    Args:
        encoded: The instances.
        size: Height and width of the image.

    Raises:
        errors.UserError: A mask is damaged or of another size, or there are too many.
    """
    if len(encoded.rles) > _MAX_IDS:
        raise errors.UserError(
            f"the image has {len(encoded.rles)} instances, the maximum is {_MAX_IDS}"
        )
    height, width = size
    stack = LayerStack(size)
    layers = []
    for number, text in enumerate(encoded.rles, 1):
        counts = rle.read(text, size)
        first = int(counts[0]) if len(counts) else 0
        runs = counts[1 : len(counts) // 2 * 2]  # From the first to the last pixel.
        window = np.repeat(np.arange(len(runs)) % 2 == 0, runs)
        layers.append(stack.add(number, first, window))
    maps = np.stack(stack.maps).reshape(-1, width, height).transpose(0, 2, 1)
    return Objects(
        maps=np.ascontiguousarray(maps),
        layers=np.array(layers, np.int32),
        ids=np.arange(1, len(layers) + 1, dtype=np.int32),
        classes=np.array(encoded.classes, np.int32),
        is_crowd=np.array(encoded.is_crowd, bool),
    )


class LayerStack:
    """Layers of instance ids, to which instances are added so that none overlap.

    Args:
        size: Height and width of the image.
        max_layers: Largest number of layers; None for no limit.

    Attributes:
        maps: The pixels of each layer in one row, uint16 `[height * width]`; at least
            one layer.
    """

    def __init__(self, size: tuple[int, int], max_layers: int | None = None):
        self._count = size[0] * size[1]
        self._max_layers = max_layers
        self.maps = [np.zeros(self._count, np.uint16)]

    def add(self, number: int, first: int, window: np.ndarray) -> int:
        """Adds an instance to the first layer where its pixels are free.

        Args:
            number: Its id.
            first: Position of the window among the pixels of a layer.
            window: The pixels of the window that belong to it, bool `[pixels]`.

        Returns:
            Index of the layer; -1 if none is free, and there are `max_layers`.
        """
        place = slice(first, first + len(window))
        for layer, ids in enumerate(self.maps):
            if not ids[place][window].any():
                ids[place][window] = number
                return layer
        if len(self.maps) == self._max_layers:
            return -1
        self.maps.append(np.zeros(self._count, np.uint16))
        self.maps[-1][place][window] = number
        return len(self.maps) - 1


def from_instances(instances: np.ndarray, label: np.ndarray) -> Objects:
    """Derives the instances of a map of ids from the class label of the image.

    The class of an instance is the most frequent class of its labeled pixels, of
    equally frequent ones the first. Void pixels belong to no instance. If all pixels of
    an instance are void, these are a crowd of unknown class. Ids may skip numbers.

    Args:
        instances: Instance ids, uint16 `[height, width]`; 0 is no instance.
        label: Class numbers and 255 for void, uint8 `[height, width]`.

    Raises:
        errors.UserError: The sizes differ, or the class of an instance is 0.
    """
    if instances.shape != label.shape:
        raise errors.UserError(
            f"the instance map is {instances.shape[1]}x{instances.shape[0]}, the label "
            f"{label.shape[1]}x{label.shape[0]}"
        )
    counts = np.bincount(instances.ravel(), minlength=1)
    counts[0] = 0
    ids = np.flatnonzero(counts)
    index_of = np.zeros(len(counts), np.int64)
    index_of[ids] = range(len(ids))
    pixels = np.flatnonzero(instances)
    codes = index_of[instances.ravel()[pixels]] * 256 + label.ravel()[pixels]
    by_class = np.bincount(codes, minlength=len(ids) * 256).reshape(-1, 256)
    is_crowd = by_class[:, IGNORE_LABEL] == counts[ids]
    classes = by_class[:, :IGNORE_LABEL].argmax(axis=1)
    wrong = ids[(classes == 0) & ~is_crowd]
    if wrong.size:
        raise errors.UserError(
            f"most pixels of instance {wrong[0]} belong to class 0, which is no "
            "object. Correct the label, or set these pixels of the instance map to 0"
        )
    crowds = np.isin(instances, ids[is_crowd])
    maps = np.where((label == IGNORE_LABEL) & ~crowds, np.uint16(0), instances)
    return Objects(
        maps=maps[None],
        layers=np.zeros(len(ids), np.int32),
        ids=ids.astype(np.int32),
        classes=classes.astype(np.int32),
        is_crowd=is_crowd,
    )
