"""Batches with instances: ids are warped as labels are, and boxes follow from them."""

import collections
import dataclasses
import threading
from collections.abc import Sequence

import cv2
import numpy as np
import tensorflow as tf

from kerasseg import errors, records
from kerasseg.pipeline import augment, augmentations, batches
from kerasseg.pipeline.reading import ImageReader


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstanceOptions:
    """Which instances of a crop are learned.

    Attributes:
        max_instances: Instances of a crop; the largest are kept.
        max_layers: Layers of instances that overlap; the largest are kept.
        min_instance_area: An instance with fewer pixels in the crop is ignored, as a
            crowd is. 16 is one cell of the finest feature map, of stride 4; 1 ignores
            none.

    Raises:
        errors.UserError: A value is less than 1.
    """

    max_instances: int = 100
    max_layers: int = 4
    min_instance_area: int = 16

    def __post_init__(self):
        """Checks the values."""
        for name, value in dataclasses.asdict(self).items():
            if value < 1:
                raise errors.UserError(f"`{name}` must be at least 1, got {value}.")


class InstanceCounts:
    """Numbers of the instances that were read, and of those that were not learned.

    Batches are counted when they are read, which is a little before they are used.
    """

    def __init__(self):
        self._counts: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def add(self, counts: dict[str, int]) -> None:
        """Adds the counts of an image, see `crop_targets`."""
        with self._lock:
            self._counts.update(counts)

    def __getitem__(self, key: str) -> int:
        return self._counts[key]

    def describe(self) -> str:
        """Returns the counts in one line, with a part for each reason that occurred."""
        with self._lock:
            counts = dict(self._counts)
        parts = [
            f"{counts[key]:,} {text}" for key, text in _TEXTS.items() if counts.get(key)
        ]
        return (
            f"instances: {counts.get('read', 0):,} in {counts.get('images', 0):,} "
            f"images{''.join(f', {part}' for part in parts)}"
        )


_TEXTS = {
    "outside": "outside of the crop",
    "small": "ignored because of `min_instance_area`",
    "over_max_instances": "left out because of `max_instances`",
    "over_max_layers": "left out because of `max_layers`",
}


