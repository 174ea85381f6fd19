"""Stage 2 of DecoupledNet: the segmentation network learns one class at a time."""

from collections.abc import Sequence
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from kerasseg import errors, pipeline
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.models import decoupled_net
from kerasseg.pipeline import augment, augmentations, batches
from kerasseg.system import progress
from kerasseg.training.few_labels import class_pairs, cropping
from kerasseg.training.few_labels.options import FewLabels
from kerasseg.training.objective import Objective, Sums
from kerasseg.training.recipe import Recipe
from kerasseg.training.tasks import Semantic


class Segmentation(Semantic):
    """The pixels of one class of an image; the scores are those of all classes.

    Args:
        options: Options of the stage.
    """

    # Fields of the recipe without effect.
    unused: ClassVar = ("class_weights", "border_weights", "output_weights")

    def __init__(self, options: FewLabels):
        self._crops = options.combinatorial_crops
        self._pairs = np.zeros((0, 6), np.int64)

    def objective(self, model, recipe, class_weights):
        """Creates the loss of a model, and freezes its classification network."""
        del class_weights
        return SegmentationObjective(model, recipe)

    def order(self, reader, order=None):
        """Returns the numbers of all pairs of a labeled image and a class of it."""
        order = pipeline.labeled_order(reader, order)
        indices = np.arange(len(reader.split)) if order is None else order
        self._pairs = list_pairs(reader, indices, combinatorial=self._crops)
        progress.log(
            f"Pairs of a training image and a class: {len(self._pairs):,}"
            + (" (combinatorial crops)" if self._crops else "")
        )
        return np.arange(len(self._pairs))

    def training_dataset(self, reader, augmentation, objective, recipe, **options):
        """Returns batches of images, a class of each, and their targets."""
        del objective, recipe
        return pair_dataset(reader, augmentation, self._pairs, **options)


class SegmentationObjective(Objective):
    """The losses of the segmentation network on background and foreground.

    Args:
        model: A DecoupledNet. Its classification network is frozen.
        recipe: The hyperparameters.

    Attributes:
        model: Its segmentation network, from `[image, classes]`.
    """

    def __init__(self, model: keras.Model, recipe: Recipe):
        parts = decoupled_net.parts(model)
        parts.classification.trainable = False
        super().__init__(parts.segmentation, recipe)

    def sums(self, batch: dict, seed: tf.Tensor) -> Sums:
        """Computes the loss of a batch of `pair_dataset`."""
        del seed
        image = tf.cast(batch["image"], tf.float32)
        logits = self.model([image, batch["classes"]], training=True)
        return Sums(*self(logits, batch["target"]), {})


def list_pairs(
    reader: pipeline.ImageReader,
    indices: Sequence[int] | np.ndarray,
    *,
    combinatorial: bool = False,
) -> np.ndarray:
    """Lists all pairs of an image and a class that occurs in it, besides class 0.

    Args:
        reader: Reader of the split; each label is read once.
        indices: Record indices; a record that occurs several times is listed as often.
        combinatorial: Whether to list the pairs of each crop of
            `cropping.combinatorial_crops` in place of the whole image.

    Returns:
        int64 `[pairs, 6]`: record index, class, and top, left, bottom and right of the
        crop in pixels.

    Raises:
        errors.UserError: There is none.
        records.RecordError: A record is damaged.
    """
    found: dict[int, list] = {}
    indices = np.asarray(indices).tolist()
    with progress.track(len(indices), unit="image", text="classes of images") as bar:
        for index in indices:
            if index not in found:
                label = reader.read(index)[1]
                crops = [_whole(label)]
                if combinatorial:
                    crops = cropping.combinatorial_crops(label)
                found[index] = [
                    (index, k, *crop[:4]) for crop in crops for k in crop.classes
                ]
            bar.update()
    pairs = [pair for index in indices for pair in found[index]]
    if not pairs:
        raise errors.UserError(
            f"None of {len(indices):,} labeled images of the split "
            f"'{reader.split.name}' shows a class besides "
            f"{reader.split.spec.class_names[0]}, the background. Give another "
            "`labeled_list`."
        )
    return np.array(pairs, np.int64)


def _whole(label):
    """Returns a whole image as a crop."""
    present = np.unique(label[(label != 0) & (label != IGNORE_LABEL)])
    height, width = label.shape
    return cropping.Crop(0, 0, height, width, tuple(present.tolist()))


def pair_dataset(
    reader: pipeline.ImageReader,
    augmentation: augment.Augmentation,
    pairs: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    order: Sequence[int] | np.ndarray | None = None,
    shard: pipeline.InputShard | None = None,
) -> tf.data.Dataset:
    """Returns an endless dataset of batches of images and a class of each.

    Args:
        reader: Reader of the split.
        augmentation: Ranges of the augmentation.
        pairs: See `list_pairs`.
        batch_size: Pairs per batch.
        seed: Seed of order and augmentation.
        start: Position of the first pair: the number of pairs read before.
        order: Rows of `pairs` of an epoch, or None for each once.
        shard: The pairs of this worker.

    Returns:
        Dataset of dicts: "image" uint8 `[batch, height, width, 3]`, "classes" float32
        `[batch, num_classes - 1]`, one-hot; "target" uint8 `[batch, height, width]`, 1
        for pixels of the class, 0 for others and 255 for ignored ones; "name" string
        `[batch]`. A crop without a pixel of the class is ignored as a whole.
    """
    num_classes = reader.split.spec.num_classes
    shapes = {
        "image": [batch_size, *augmentation.crop_size, 3],
        "classes": [batch_size, num_classes - 1],
        "target": [batch_size, *augmentation.crop_size],
        "name": [batch_size],
    }

    def load_batch(positions, rows):
        def read(*arrays):
            items = [
                _read(reader, augmentation, (seed, int(position)), pairs[row])
                for position, row in zip(*arrays, strict=True)
            ]
            return [np.stack(part) for part in zip(*items, strict=True)]

        types = [tf.uint8, tf.float32, tf.uint8, tf.string]
        arrays = tf.numpy_function(read, [positions, rows], types, stateful=False)
        return {
            key: tf.ensure_shape(array, shapes[key])
            for key, array in zip(shapes, arrays, strict=True)
        }

    return batches.shuffled(
        reader,
        load_batch,
        batch_size=batch_size,
        seed=seed,
        start=start,
        order=np.arange(len(pairs)) if order is None else order,
        shard=shard or pipeline.InputShard(batch_size),
    )


def _read(reader, augmentation, key, pair):
    index, number, top, left, bottom, right = pair
    image, label, name = reader.read(index)
    image, label = (
        np.ascontiguousarray(x[top:bottom, left:right]) for x in (image, label)
    )
    rng = np.random.default_rng(key)
    image, label = augment.augment(image, label, augmentation, rng)
    image = augmentations.change_colors(image, augmentation.augmentations, key)
    target = class_pairs.binary_target(label, number)
    if not (target == 1).any():
        target[:] = IGNORE_LABEL
    classes = np.zeros(reader.split.spec.num_classes - 1, np.float32)
    classes[number - 1] = 1.0
    return image, classes, target, np.array(name.encode())
