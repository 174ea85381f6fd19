"""Scores during training, and the best model of them."""

import math

import numpy as np

from kerasseg import checkpoints, evaluation, inference, progress


class Validation:
    """Scores the model now and then and keeps the best one.

    Args:
        reader: `pipeline.PictureReader` of the split.
        network: `training.Network`, what is trained.
        workdir: Folder of the run.
        log: `logs.RunLog`.
        scored: What stands in for the model where it is scored; None for itself.
        limit: Pictures of a validation; None for the whole split.

    Attributes:
        losses: Training losses since the last validation.
    """

    def __init__(self, reader, network, workdir, log, *, scored=None, limit=None):
        self._reader = reader
        self._network = network
        self._workdir = workdir
        self._log = log
        self._scored = scored
        self._limit = limit
        self._last: tuple | None = None
        self.losses: list[float] = []

    def run(self, step, model, rate) -> None:
        """Scores `model` after `step` updates, the last one at learning rate `rate`."""
        predictor = self._predictor(self._scored or model)
        scores = evaluation.evaluate(
            predictor, self._reader, limit=self._limit, on_batch=self._log.draw
        ).scores
        loss = float(np.mean(self.losses)) if self.losses else math.nan
        self.losses.clear()
        progress.say(
            f"step {step}: loss {loss:.4f}, mean IoU {scores['mean_iou']:.4f}, "
            f"pixel accuracy {scores['pixel_accuracy']:.4f}"
        )
        if scores["mean_iou"] >= self._score_to_beat(step):
            facts = {
                "model": self._network.name,
                "num_classes": self._reader.split.spec.num_classes,
                "options": dict(self._network.options),
                "step": step,
                "scores": scores,
            }
            checkpoints.save_best(self._workdir, model, facts)
        self._log.validation(step, loss, rate, scores)

    def _predictor(self, model):
        """Keeps the last one: a model is compiled once, not at every validation."""
        if self._last is None or self._last[0] is not model:
            self._last = model, inference.Predictor(model)
        return self._last[1]

    def _score_to_beat(self, step):
        """What a part of the run that is now repeated had found is no bar."""
        try:
            facts = checkpoints.read_best_facts(self._workdir)
        except FileNotFoundError:
            return -1.0
        return facts["scores"]["mean_iou"] if facts["step"] < step else -1.0
