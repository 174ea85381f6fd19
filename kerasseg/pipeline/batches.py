"""Batches for training, in a seeded order, and for evaluation, of equal sizes."""

import dataclasses
import os

import numpy as np
import tensorflow as tf

from kerasseg import errors
from kerasseg.pipeline import augment
from kerasseg.pipeline.reading import ImageReader


def repeated(reader: ImageReader, class_names, times) -> np.ndarray:
    """Lists the records of a split, those that show hard classes several times.

    Args:
        reader: Of the split; what it passes over shows no class.
        class_names: Names of the classes that count as hard.
        times: How often a picture with one of them occurs, at least 1.

    Returns:
        int64 record numbers.

    Raises:
        ValueError: A name that the data set does not know, `times` below 1, or a
            record that is damaged.

    Source: the bootstrapping of https://arxiv.org/abs/1706.05587, section 4.3.
    """
    known = reader.split.spec.class_names
    unknown = [name for name in class_names if name not in known]
    if unknown or times < 1:
        raise errors.UserError(
            f"Cannot repeat {list(class_names)} {times} times: unknown are {unknown}; "
            f"a number of at least 1 and names of {list(known)} are wanted."
        )
    wanted = [known.index(name) for name in class_names]
    count = len(reader.split)
    hard = [np.isin(wanted, reader.read(i)[1]).any() for i in range(count)]
    return np.repeat(np.arange(count), np.where(hard, times, 1))


@dataclasses.dataclass(frozen=True)
class InputShard:
    """Which pictures of each update a worker reads: a part, in one piece.

    Attributes:
        size: Pictures of an update, over all workers.
        worker: Number of this one.
        workers: How many they are.
    """

    size: int
    worker: int = 0
    workers: int = 1


def training_dataset(
    reader: ImageReader,
    augmentation: augment.Augmentation,
    *,
    batch_size,
    seed,
    start=0,
    order=None,
    weigh=None,
    share=None,
) -> tf.data.Dataset:
    """Reads endlessly, in a new order each epoch.

    Args:
        reader: Of the split.
        augmentation: What happens to the pictures.
        batch_size: Pictures.
        seed: Start of order and augmentation.
        start: Position of the first picture: how many were read before.
        order: Record numbers of one epoch; None for each record once.
        weigh: Function of the instance numbers and the label of a crop, to float32
            weights of its pixels; None for no weights, and no instances wanted.
        share: `InputShard` of this worker, where several read; None for all images.

    Returns:
        Dataset of dicts: "image" uint8 `[batch, height, width, 3]`, "label" uint8
        `[batch, height, width]`, "name" string `[batch]`, and with `weigh` "weight"
        float32 `[batch, height, width]`.
    """
    numbers = np.arange(len(reader.split)) if order is None else np.asarray(order)
    count = len(numbers)
    if count == 0:
        raise errors.UserError(f"The split '{reader.split.name}' holds no record.")
    height, width = augmentation.crop_size

    def record_at(position):
        epoch_seed = tf.stack([tf.constant(seed, tf.int64), position // count])
        place = tf.random.experimental.index_shuffle(
            position % count, epoch_seed, count - 1
        )
        return tf.constant(numbers, tf.int64)[place]

    def load_batch(first):
        positions = first + tf.range(batch_size, dtype=tf.int64)
        arrays = tf.numpy_function(
            lambda *args: _read_batch(reader, augmentation, seed, weigh, *args),
            [positions, tf.map_fn(record_at, positions)],
            [tf.uint8, tf.uint8, tf.string, *[tf.float32] * (weigh is not None)],
            stateful=False,
        )
        shapes = {
            "image": [batch_size, height, width, 3],
            "label": [batch_size, height, width],
            "name": [batch_size],
            "weight": [batch_size, height, width],
        }
        return {
            key: tf.ensure_shape(array, shapes[key])
            for key, array in zip(shapes, arrays, strict=False)
        }

    dataset = _firsts(start, batch_size, share or InputShard(batch_size))
    dataset = dataset.map(load_batch, num_parallel_calls=os.cpu_count())
    return dataset.prefetch(1)


def _firsts(start, batch_size, share):
    """Lists the position of the first picture of each batch, endlessly."""
    parts = share.size // (share.workers * batch_size)
    first = start + share.worker * parts * batch_size

    def place(number):
        return first + number // parts * share.size + number % parts * batch_size

    numbers = tf.data.Dataset.range(np.iinfo(np.int64).max // share.size - start)
    return numbers.map(place)


def _read_batch(reader, augmentation, seed, weigh, positions, indices):
    """Warps each picture straight into the batch: a copy each costs a third."""
    size = (len(positions), *augmentation.crop_size)
    images, labels = np.empty((*size, 3), np.uint8), np.empty(size, np.uint8)
    weights = np.empty(size if weigh else 0, np.float32)
    names = []
    for i, (position, index) in enumerate(zip(positions, indices, strict=True)):
        rng = np.random.default_rng((seed, int(position)))
        image, label, name, *rest = reader.read(index, instances=weigh is not None)
        crop = augment.augment(image, label, augmentation, rng, *rest)
        images[i], labels[i] = crop[:2]
        if weigh:
            weights[i] = weigh(crop[2], crop[1])
        names.append(name.encode())
    batch = images, labels, np.array(names)
    return (*batch, weights) if weigh else batch


def evaluation_dataset(
    reader: ImageReader, *, batch_size=1, limit=None
) -> tf.data.Dataset:
    """Reads each picture once, unscaled, batched with pictures of its size only.

    Args:
        reader: Of the split.
        batch_size: Pictures at most.
        limit: Pictures in all; None for the whole split.

    Returns:
        Dataset of dicts as of `training_dataset`; the size changes between batches.
    """
    batches = equal_size_batches(reader.split.sizes[:limit], batch_size)

    def load(indices):
        images, labels, names = zip(*map(reader.read, indices), strict=True)
        return np.stack(images), np.stack(labels), np.array(names, object)

    def load_batch(indices):
        image, label, name = tf.numpy_function(
            load, [indices], [tf.uint8, tf.uint8, tf.string], stateful=False
        )
        return {
            "image": tf.ensure_shape(image, [None, None, None, 3]),
            "label": tf.ensure_shape(label, [None, None, None]),
            "name": tf.ensure_shape(name, [None]),
        }

    ragged = tf.ragged.constant(batches, tf.int64, ragged_rank=1)
    dataset = tf.data.Dataset.from_tensor_slices(ragged)
    dataset = dataset.map(load_batch, num_parallel_calls=2).prefetch(2)
    # There is nothing to tune, and the tuner sleeps for seconds before it lets go.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def equal_size_batches(sizes, batch_size) -> list[list[int]]:
    """Groups record numbers by picture size, in batches of at most `batch_size`.

    Args:
        sizes: Heights and widths, `[records, 2]`.
        batch_size: Pictures.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, size in enumerate(np.asarray(sizes).tolist()):
        groups.setdefault(tuple(size), []).append(index)
    return [
        group[start : start + batch_size]
        for group in groups.values()
        for start in range(0, len(group), batch_size)
    ]