def crop_targets(
    objects: records.Objects, options: InstanceOptions
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Pads the instances of a crop to fixed shapes.

    Instances without a pixel in the crop are left out. The others keep their order.

    Args:
        objects: The instances, with the maps of the crop.
        options: Which are kept.

    Returns:
        "boxes" float32 `[max_instances, 4]`: y1, x1, y2, x2 in pixels of the crop;
        "classes" int32 `[max_instances]`, 0 pads; "is_crowd" bool, "layers" and "ids"
        int32 `[max_instances]`; "maps" int32 `[max_layers, height, width]`, see
        `records.Objects`, with these ids only. And the counts: "images" (1), "read",
        "outside", "small", "over_max_instances" and "over_max_layers".
    """
    boxes, areas = objects.measure()
    visible = np.flatnonzero(areas)
    largest = visible[np.argsort(-areas[visible], kind="stable")]
    chosen = largest[: options.max_instances]
    maps, layers = _pack(objects, boxes, chosen, options.max_layers)
    kept = np.sort(chosen[layers[chosen] >= 0])
    is_small = areas[kept] < options.min_instance_area
    count, size = len(kept), options.max_instances
    targets = {
        "boxes": _pad(boxes[kept], (size, 4)),
        "classes": _pad(objects.classes[kept], (size,)),
        "is_crowd": _pad(objects.is_crowd[kept] | is_small, (size,)),
        "layers": _pad(layers[kept], (size,)),
        "ids": _pad(objects.ids[kept], (size,)),
        "maps": _pad(maps, (options.max_layers, *maps.shape[1:])),
    }
    return targets, {
        "images": 1,
        "read": len(objects),
        "outside": len(objects) - len(visible),
        "small": int(is_small.sum()),
        "over_max_instances": len(largest) - len(chosen),
        "over_max_layers": len(chosen) - count,
    }


def _pad(array, shape):
    if array.shape == shape:
        return array
    padded = np.zeros(shape, array.dtype)
    padded[tuple(slice(length) for length in array.shape)] = array
    return padded


def _pack(objects, boxes, chosen, max_layers):
    """Returns maps of chosen instances in at most some layers, and their layers.

    An instance that has no place gets the layer -1.
    """
    if len(objects.maps) <= max_layers:
        if len(chosen) == np.count_nonzero(boxes[:, 2]):  # All that have pixels.
            return objects.maps.astype(np.int32), objects.layers
        table = np.zeros(1 << 16, np.int32)
        table[objects.ids[chosen]] = objects.ids[chosen]
        return table[objects.maps], objects.layers
    height, width = objects.maps.shape[1:]
    stack = records.LayerStack((height, width), max_layers)
    layers = np.full(len(objects), -1, np.int32)
    for i in chosen:
        top, _, bottom, _ = boxes[i].astype(int)
        rows = objects.maps[objects.layers[i], top:bottom]
        window = (rows == objects.ids[i]).ravel()
        layers[i] = stack.add(objects.ids[i], top * width, window)
    maps = np.stack(stack.maps).reshape(-1, height, width)
    return maps.astype(np.int32), layers


_TYPES = {
    "image": tf.uint8,
    "label": tf.uint8,
    "name": tf.string,
    "boxes": tf.float32,
    "classes": tf.int32,
    "is_crowd": tf.bool,
    "layers": tf.int32,
    "ids": tf.int32,
    "maps": tf.int32,
}


def instance_training_dataset(
    reader: ImageReader,
    augmentation: augment.Augmentation,
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    order: Sequence[int] | np.ndarray | None = None,
    options: InstanceOptions | None = None,
    counts: InstanceCounts | None = None,
    shard: batches.InputShard | None = None,
) -> tf.data.Dataset:
    """Returns an endless dataset of augmented batches with instances.

    Images, labels, order and resuming are those of `batches.training_dataset`.

    Args:
        reader: Reader of the split.
        augmentation: Ranges of the augmentation.
        batch_size: Images per batch.
        seed: Seed of order and augmentation.
        start: Position of the first image: the number of images read before.
        order: Record indices of an epoch; None for each record once.
        options: Which instances are learned; None for the defaults.
        counts: Counts the instances that are read and left out, or None.
        shard: `InputShard` of this worker; None for all images.

    Returns:
        Dataset of dicts: "image", "label" and "name" as of `training_dataset`, and with
        `batch` as the first axis the arrays of `crop_targets`.

    Raises:
        errors.UserError: The split is empty, an augmentation mixes several crops, or
            there is a `transform`.
    """
    _check_colors_only(augmentation.augmentations)
    if augmentation.transform is not None:
        raise errors.UserError(
            "`transform` augments image and mask, but not the objects of an image, "
            "which this network is trained on. Leave it out."
        )
    options, counts = options or InstanceOptions(), counts or InstanceCounts()

    def read(positions, indices):
        items = []
        for position, index in zip(positions, indices, strict=True):
            key = seed, int(position)
            item, number = _read_crop(reader, augmentation, options, key, index)
            counts.add(number)
            items.append(item)
        return [np.stack([item[key] for item in items]) for key in _TYPES]

    def load_batch(positions, indices):
        arrays = tf.numpy_function(
            read, [positions, indices], list(_TYPES.values()), stateful=False
        )
        shapes = _shapes(
            augmentation.crop_size, options.max_instances, options.max_layers
        )
        return {
            key: tf.ensure_shape(array, (batch_size, *shapes[key]))
            for key, array in zip(_TYPES, arrays, strict=True)
        }

    return batches.shuffled(
        reader,
        load_batch,
        batch_size=batch_size,
        seed=seed,
        start=start,
        order=order,
        shard=shard or batches.InputShard(batch_size),
    )


def _check_colors_only(chosen):
    if mixes := augmentations.mixes(chosen):
        known = augmentations.AUGMENTATIONS.items()
        colors = sorted(name for name, metadata in known if not metadata.partners)
        raise errors.UserError(
            f"`augmentations` has {', '.join(mixes)}, which mix several crops. Objects "
            "cannot be mixed: to train a network that detects them, choose among "
            f"{', '.join(colors)}."
        )


def _read_crop(reader, augmentation, options, key, index):
    image, label, name, objects = reader.read_objects(index)
    rng = np.random.default_rng(key)
    image, label, maps = augment.augment(image, label, augmentation, rng, objects.maps)
    image = augmentations.change_colors(image, augmentation.augmentations, key)
    targets, numbers = crop_targets(dataclasses.replace(objects, maps=maps), options)
    return {"image": image, "label": label, "name": name.encode(), **targets}, numbers


def _shapes(crop_size, max_instances, max_layers):
    instances = (max_instances,)
    return {
        "image": (*crop_size, 3),
        "label": crop_size,
        "name": (),
        "boxes": (*instances, 4),
        **dict.fromkeys(("classes", "is_crowd", "layers", "ids"), instances),
        "maps": (max_layers, *crop_size),
    }


def instance_evaluation_dataset(
    reader: ImageReader,
    *,
    batch_size: int = 1,
    limit: int | None = None,
    min_resize_value: int | None = None,
    max_resize_value: int | None = None,
) -> tf.data.Dataset:
    """Returns a dataset of each whole image once, with all of its instances.

    The images of a batch have the same size.

    Args:
        reader: Reader of the split.
        batch_size: Maximum number of images per batch.
        limit: Read the first `limit` images only; None for the whole split.
        min_resize_value: Length of the shorter side after resizing, in pixels; None
            keeps the size.
        max_resize_value: Upper bound of the longer side, see `augment.resize_factor`.

    Returns:
        Dataset of dicts: "image" uint8 `[batch, height, width, 3]`, "label" uint8
        `[batch, height, width]` and "name" string `[batch]`; "size" int32 `[batch, 2]`,
        height and width before resizing; and the arrays of `crop_targets`, padded to
        the largest number of instances and layers in the batch. An instance that has no
        pixel, perhaps because of the resizing, keeps its place with a box of zeros.
    """
    types = {**_TYPES, "size": tf.int32}

    def read(indices):
        items = [
            _read_whole(reader, index, min_resize_value, max_resize_value)
            for index in indices
        ]
        return [_stack([item[key] for item in items]) for key in types]

    def load_batch(indices):
        arrays = tf.numpy_function(read, [indices], list(types.values()), False)
        shapes = {**_shapes((None, None), None, None), "size": (2,)}
        return {
            key: tf.ensure_shape(array, (None, *shapes[key]))
            for key, array in zip(types, arrays, strict=True)
        }

    return batches.in_order(reader, load_batch, batch_size=batch_size, limit=limit)


def _stack(arrays):
    """Stacks arrays, padded with zeros to the largest shape."""
    arrays = [np.asarray(array) for array in arrays]
    shape = np.max([array.shape for array in arrays], axis=0).astype(int)
    return np.stack([_pad(array, tuple(shape)) for array in arrays])


def _read_whole(reader, index, min_resize_value, max_resize_value):
    image, label, name, objects = reader.read_objects(index)
    height, width = label.shape
    factor = augment.resize_factor(height, width, min_resize_value, max_resize_value)
    if factor != 1:
        image, label, maps = _resize(image, label, objects.maps, factor)
        objects = dataclasses.replace(objects, maps=maps)
    boxes, _ = objects.measure()
    return {
        "image": image,
        "label": label,
        "name": name.encode(),
        "size": np.array([height, width], np.int32),
        "boxes": boxes,
        "classes": objects.classes,
        "is_crowd": objects.is_crowd,
        "layers": objects.layers,
        "ids": objects.ids,
        "maps": objects.maps.astype(np.int32),
    }


def _resize(image, label, maps, factor):
    """Resizes the image bilinearly, and class numbers and ids by nearest neighbor."""
    height, width = (max(1, round(factor * length)) for length in label.shape)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    label, *maps = (
        cv2.resize(each, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        for each in (label, *maps)
    )
    return image, label, np.stack(maps)
