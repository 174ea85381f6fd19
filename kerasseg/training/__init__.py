"""Trains a network: the one place where model, data and loss meet."""

import dataclasses

import keras
import tensorflow as tf

from kerasseg import pipeline, records
from kerasseg.training.augmentation_flags import AugmentationFlags
from kerasseg.training.loop import Loop
from kerasseg.training.recipe import Recipe
from kerasseg.training.run import Run
from kerasseg.training.signals import Interrupted

__all__ = ["AugmentationFlags", "Data", "Interrupted", "Network", "Recipe", "train"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """What is trained.

    Attributes:
        name: Architecture, see `models.list_models`.
        options: Of its builder.
        initial_checkpoint: A workdir or `.keras` file whose weights it starts from.
    """

    name: str
    options: dict = dataclasses.field(default_factory=dict)
    initial_checkpoint: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """What it is trained and scored on.

    Attributes:
        records_dir: Folder of TFRecords.
        train_split: Split to train on.
        eval_split: Split of the validations.
        dataset: Name of the data set, where the records hold no dataset.json.
        allow_others: Go on although the run began with other records.
    """

    records_dir: str
    train_split: str = "train"
    eval_split: str = "val"
    dataset: str | None = None
    allow_others: bool = False

    def reader(self, split, skip_bad=0) -> pipeline.ImageReader:
        """Opens a split; see `records.open_split` for what it raises."""
        opened = records.open_split(self.records_dir, split, dataset=self.dataset)
        return pipeline.ImageReader(opened, skip_bad=skip_bad)


def train(
    network: Network,
    data: Data,
    recipe: Recipe,
    augmentation,
    *,
    workdir,
    seed=1,
    strategy=None,
) -> dict | None:
    """Trains until the recipe's last step, or goes on where the workdir ends.

    Args:
        network: What is trained.
        data: On what.
        recipe: How.
        augmentation: `augment.Augmentation` of the training pictures.
        workdir: Folder of the run; see `checkpoints`.
        seed: Start of weights, order and augmentation.
        strategy: `tf.distribute.Strategy`; None for one device.

    Returns:
        Facts of the best model, see `best_model.read_metadata`; None on a worker
        that does not write.

    Raises:
        ValueError: The data are damaged or others than before, the options do not
            fit, or the loss is no finite number; no checkpoint holds what such a loss
            would make of the weights.
        OSError: A checkpoint or the best model could not be written; the one before is
            whole.
        Interrupted: SIGINT, SIGTERM or SIGHUP came, to any worker; the run can be
            resumed.
        distribution.WorkerLostError: Another worker ended or failed, or a parameter
            server; likewise.
    """
    run = Run(network, data, recipe, augmentation, workdir, seed, strategy)
    run.check_records()
    previous = keras.config.dtype_policy()
    if recipe.mixed_precision != "none":
        keras.config.set_dtype_policy(f"mixed_{recipe.mixed_precision}")
    try:
        run.build()
        return Loop(run)()
    except tf.errors.OpError as error:
        if lost := run.team.lost(error):
            raise lost from error
        raise
    except Exception as error:
        if not isinstance(error, Interrupted):
            run.team.report(error)
        raise
    finally:
        keras.config.set_dtype_policy(previous)
