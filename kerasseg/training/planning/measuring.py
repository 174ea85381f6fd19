"""Measures the seconds of training steps and predictions on this machine."""

import contextlib
import dataclasses
import gc
import os
import tempfile
import time
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from kerasseg import evaluation, inference, models
from kerasseg.distribution import WorkerGroup
from kerasseg.system import option_values
from kerasseg.training import run
from kerasseg.training.augmentation_options import AugmentationOptions
from kerasseg.training.data import Data, training_batches
from kerasseg.training.few_labels import FewLabels, stages
from kerasseg.training.network import Builder, Network
from kerasseg.training.planning.budget import Costs
from kerasseg.training.planning.design import Design
from kerasseg.training.recipe import Recipe
from kerasseg.training.step import StepFunction

_SKIPPED = 1  # Steps after the first one that are not counted: buffers fill.
_MIN_STEPS = 3
_IMAGES = 3  # Validation images that are predicted and scored.


def measure(
    design: Design, data: Data, *, seconds: float, elapsed: float, start: float
) -> Costs | None:
    """Trains some steps of a design, and predicts some validation images.

    Nothing is kept.

    Args:
        design: Network, crop and batch.
        data: The records.
        seconds: How long steps are measured, after the first one.
        elapsed: See `Costs`; this measurement is added.
        start: See `Costs`.

    Returns:
        The costs; None if the step did not fit into the memory of the GPU.

    Raises:
        errors.UserError: The records are damaged.
    """
    began = time.perf_counter()
    try:
        values = _measure(design, data, seconds)
    except tf.errors.ResourceExhaustedError:
        return None
    finally:
        keras.backend.clear_session()
        gc.collect()
    costs = Costs(elapsed=0.0, start=start, **values)
    taken = time.perf_counter() - began
    return dataclasses.replace(costs, elapsed=elapsed + taken)


def _measure(design, data, seconds):
    timed: dict[str, float] = {}
    recipe = Recipe(
        train_batch_size=design.batch_size,
        optimizer="adamw",
        head_learning_rate_factor=design.network.head_learning_rate_factor,
        base_learning_rate=1e-5,
        ema_decay=0.9,
    )
    images = AugmentationOptions(
        train_crop_size=",".join(map(str, design.crop)),
        augmentations="hsv_jitter:0.5,gaussian_blur:0.25,cutmix:0.5",
    )
    reader, eval_reader = data.open("train_split"), data.open("eval_split")
    builder = models.metadata(design.network.model).builder
    options = option_values.parse(builder, design.network.options)
    network = Network(
        Builder(design.network.model, options), reader.split.spec.num_classes
    )
    with _timed(timed, "build"):
        weights = np.ones(reader.split.spec.num_classes)
        state, objective = run.create_state(network, recipe, weights)
    batches, _ = training_batches(
        reader,
        images.augmentation(),
        recipe,
        seed=1,
        step=0,
        task=stages.task(network.kind, FewLabels()),
        objective=objective,
        strategy=tf.distribute.get_strategy(),
        group=WorkerGroup(tf.distribute.get_strategy()),
    )
    step_function = StepFunction(state, objective, recipe, tf.distribute.get_strategy())

    def take_step(i):
        batch = next(batches)
        batch.pop("name", None)
        float(step_function(batch, tf.constant(i, tf.int64)).loss)

    timed["step"] = _time_steps(take_step, seconds, timed)
    _time_predictions(state.evaluated_model, eval_reader, timed)
    return timed


def _time_steps(take_step, seconds, timed):
    """Returns the mean seconds of a step, and notes those of the first one."""
    with _timed(timed, "first_step"):
        take_step(0)
    for i in range(_SKIPPED):
        take_step(1 + i)
    began, count = time.perf_counter(), 0
    while count < _MIN_STEPS or time.perf_counter() - began < seconds:
        take_step(1 + _SKIPPED + count)
        count += 1
    return (time.perf_counter() - began) / count


def _time_predictions(model, reader, timed):
    predictor = inference.Predictor(model)
    count = min(_IMAGES, len(reader.split))
    with _timed(timed, "first_image"):
        evaluation.evaluate(predictor, reader, limit=1)
    with _timed(timed, "image", count):
        evaluation.evaluate(predictor, reader, limit=count)
    with _timed(timed, "scored_image", count):
        evaluation.evaluate(
            predictor, reader, limit=count, measures=evaluation.MEASURE_NAMES
        )
    with tempfile.TemporaryDirectory() as folder, _timed(timed, "save"):
        model.save(os.path.join(folder, "model.keras"))


@contextlib.contextmanager
def _timed(timed: dict[str, float], name: str, count: int = 1) -> Iterator[None]:
    """Notes the seconds of a block, divided by a count."""
    began = time.perf_counter()
    yield
    timed[name] = (time.perf_counter() - began) / count
