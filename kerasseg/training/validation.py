"""Validation during training, which keeps the best model."""

import math
from collections.abc import Callable

import keras

from kerasseg import backbones, pipeline
from kerasseg.pipeline import augment
from kerasseg.system import progress
from kerasseg.training.logs import RunLog
from kerasseg.training.state import TrainState
from kerasseg.training.tasks import Task
from kerasseg.workdir import best_model, metadata


class _Stopped(Exception):  # noqa: N818 - not an error.
    """Ends a validation early."""


class Validation:
    """Evaluates the model and keeps the best one.

    Args:
        state: The training state; its history is updated.
        reader: Reader of the split.
        network_metadata: The entries "model", "num_classes" and "options" of
            `metadata.read_metadata`.
        folder: Folder of the best model.
        log: Log of the run.
        local_copy: Model with the state's variables on this machine, where others hold
            them; its weights are copied before each validation. None elsewhere.
        task: What is scored.
        augmentation: Augmentation of the training images.
        evaluated: Function of the model to the model that is evaluated in its place.
        limit: Number of images of a validation; None for the whole split.
        loss: Function of the model to a function that returns its `ValidationLoss`;
            None if the scores have no loss.
    """

    def __init__(
        self,
        state: TrainState,
        reader: pipeline.ImageReader,
        network_metadata: dict,
        *,
        folder: str,
        log: RunLog,
        local_copy: keras.Model | None = None,
        task: Task,
        augmentation: augment.Augmentation,
        evaluated: Callable[[keras.Model], keras.Model],
        limit: int | None = None,
        loss: Callable[[keras.Model], Callable[[], float]] | None = None,
    ):
        self._state, self._reader = state, reader
        self._network_metadata = {
            **network_metadata,
            **task.prediction_options(augmentation),
        }
        self._folder, self._log, self._limit = folder, log, limit
        self._copy = local_copy
        self._model = local_copy or state.evaluated_model
        self._task = task
        self._scores = task.scorer(evaluated(self._model), augmentation)
        self._loss = loss and loss(self._model)

    def run(self, rate: float, *, stopped: Callable[[], bool]) -> dict | None:
        """Evaluates the state after its last update.

        Args:
            rate: Learning rate of that update.
            stopped: Returns whether to stop; called after each batch.

        Returns:
            The scores, and "loss" where it is computed; None where it was stopped, and
            nothing has changed.
        """
        if self._copy is not None:
            backbones.copy_weights(self._state.evaluated_model, self._copy)

        def on_batch(batch, masks):
            if stopped():
                raise _Stopped
            self._log.keep_images(batch, masks)

        try:
            scores = self._scores(self._reader, limit=self._limit, on_batch=on_batch)
        except _Stopped:
            self._log.drop_images()
            return None
        step, history = self._state.step, self._state.history
        score = scores[self._task.score]
        loss, unlabeled = history.take_losses()
        note = f", {unlabeled} batches without a label" if unlabeled else ""
        values = [f"{name} {scores[k]:.4f}" for k, name in self._task.shown.items()]
        progress.log(f"step {step}: loss {loss:.4f}, {', '.join(values)}{note}")
        if math.isnan(score) or score >= self._score_to_beat():
            best = {**self._network_metadata, "step": step, "scores": scores}
            best_model.save_best(self._folder, self._model, best)
        history.add_score(step, score)
        losses = {"loss": self._loss()} if self._loss else {}
        self._log.add_validation(step, loss, rate, {**scores, **losses})
        return {**scores, **losses}

    def _score_to_beat(self):
        """Returns the best score so far, without steps that are now repeated."""
        try:
            best = metadata.read_metadata(self._folder)
        except ValueError:  # None yet, or damaged.
            return -1.0
        if best["step"] < self._state.step:
            return best["scores"][self._task.score]
        return self._state.history.best
