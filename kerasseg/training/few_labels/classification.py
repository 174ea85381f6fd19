"""Stage 1 of DecoupledNet: the classification network learns image-level classes."""

from collections.abc import Sequence
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from kerasseg import errors, pipeline
from kerasseg.metrics import tags as tag_metrics
from kerasseg.models import decoupled_net
from kerasseg.pipeline import augment, augmentations, batches
from kerasseg.system import progress
from kerasseg.training.few_labels import class_pairs
from kerasseg.training.objective import Sums
from kerasseg.training.tasks import Task


class Classification(Task):
    """The classes that an image shows; labels of pixels are not read."""

    score = "mean_ap"
    shown: ClassVar = {"mean_ap": "mean AP of classes", "tag_f1": "F1"}
    columns = ("mean_ap", "tag_f1")
    # Fields of the recipe without effect.
    unused: ClassVar = (
        *("loss", "label_smoothing", "class_weights", "border_weights"),
        *("output_weights", "repeat_classes"),
    )

    def objective(self, model, recipe, class_weights):
        """Creates the loss of a model."""
        del recipe, class_weights
        return ClassificationObjective(model)

    def order(self, reader, order=None):
        """Returns the indices of the records whose image-level classes are known."""
        del order  # No image is repeated.
        known = [i for i in range(len(reader.split)) if reader.read_tags(i) is not None]
        rest = len(reader.split) - len(known)
        if not known:
            raise errors.UserError(
                f"No image of the split '{reader.split.name}' has image-level classes, "
                "which `stage=classification` learns. Build the records with "
                "`image_classes`, see docs/data.md."
            )
        progress.log(
            f"Training images: {len(known):,} with image-level classes, {rest:,} "
            "without, which are left out"
        )
        return np.array(known, np.int64)

    def training_dataset(self, reader, augmentation, objective, recipe, **options):
        """Returns batches of images and their classes."""
        del objective, recipe
        return tagged_dataset(reader, augmentation, **options)

    def scorer(self, model, augmentation):
        """Returns a function that computes average precision and F1 of classes."""
        del augmentation
        classification = decoupled_net.parts(model).classification

        @tf.function(reduce_retracing=True)
        def predict(image):
            return classification(image, training=False)

        def score(reader, *, limit=None, on_batch=None):
            tags, scores = [], []
            indices = range(len(reader.split))[:limit]
            with progress.track(len(indices), unit="image", text="evaluation") as bar:
                for index in indices:
                    tag = reader.read_tags(index)
                    if tag is not None:
                        image, _ = reader.read_image(index)
                        tags.append(tag[1:])
                        scores.append(predict(image[np.newaxis]).numpy()[0])
                    if on_batch is not None:
                        on_batch({"image": (), "label": ()}, ())  # There is no mask.
                    bar.update()
            return _scores(reader, tags, scores)

        return score


def _scores(reader, tags, scores):
    if not tags:
        raise errors.UserError(
            f"No image of the split '{reader.split.name}' has image-level classes, "
            "which validations of `stage=classification` compare. Choose another "
            "`eval_split`, or build the records with `image_classes`."
        )
    computed = tag_metrics.tag_scores(np.array(tags), np.array(scores))
    return {
        "mean_ap": computed.mean_ap,
        "tag_f1": computed.f1,
        "num_images": len(tags),
    }


class ClassificationObjective:
    """The sigmoid cross-entropy of image-level classes, as a mean over images.

    Args:
        model: A DecoupledNet.

    Attributes:
        model: Its classification network.
    """

    def __init__(self, model: keras.Model):
        self.model = decoupled_net.parts(model).classification

    def prepare(self, batch: dict, replica: tf.distribute.ReplicaContext) -> dict:
        """Returns the batch of a replica; nothing depends on the global batch."""
        del replica
        return batch

    def sums(self, batch: dict, seed: tf.Tensor) -> Sums:
        """Computes the loss of a batch of `tagged_dataset`."""
        del seed
        scores = self.model(batch["image"], training=True)
        tags, known = batch["tags"], batch["known"]
        loss, count = class_pairs.tag_crossentropy(tags, scores, known)
        return Sums(loss, count, {})

    def evaluated(self, model: keras.Model) -> keras.Model:
        """Returns the model that validations evaluate."""
        return model


def tagged_dataset(
    reader: pipeline.ImageReader,
    augmentation: augment.Augmentation,
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    order: Sequence[int] | np.ndarray | None = None,
    shard: pipeline.InputShard | None = None,
) -> tf.data.Dataset:
    """Returns an endless dataset of batches with image-level classes.

    A crop keeps the classes of its image, so it should show most of it.

    Args:
        reader: Reader of the split; labels are not read.
        augmentation: Ranges of the augmentation.
        batch_size: See `pipeline.training_dataset`, as the other arguments.
        seed: Seed of order and augmentation.
        start: Position of the first image.
        order: Record indices of an epoch, or None.
        shard: The images of this worker.

    Returns:
        Dataset of dicts: "image" uint8 `[batch, height, width, 3]`, "tags" float32
        `[batch, num_classes - 1]`, 1 for a class that the image shows; "known" bool
        `[batch]`, false for a damaged record that is skipped; "name" string `[batch]`.
    """
    shapes = {
        "image": [batch_size, *augmentation.crop_size, 3],
        "tags": [batch_size, reader.split.spec.num_classes - 1],
        "known": [batch_size],
        "name": [batch_size],
    }

    def load_batch(positions, indices):
        def read(*arrays):
            items = [
                _read(reader, augmentation, (seed, int(position)), index)
                for position, index in zip(*arrays, strict=True)
            ]
            return [np.stack(part) for part in zip(*items, strict=True)]

        types = [tf.uint8, tf.float32, tf.bool, tf.string]
        arrays = tf.numpy_function(read, [positions, indices], types, stateful=False)
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
        order=order,
        shard=shard or pipeline.InputShard(batch_size),
    )


def _read(reader, augmentation, key, index):
    image, name = reader.read_image(index)
    tags = reader.read_tags(index)
    inside = np.zeros(image.shape[:2], np.uint8)
    rng = np.random.default_rng(key)
    image, _ = augment.augment(image, inside, augmentation, rng)
    image = augmentations.change_colors(image, augmentation.augmentations, key)
    known = tags is not None
    tags = tags if known else np.zeros(reader.split.spec.num_classes)
    return image, np.float32(tags[1:]), np.array(known), np.array(name.encode())
