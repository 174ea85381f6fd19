"""What a run prints before its first step: what is trained, on what, and where."""

import math
import os
from typing import NamedTuple

from kerasseg import pipeline, runtime
from kerasseg.distribution import WorkerGroup
from kerasseg.system import progress
from kerasseg.training.data import Unlabeled
from kerasseg.training.few_labels import FewLabels
from kerasseg.training.recipe import Recipe
from kerasseg.training.state import TrainState


class Start(NamedTuple):
    """What a run trains on, and how.

    Attributes:
        recipe: The hyperparameters.
        few_labels: How images without labels are learned from.
        reader: Reader of the training split.
        eval_reader: Reader of the validation split.
        unlabeled: The images without labels, or None.
    """

    recipe: Recipe
    few_labels: FewLabels
    reader: pipeline.ImageReader
    eval_reader: pipeline.ImageReader
    unlabeled: Unlabeled | None = None


def log(
    state: TrainState,
    start: Start,
    crop_size: tuple[int, int],
    steps_per_epoch: float,
    *,
    workdir: str | os.PathLike,
    group: WorkerGroup,
) -> None:
    """Prints network, data, steps, devices and workdir, a line each, on the chief.

    Args:
        state: The training state, restored.
        start: What the run trains on.
        crop_size: Height and width of the training images.
        steps_per_epoch: Number of steps of an epoch.
        workdir: Folder of the run.
        group: The workers of the run.
    """
    if not group.is_chief:
        return
    trained = {id(v) for v in state.optimizer.trainable_variables}
    weights = [v for v in state.model.trainable_weights if id(v) in trained]
    trainable = sum(math.prod(v.shape) for v in weights)
    recipe, readers = start.recipe, (start.reader, start.eval_reader)
    spec = start.reader.split.spec
    images = ", ".join(f"{r.split.name}: {len(r.split):,}" for r in readers)
    steps = recipe.training_number_of_steps
    lines = [
        f"Network: {state.model.name}, {state.model.count_params():,} parameters "
        f"(trainable: {trainable:,}), classes: {spec.num_classes}",
        f"Data: {spec.name}, images in {images}; crop size: {crop_size[0]} x "
        f"{crop_size[1]}, batch size: {recipe.train_batch_size}",
        *_labels(start.reader, start.few_labels, start.unlabeled),
        f"Steps: {steps:,} (epochs: {steps / steps_per_epoch:.1f})"
        + (f", resumed at step {state.step:,}" if state.step else ""),
        f"Devices: {_devices(group)}",
        f"Workdir: {os.path.abspath(workdir)}",
    ]
    for line in lines:
        progress.log(line)


def _labels(reader, few_labels, unlabeled):
    """Returns a line if some images are learned without labels, or not at all."""
    if few_labels.learns_tags:
        return []
    order = pipeline.labeled_order(reader)
    if order is None and unlabeled is None:
        return []
    labeled = len(reader.split) if order is None else len(order)
    without = 0 if unlabeled is None else len(unlabeled.indices)
    return [
        f"Training images: {labeled:,} labeled, {without:,} without labels (semi: "
        f"{few_labels.semi})"
    ]


def _devices(group):
    kind = "GPU" if runtime.has_gpu() else "CPU"
    if group.is_asynchronous:
        return f"{kind}, asynchronous workers: {group.num_served}"
    replicas = group.local_replicas * group.size
    workers = f", workers: {group.size}" if group.size > 1 else ""
    return f"{replicas} x {kind}{workers}"
