"""The data of a training run: its records, and batches of them without end."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from kerasseg import errors, images, pipeline, records
from kerasseg.distribution import WorkerGroup
from kerasseg.pipeline import augment
from kerasseg.training.few_labels import METHODS, NO_METHOD, FewLabels
from kerasseg.training.few_labels.options import NO_STAGE
from kerasseg.training.recipe import Recipe
from kerasseg.training.tasks import Task

_NUM_READ = 100  # Records that are searched for image-level classes.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """The records of a run.

    Attributes:
        records_dir: Folder of TFRecords.
        train_split: Split to train on.
        eval_split: Split of the validations.
        dataset: Name of the data set, where the records have no dataset.json.
        allow_others: Whether a run may be resumed on other records.
        labeled_list: File with the names of the images of `train_split` whose labels
            are used; None for the list in the records, or for all images.
        unlabeled_records_dir: Folder of TFRecords whose labels are not read, if they
            have any. None for the images of `train_split` outside of its list of
            labeled images.
        unlabeled_split: Their split.
    """

    records_dir: str
    train_split: str = "train"
    eval_split: str = "val"
    dataset: str | None = None
    allow_others: bool = False
    labeled_list: str | None = None
    unlabeled_records_dir: str | None = None
    unlabeled_split: str = "train"

    def open(self, field: str, skip_bad: int = 0) -> pipeline.ImageReader:
        """Opens the split that a field names.

        Args:
            field: "train_split" or "eval_split".
            skip_bad: Number of damaged records that are skipped.

        Raises:
            errors.MissingFileError: The records or the split are missing.
            errors.UserError: The records are damaged or of another data set, or the
                split is empty: it is better to know before the first validation.
        """
        split = getattr(self, field)
        opened = records.open_split(
            self.records_dir,
            split,
            dataset=self.dataset,
            labeled_list=self.labeled_list if field == "train_split" else None,
        )
        if not len(opened):
            raise errors.UserError(
                f"The split '{split}' has no records. Choose another `{field}`, or "
                f"build the records again."
            )
        return pipeline.ImageReader(opened, skip_bad=skip_bad)

    def open_unlabeled(
        self, labeled: pipeline.ImageReader, recipe: Recipe, few_labels: FewLabels
    ) -> "Unlabeled | None":
        """Opens the images without labels; None if no method learns from them.

        Args:
            labeled: Reader of the training split.
            recipe: The hyperparameters.
            few_labels: The method.

        Raises:
            errors.MissingFileError: The records or the split are missing.
            errors.UserError: They are damaged, there is no image without a label, or
                the method needs image-level classes and none are found.
        """
        if few_labels.semi == NO_METHOD:
            return None
        batch_size = few_labels.unlabeled_batch_size or recipe.train_batch_size
        if self.unlabeled_records_dir is None:
            order = pipeline.unlabeled_order(labeled)
            _check_tags(labeled, order, few_labels)
            return Unlabeled(labeled, order, batch_size)
        opened = records.open_split(self.unlabeled_records_dir, self.unlabeled_split)
        if not len(opened):
            raise errors.UserError(
                f"The split '{self.unlabeled_split}' of {self.unlabeled_records_dir} "
                f"has no records. Choose another `unlabeled_split`."
            )
        reader = pipeline.ImageReader(opened, skip_bad=recipe.skip_bad_records)
        images.check_same(labeled.kind, reader.kind, "The images without labels")
        order = np.arange(len(opened))
        _check_tags(reader, order, few_labels)
        return Unlabeled(reader, order, batch_size)


def check_kinds(
    kind: images.ImageKind, network_kind: str, few_labels: FewLabels
) -> None:
    """Checks that what is trained takes images of a kind.

    Args:
        kind: Channels and type of the images.
        network_kind: One of `models.KINDS`.
        few_labels: How few labels are learned from.

    Raises:
        errors.UserError: It takes 8-bit RGB only.
    """
    if kind.is_rgb:
        return
    for name, without in (("semi", NO_METHOD), ("stage", NO_STAGE)):
        value = getattr(few_labels, name)
        if value != without:
            raise errors.UserError(
                f"`{name}={value}` learns from images of 8-bit RGB, and these are "
                f"{kind}. Leave `{name}` out."
            )
    if network_kind == "instance":
        raise errors.UserError(
            f"Networks that detect objects take images of 8-bit RGB, and these are "
            f"{kind}. Choose a `model` that predicts the class of each pixel, or build "
            "the records as RGB."
        )


@dataclasses.dataclass(frozen=True)
class Unlabeled:
    """Images whose labels are not read.

    Attributes:
        reader: Their reader.
        indices: Indices of their records.
        batch_size: Number of images per step, over all devices.
    """

    reader: pipeline.ImageReader
    indices: np.ndarray
    batch_size: int


def _check_tags(reader, indices, few_labels):
    """Refuses records without image-level classes for a method that needs them."""
    method: Any = METHODS.lookup(few_labels.semi)
    if not method.needs_tags:
        return
    read = indices[:: max(1, len(indices) // _NUM_READ)]
    if all(reader.read_tags(i) is None for i in read):
        raise errors.UserError(
            f"`semi={few_labels.semi}` learns image-level classes, and the records of "
            f"{len(read)} images without labels that were read have none. Build the "
            f"records with `image_classes`, or from labels."
        )


def training_batches(
    reader: pipeline.ImageReader,
    augmentation: augment.Augmentation,
    recipe: Recipe,
    *,
    seed: int,
    step: int,
    task: Task,
    objective,
    strategy: tf.distribute.Strategy,
    group: WorkerGroup,
    unlabeled: Unlabeled | None = None,
) -> tuple[Iterator[dict], float]:
    """Returns the batches from a step on, without end, and the steps of an epoch.

    Args:
        reader: Reader of the training split.
        augmentation: Augmentation of the images.
        recipe: The hyperparameters.
        seed: Seed of order and augmentation.
        step: Number of updates so far.
        task: What is trained.
        objective: Its loss.
        strategy: The strategy of the run.
        group: The workers of the run.
        unlabeled: Images without labels, or None.
    """
    repeats = recipe.repeats()
    order = pipeline.oversample(reader, *repeats) if repeats else None
    order = task.order(reader, order)
    num_images = len(reader.split) if order is None else len(order)
    batch_size = recipe.train_batch_size

    def options(context, batch_size):
        return {
            "batch_size": context.get_per_replica_batch_size(batch_size),
            "seed": seed,
            "start": step * batch_size,
            "shard": pipeline.InputShard(
                batch_size, context.input_pipeline_id, context.num_input_pipelines
            ),
        }

    def per_worker(context):
        labeled = task.training_dataset(
            reader,
            augmentation,
            objective,
            recipe,
            order=order,
            **options(context, batch_size),
        )
        if unlabeled is None:
            return labeled
        others = pipeline.unlabeled_dataset(
            unlabeled.reader,
            augmentation,
            objective.method.views,
            order=unlabeled.indices,
            **options(context, unlabeled.batch_size),
        )
        return tf.data.Dataset.zip(labeled, others).map(lambda a, b: {**a, **b})

    if group.is_asynchronous:  # Batches are read here and sent to free workers.
        dataset = per_worker(tf.distribute.InputContext())
    else:
        dataset = strategy.distribute_datasets_from_function(per_worker)

    readers = [reader, *([unlabeled.reader] if unlabeled else [])]

    def batches():
        iterator = iter(dataset)
        while True:
            with contextlib.ExitStack() as stack:
                for each in readers:
                    stack.enter_context(each.reraise_errors())
                batch = next(iterator)
            yield batch

    return batches(), num_images / batch_size
