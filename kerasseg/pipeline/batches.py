"""Batches for training, in a seeded order, and for evaluation, of equal sizes."""

import dataclasses
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from kerasseg import errors
from kerasseg.images import bit_masks
from kerasseg.pipeline import augment, crops
from kerasseg.pipeline.reading import ImageReader, labeled_order


def oversample(
    reader: ImageReader, class_names: Sequence[str], times: int
) -> np.ndarray:
    """Returns record indices, those of images with hard classes several times.

    Images whose labels are not used are left out, see `labeled_order`.

    Args:
        reader: Reader of the split. A damaged record that it replaces has no class.
        class_names: Names of the hard classes.
        times: How often an image with a hard class is repeated, at least 1.

    Returns:
        int64 record indices.

    Raises:
        errors.UserError: A name is unknown, or `times` is below 1.
        records.RecordError: A record is damaged.

    Source: the bootstrapping of https://arxiv.org/abs/1706.05587, section 4.3.
    """
    known = reader.split.spec.class_names
    unknown = [name for name in class_names if name not in known]
    if unknown or times < 1:
        raise errors.UserError(
            f"Cannot repeat images of {list(class_names)} {times} times: unknown are "
            f"{unknown}. Give a number of at least 1 and names from {list(known)}."
        )
    classes = [known.index(name) for name in class_names]
    labeled = labeled_order(reader)
    indices = np.arange(len(reader.split)) if labeled is None else labeled
    count = reader.split.spec.num_classes if reader.split.spec.multi_label else 0
    hard = [_has_any(reader.read(i)[1], classes, count) for i in indices.tolist()]
    return np.repeat(indices, np.where(hard, times, 1))


def _has_any(label, classes, num_bits):
    """Returns whether a label has one of the classes; 0 bits: they are exclusive."""
    if num_bits:
        return bit_masks.decode(label, num_bits)[..., classes].any()
    return np.isin(classes, label).any()


@dataclasses.dataclass(frozen=True)
class InputShard:
    """The images of each global batch that a worker reads: one contiguous part.

    Attributes:
        global_batch_size: Images of an update, over all workers.
        index: Index of this worker.
        num_shards: Number of workers.
    """

    global_batch_size: int
    index: int = 0
    num_shards: int = 1


def training_dataset(
    reader: ImageReader,
    augmentation: augment.Augmentation,
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    order: Sequence[int] | np.ndarray | None = None,
    weight_map_fn: Callable | None = None,
    shard: InputShard | None = None,
) -> tf.data.Dataset:
    """Returns an endless dataset of augmented batches, shuffled in each epoch.

    Args:
        reader: Reader of the split.
        augmentation: Ranges of the augmentation.
        batch_size: Images per batch.
        seed: Seed of order and augmentation.
        start: Position of the first image: the number of images read before.
        order: Record indices of an epoch; None for each record once.
        weight_map_fn: Function of the instance ids and the label of a crop that
            returns float32 weights of its pixels; None for no weights, for which no
            instances are read.
        shard: `InputShard` of this worker; None for all images.

    Returns:
        Dataset of dicts: "image" `[batch, height, width, channels]` of the records'
        type, uint8 and RGB by default, "label" uint8 (or uint16, see
        `ImageReader.read`) `[batch, height, width]`, "name" string `[batch]`, and with
        `weight_map_fn` "weight" float32 `[batch, height, width]`.

    Raises:
        errors.UserError: The split is empty, or colors are changed that its images do
            not have.
        records.RecordError: A record is damaged, and an augmentation needs the class
            frequencies of the split, for which it is read once.
    """
    height, width = augmentation.crop_size
    kind = reader.kind
    crop_reader = crops.CropReader(
        reader, augmentation, seed, instances=weight_map_fn is not None
    )

    def load_batch(positions, indices):
        arrays = tf.numpy_function(
            lambda positions, indices: _read_batch(
                crop_reader.read(positions, indices, batch_size),
                (batch_size, height, width),
                weight_map_fn,
                reader.split.spec,
            ),
            [positions, indices],
            [
                tf.as_dtype(kind.dtype),
                reader.split.spec.label_dtype,
                tf.string,
                *[tf.float32] * (weight_map_fn is not None),
            ],
            stateful=False,
        )
        shapes = {
            "image": [batch_size, height, width, kind.channels],
            "label": [batch_size, height, width],
            "name": [batch_size],
            "weight": [batch_size, height, width],
        }
        return {
            key: tf.ensure_shape(array, shapes[key])
            for key, array in zip(shapes, arrays, strict=False)
        }

    shard = shard or InputShard(batch_size)
    return shuffled(
        reader,
        load_batch,
        batch_size=batch_size,
        seed=seed,
        start=start,
        order=order,
        shard=shard,
        group_size=crop_reader.group_size,
    )


