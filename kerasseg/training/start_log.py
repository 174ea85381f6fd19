"""What a run prints before its first step: what is trained, on what, and where."""

import math
import os
from typing import NamedTuple

from kerasseg import pipeline
from kerasseg.distribution import WorkerGroup
from kerasseg.system import progress, runtime
from kerasseg.training.data import Unlabeled
from kerasseg.training.few_labels import FewLabels
from kerasseg.training.network import Network
from kerasseg.training.recipe import Recipe
from kerasseg.training.state import TrainState
from kerasseg.workdir import layout


class Origin(NamedTuple):
    """Where the network and its weights come from.

    Attributes:
        network: Creates the models of the run.
        restored: Step of the checkpoint that was restored; None for a new run.
        initial_checkpoint: Where a new run gets its weights, or None.
    """

    network: Network
    restored: int | None = None
    initial_checkpoint: str | None = None


class Start(NamedTuple):
    """What a run trains on, and how.

    Attributes:
        recipe: The hyperparameters.
        few_labels: How images without labels are learned from.
        origin: Where the network comes from.
        reader: Reader of the training split.
        eval_reader: Reader of the validation split.
        unlabeled: The images without labels, or None.
    """

    recipe: Recipe
    few_labels: FewLabels
    origin: Origin
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
    """Prints network, weights, data, steps, devices and workdir, on the chief.

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
    kind = "" if spec.image_kind.is_rgb else f"({spec.image_kind}) "
    steps = recipe.training_number_of_steps
    lines = [
        f"Network: {state.model.name}, {state.model.count_params():,} parameters "
        f"(trainable: {trainable:,}), classes: {spec.num_classes}",
        *_encoder(start.origin),
        f"Weights: {_weights(start.origin, workdir)}",
        f"Data: {spec.name}, images {kind}in {images}; crop size: {crop_size[0]} x "
        f"{crop_size[1]}, batch size: {recipe.train_batch_size}",
        *_labels(start.reader, start.few_labels, start.unlabeled),
        f"Steps: {steps:,} (epochs: {steps / steps_per_epoch:.1f})"
        + (f", resumed at step {state.step:,}" if state.step else ""),
        f"Devices: {_devices(group)}",
        f"Workdir: {os.path.abspath(workdir)}",
    ]
    if state.step < steps:
        lines.append("Tracing the first step, which takes longer than the others.")
    for line in lines:
        progress.log(line)


def _encoder(origin):
    """Returns a line with the encoder, if it can be chosen, and its weights."""
    encoder = origin.network.encoder
    if encoder is None:
        return []
    name, weights = encoder
    if origin.restored is not None or origin.initial_checkpoint:
        return [f"Encoder: {name}"]  # Pretrained weights were not loaded.
    return [f"Encoder: {name}, pretrained weights: {weights or 'none'}"]


def _weights(origin, workdir):
    if origin.restored is not None:
        folder = os.path.join(os.path.abspath(workdir), layout.CHECKPOINTS)
        return f"restored from the checkpoint of step {origin.restored:,} in {folder}"
    if origin.initial_checkpoint:
        return f"initialized from {origin.initial_checkpoint}, as listed above"
    return "those of a new network"


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
