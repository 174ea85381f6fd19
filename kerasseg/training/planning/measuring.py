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
from kerasseg.training.planning import design as designing
from kerasseg.training.planning.budget import Costs
from kerasseg.training.planning.design import Design
from kerasseg.training.planning.plan import AUGMENTATIONS
from kerasseg.training.recipe import Recipe
from kerasseg.training.step import StepFunction

_SKIPPED = 1  # Steps after the first one that are not counted: buffers fill.
_MIN_STEPS = 3
_IMAGES = 3  # Validation images that are predicted and scored.


class Probe:
    """Trains some steps of designs, and predicts some images. Nothing is kept.

    Args:
        network: The network of the designs.
        data: The records.
        start: See `Costs`.

    Attributes:
        costs: The measured seconds; those of `elapsed` are 0.

    Raises:
        errors.UserError: The records are damaged.
    """

    def __init__(self, network: designing.Network, data: Data, *, start: float):
        self._recipe = Recipe(
            optimizer="adamw",
            head_learning_rate_factor=network.head_learning_rate_factor,
            base_learning_rate=1e-5,
            ema_decay=0.9,
        )
        self._reader = data.open("train_split")
        function = models.metadata(network.model).builder
        options = option_values.parse(function, network.options)
        spec = self._reader.split.spec
        builder = Builder(network.model, options)
        self._network = Network.of_recipe(builder, spec, self._recipe)
        timed = {"elapsed": 0.0, "start": start, "first_step": 0.0, "step": 0.0}
        with _timed(timed, "build"):
            weights = np.ones(spec.num_classes)
            self._state, self._objective = run.create_state(
                self._network, self._recipe, weights
            )
        _time_predictions(self._state.evaluated_model, data.open("eval_split"), timed)
        self.costs = Costs(**timed)

    def measure(self, design: Design, seconds: float) -> bool:
        """Trains steps of a design, and adds their seconds to `costs`.

        Args:
            design: Crop and batch.
            seconds: How long steps are measured, after the first ones.

        Returns:
            Whether they fit into the memory of the GPU.
        """
        timed: dict[str, float] = {}
        try:
            timed["step"] = _time_steps(self._steps(design), seconds, timed)
        except tf.errors.ResourceExhaustedError:
            return False
        self.costs = dataclasses.replace(self.costs, **timed)
        return True

    def _steps(self, design):
        """Returns a function that takes a step."""
        recipe = dataclasses.replace(self._recipe, train_batch_size=design.batch_size)
        options = AugmentationOptions(
            train_crop_size=",".join(map(str, design.crop)),
            augmentations=AUGMENTATIONS,
        )
        strategy = tf.distribute.get_strategy()
        batches, _ = training_batches(
            self._reader,
            options.augmentation(),
            recipe,
            seed=1,
            step=0,
            task=stages.task(self._network.kind, FewLabels()),
            objective=self._objective,
            strategy=strategy,
            group=WorkerGroup(strategy),
        )
        function = StepFunction(self._state, self._objective, recipe, strategy)

        def take_step(i):
            batch = next(batches)
            batch.pop("name", None)
            float(function(batch, tf.constant(i, tf.int64)).loss)

        return take_step

    def close(self) -> None:
        """Frees the memory of the networks."""
        del self._state, self._objective
        keras.backend.clear_session()
        gc.collect()


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
    """Notes the seconds of predicting, scoring and saving."""
    predictor = inference.Predictor(model)
    count = min(_IMAGES, len(reader.split))

    def evaluate(limit, measures=()):
        evaluation.evaluate(predictor, reader, limit=limit, measures=measures)

    every = evaluation.MEASURE_NAMES
    with _timed(timed, "first_image"):
        evaluate(1)
    with _timed(timed, "image", count):
        evaluate(count)
    evaluate(1, every)  # Traces the network with probabilities.
    with _timed(timed, "scored_image", count):
        evaluate(count, every)
    with tempfile.TemporaryDirectory() as folder, _timed(timed, "save"):
        model.save(os.path.join(folder, "model.keras"))


@contextlib.contextmanager
def _timed(timed: dict[str, float], name: str, count: int = 1) -> Iterator[None]:
    """Notes the seconds of a block, divided by a count."""
    began = time.perf_counter()
    yield
    timed[name] = (time.perf_counter() - began) / count