def shuffled(
    reader: ImageReader,
    load_batch: Callable,
    *,
    batch_size: int,
    seed: int,
    start: int,
    order: Sequence[int] | np.ndarray | None,
    shard: InputShard,
    group_size: int = 1,
) -> tf.data.Dataset:
    """Returns an endless dataset of batches, in another order in each epoch.

    Args:
        reader: Reader of the split.
        load_batch: Function from the positions of the images of a batch and their
            record indices, int64 `[batch_size]`, to the batch.
        batch_size: See `training_dataset`, as the other arguments.
        seed: Seed of the order.
        start: Position of the first image.
        order: Record indices of an epoch, or None.
        shard: The images of this worker.
        group_size: Positions are divided into groups of this size. `load_batch` also
            receives the positions and record indices of the images outside of the batch
            that are in a group of one of its images, after those of the batch.

    Raises:
        errors.UserError: The split is empty.
    """
    indices = np.arange(len(reader.split)) if order is None else np.asarray(order)
    count = len(indices)
    if count == 0:
        raise errors.UserError(f"The split '{reader.split.name}' has no records.")

    def record_at(position):
        epoch_seed = tf.stack([tf.constant(seed, tf.int64), position // count])
        place = tf.random.experimental.index_shuffle(
            position % count, epoch_seed, count - 1
        )
        return tf.constant(indices, tf.int64)[place]

    def load(first):
        positions = first + tf.range(batch_size, dtype=tf.int64)
        if group_size > 1:
            others = _others_of_groups(first, first + batch_size, group_size)
            positions = tf.concat([positions, *others], axis=0)
        return load_batch(positions, tf.map_fn(record_at, positions))

    dataset = _batch_starts(start, batch_size, shard)
    dataset = dataset.map(load, num_parallel_calls=os.cpu_count())
    return dataset.prefetch(1)


def _batch_starts(start, batch_size, shard):
    """Returns an endless dataset of the position of the first image of each batch."""
    total = shard.global_batch_size
    batches_per_update = total // (shard.num_shards * batch_size)
    first = start + shard.index * batches_per_update * batch_size

    def position(i):
        update, batch = i // batches_per_update, i % batches_per_update
        return first + update * total + batch * batch_size

    return tf.data.Dataset.range(np.iinfo(np.int64).max // total - start).map(position)


def _others_of_groups(first, end, group_size):
    """Returns the positions before and after a batch in the groups of its images."""
    before = tf.range(first // group_size * group_size, first)
    after = tf.range(end, -(-end // group_size) * group_size)
    return before, after


def _read_batch(read, size, weight_map_fn, spec):
    """Stacks crops to arrays of `size`: batch, height and width."""
    kind = spec.image_kind
    images = np.empty((*size, kind.channels), kind.dtype)
    labels = np.empty(size, spec.label_dtype)
    weights = np.empty(size if weight_map_fn else 0, np.float32)
    names = []
    for i, crop in enumerate(read):
        images[i], labels[i] = crop.image, crop.label
        if weight_map_fn:
            weights[i] = weight_map_fn(crop.instances, crop.label)
        names.append(crop.name.encode())
    batch = images, labels, np.array(names)
    return (*batch, weights) if weight_map_fn else batch


def evaluation_dataset(
    reader: ImageReader, *, batch_size: int = 1, limit: int | None = None
) -> tf.data.Dataset:
    """Returns a dataset of each image once, at its own size.

    The images of a batch have the same size.

    Args:
        reader: Reader of the split.
        batch_size: Maximum number of images per batch.
        limit: Read the first `limit` images only; None for the whole split.

    Returns:
        Dataset of dicts: "image" `[batch, height, width, channels]` of the records'
        type, uint8 and RGB by default, "label" uint8 `[batch, height, width]` and
        "name" string `[batch]`.
    """
    kind, label_dtype = reader.kind, reader.split.spec.label_dtype

    def load(indices):
        images, labels, names = zip(*map(reader.read, indices), strict=True)
        return np.stack(images), np.stack(labels), np.array(names, object)

    def load_batch(indices):
        image, label, name = tf.numpy_function(
            load,
            [indices],
            [tf.as_dtype(kind.dtype), label_dtype, tf.string],
            stateful=False,
        )
        return {
            "image": tf.ensure_shape(image, [None, None, None, kind.channels]),
            "label": tf.ensure_shape(label, [None, None, None]),
            "name": tf.ensure_shape(name, [None]),
        }

    return in_order(reader, load_batch, batch_size=batch_size, limit=limit)


def in_order(
    reader: ImageReader, load_batch: Callable, *, batch_size: int, limit: int | None
) -> tf.data.Dataset:
    """Returns a dataset of batches of images of equal size, each image once.

    Args:
        reader: Reader of the split.
        load_batch: Function from record indices, int64 `[batch]`, to the batch.
        batch_size: Maximum number of images per batch.
        limit: Read the first `limit` images only; None for the whole split.
    """
    batches = equal_size_batches(reader.split.sizes[:limit], batch_size)
    ragged = tf.ragged.constant(batches, tf.int64, ragged_rank=1)
    dataset = tf.data.Dataset.from_tensor_slices(ragged)
    dataset = dataset.map(load_batch, num_parallel_calls=2).prefetch(2)
    # There is nothing to tune, and autotuning takes seconds to stop at the end.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def equal_size_batches(sizes, batch_size: int) -> list[list[int]]:
    """Groups record indices by image size, in batches of at most `batch_size`.

    Args:
        sizes: Heights and widths, `[records, 2]`.
        batch_size: Maximum number of images per batch.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, size in enumerate(np.asarray(sizes).tolist()):
        groups.setdefault(tuple(size), []).append(index)
    return [
        group[start : start + batch_size]
        for group in groups.values()
        for start in range(0, len(group), batch_size)
    ]
