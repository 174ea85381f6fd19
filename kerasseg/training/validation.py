"""Scores during training, and the best model of them."""

import math
from collections.abc import Callable

from kerasseg import evaluation, inference
from kerasseg.system import progress
from kerasseg.workdir import best_model


class _Stopped(Exception):  # noqa: N818 - not an error.
    """Raised within a validation to leave it."""


class Validation:
    """Scores the model now and then and keeps the best one.

    Args:
        reader: `pipeline.ImageReader` of the split.
        network: `training.Network`, what is trained.
        workdir: Folder of the run.
        log: `logs.RunLog`.
        history: `history.History` of the run.
        scored: What stands in for the model where it is scored; None for itself.
        limit: Pictures of a validation; None for the whole split.
    """

    def __init__(
        self, reader, network, workdir, log, *, history, scored=None, limit=None
    ):
        self._reader = reader
        self._network = network
        self._workdir = workdir
        self._log = log
        self._history = history
        self._scored = scored
        self._limit = limit
        self._last: tuple | None = None

    def run(self, step, model, rate, *, stopped: Callable[[], bool]) -> bool:
        """Scores `model` after `step` updates, the last one at learning rate `rate`.

        Args:
            step: Updates so far.
            model: What is scored, and kept where it is the best.
            rate: Learning rate.
            stopped: Asked at every batch whether to leave.

        Returns:
            Whether it came to its end; else nothing has changed.
        """
        predictor = self._predictor(self._scored or model)

        def on_batch(*drawn):
            if stopped():
                raise _Stopped
            self._log.draw(*drawn)

        try:
            scores = evaluation.evaluate(
                predictor, self._reader, limit=self._limit, on_batch=on_batch
            ).scores
        except _Stopped:
            self._log.forget_drawn()
            return False
        score = scores["mean_iou"]
        loss, unlabelled = self._history.take_losses()
        note = f", {unlabelled} batches without a label" if unlabelled else ""
        progress.log(
            f"step {step}: loss {loss:.4f}, mean IoU {score:.4f}, "
            f"pixel accuracy {scores['pixel_accuracy']:.4f}{note}"
        )
        if math.isnan(score) or score >= self._score_to_beat(step):
            facts = {
                "model": self._network.name,
                "num_classes": self._reader.split.spec.num_classes,
                "options": dict(self._network.options),
                "step": step,
                "scores": scores,
            }
            best_model.save_best(self._workdir, model, facts)
        self._history.add_score(step, score)
        self._log.validation(step, loss, rate, scores)
        return True

    def _predictor(self, model):
        """Keeps the last one: a model is compiled once, not at every validation."""
        if self._last is None or self._last[0] is not model:
            self._last = model, inference.Predictor(model)
        return self._last[1]

    def _score_to_beat(self, step):
        """What a part of the run that is now repeated had found is no bar."""
        try:
            facts = best_model.read_metadata(self._workdir)
        except (FileNotFoundError, ValueError):  # None yet, or damaged: a whole one.
            return -1.0
        if facts["step"] < step:
            return facts["scores"]["mean_iou"]
        return self._history.best
