"""Batches of images whose labels are not read: weak crops and strong views of them."""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kerasseg.datasets import IGNORE_LABEL
from kerasseg.pipeline import augment
from kerasseg.pipeline.augmentations import strong_view
from kerasseg.pipeline.augmentations.cutmix import cut_box
from kerasseg.pipeline.batches import InputShard, shuffled
from kerasseg.pipeline.reading import ImageReader

_STREAM = zlib.crc32(b"unlabeled")  # Other random numbers than the labeled images.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Views:
    """What is read of an image besides its weak crop.

    Attributes:
        tags: Whether its image-level classes are read.
        number: Number of strong views of the crop.
        augmentations: Color augmentations and their probabilities.
        cutmix_probability: Probability of a box for CutMix in a view.
    """

    tags: bool = False
    number: int = 0
    augmentations: tuple[tuple[str, float], ...] = ()
    cutmix_probability: float = 0.5


def unlabeled_dataset(
    reader: ImageReader,
    augmentation: augment.Augmentation,
    views: Views,
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    order: Sequence[int] | np.ndarray | None = None,
    shard: InputShard | None = None,
) -> tf.data.Dataset:
    """Returns an endless dataset of batches without labels, shuffled in each epoch.

    Args:
        reader: Reader of the split; labels are not read.
        augmentation: Ranges of the weak augmentation.
        views: The strong views.
        batch_size: See `pipeline.training_dataset`, as the other arguments.
        seed: Seed of order and augmentation.
        start: Position of the first image.
        order: Record indices of an epoch, or None.
        shard: The images of this worker.

    Returns:
        Dataset of dicts: "unlabeled_image" uint8 `[batch, height, width, 3]`,
        "unlabeled_valid" bool `[batch, height, width]`, false in the padding,
        "unlabeled_name" string `[batch]`, and with views "unlabeled_strong" uint8
        `[batch, views, height, width, 3]`, the same crops, and "unlabeled_boxes" int32
        `[batch, views, 4]`: top, left, height and width in pixels, 0 for no box; with
        tags "unlabeled_tags" bool `[batch, classes]`: whether the image may show a
        class, all false if that is not known.

    Raises:
        errors.UserError: The split is empty.
    """
    height, width = augmentation.crop_size
    shapes = {
        "unlabeled_image": [batch_size, height, width, 3],
        "unlabeled_valid": [batch_size, height, width],
        "unlabeled_name": [batch_size],
    }
    types = [tf.uint8, tf.bool, tf.string]
    if views.tags:
        shapes["unlabeled_tags"] = [batch_size, reader.split.spec.num_classes]
        types.append(tf.bool)
    if views.number:
        shapes["unlabeled_strong"] = [batch_size, views.number, height, width, 3]
        shapes["unlabeled_boxes"] = [batch_size, views.number, 4]
        types += [tf.uint8, tf.int32]

    def load_batch(positions, indices):
        def read(*arrays):
            images = [
                _read(reader, augmentation, views, (seed, _STREAM, int(p)), index)
                for p, index in zip(*arrays, strict=True)
            ]
            return [np.stack(part) for part in zip(*images, strict=True)]

        arrays = tf.numpy_function(read, [positions, indices], types, stateful=False)
        return {
            key: tf.ensure_shape(array, shapes[key])
            for key, array in zip(shapes, arrays, strict=True)
        }

    return shuffled(
        reader,
        load_batch,
        batch_size=batch_size,
        seed=seed ^ _STREAM,
        start=start,
        order=order,
        shard=shard or InputShard(batch_size),
    )


def _read(reader, augmentation, views, seed, index):
    rng = np.random.default_rng(seed)
    image, name = reader.read_image(index)
    inside = np.zeros(image.shape[:2], np.uint8)
    image, label = augment.augment(image, inside, augmentation, rng)
    read = [image, label != IGNORE_LABEL, np.array(name.encode())]
    if views.tags:
        read.append(_possible(reader, index))
    if not views.number:
        return read
    strong = [strong_view(image, rng, views.augmentations) for _ in range(views.number)]
    boxes = [_box(views, image, rng) for _ in range(views.number)]
    return [*read, np.stack(strong), np.array(boxes, np.int32)]


def _possible(reader, index):
    """Returns the classes that an image may show: its own, and the background."""
    names, tags = reader.split.spec.class_names, reader.read_tags(index)
    if tags is None:
        return np.zeros(len(names), bool)
    return tags | (np.array(names) == "background")


def _box(views, image, rng):
    drawn, (height, width) = rng.random(), image.shape[:2]
    # Always drawn, so that the next numbers do not depend on it.
    box = cut_box(height, width, rng)
    return box if drawn < views.cutmix_probability else (0, 0, 0, 0)
