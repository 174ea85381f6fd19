"""The data of a training run: its records, and batches of them without end."""

import dataclasses
from collections.abc import Iterator

import tensorflow as tf

from kerasseg import errors, pipeline, records
from kerasseg.distribution import WorkerGroup
from kerasseg.pipeline import augment
from kerasseg.training.recipe import Recipe
from kerasseg.training.tasks import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """The records of a run.

    Attributes:
        records_dir: Folder of TFRecords.
        train_split: Split to train on.
        eval_split: Split of the validations.
        dataset: Name of the data set, where the records have no dataset.json.
        allow_others: Whether a run may be resumed on other records.
    """

    records_dir: str
    train_split: str = "train"
    eval_split: str = "val"
    dataset: str | None = None
    allow_others: bool = False

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
        opened = records.open_split(self.records_dir, split, dataset=self.dataset)
        if not len(opened):
            raise errors.UserError(
                f"The split '{split}' has no records. Choose another `{field}`, or "
                f"build the records again."
            )
        return pipeline.ImageReader(opened, skip_bad=skip_bad)


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
    """
    repeats = recipe.repeats()
    order = pipeline.oversample(reader, *repeats) if repeats else None
    num_images = len(reader.split) if order is None else len(order)
    batch_size = recipe.train_batch_size

    def per_worker(context):
        return task.training_dataset(
            reader,
            augmentation,
            objective,
            recipe,
            batch_size=context.get_per_replica_batch_size(batch_size),
            seed=seed,
            start=step * batch_size,
            order=order,
            shard=pipeline.InputShard(
                batch_size, context.input_pipeline_id, context.num_input_pipelines
            ),
        )

    if group.is_asynchronous:  # Batches are read here and sent to free workers.
        dataset = per_worker(tf.distribute.InputContext())
    else:
        dataset = strategy.distribute_datasets_from_function(per_worker)

    def batches():
        iterator = iter(dataset)
        while True:
            with reader.reraise_errors():
                batch = next(iterator)
            yield batch

    return batches(), num_images / batch_size
