"""The state of a training run: exactly what a checkpoint holds."""

import dataclasses
import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from kerasseg.training.optimizers import GroupedOptimizer, JoinedOptimizer

_NO_SCORE = -1.0  # Below any score.


@dataclasses.dataclass
class TrainState:
    """Everything that training changes.

    Attributes:
        model: The network that is trained.
        optimizer: Its optimizer, with the state of each group.
        ema: Copy of the model with the moving average of its weights; None without.
        loss_scale: Factor of the loss, against float16 gradients that underflow.
        history: Losses since the last validation and the best score.
        beside: Networks that are trained beside the model, such as a discriminator.
        step: Number of updates so far. A checkpoint holds it in its file name.
    """

    model: keras.Model
    optimizer: GroupedOptimizer | JoinedOptimizer
    ema: keras.Model | None
    loss_scale: "LossScale"
    history: "History"
    beside: Sequence[keras.Model] = ()
    step: int = 0

    @property
    def evaluated_model(self) -> keras.Model:
        """The model that validations evaluate and that is kept as the best one."""
        return self.model if self.ema is None else self.ema

    def variables(self) -> dict:
        """Returns all variables by their names in a checkpoint."""
        groups = {
            "model": self.model.variables,
            "optimizer": self.optimizer.variables,
            "average": [] if self.ema is None else self.ema.variables,
            "beside": [v for network in self.beside for v in network.variables],
        }
        named = {
            f"{group}/{i:05d}/{variable.path}": variable
            for group, variables in groups.items()
            for i, variable in enumerate(variables)
        }
        return {**named, **self.loss_scale.variables, **self.history.variables}


class LossScale:
    """Dynamic loss scale: halved on an overflow, doubled after steps without one.

    Args:
        enabled: Whether gradients are float16; otherwise the scale stays 1.
    """

    SMALLEST = 1.0
    _LARGEST = 2.0**15
    _GROWTH_STEPS = 2000  # Steps without an overflow before the scale doubles.

    def __init__(self, *, enabled: bool):
        self.enabled = enabled
        start = self._LARGEST if enabled else self.SMALLEST
        self.value = tf.Variable(start, trainable=False, dtype=tf.float32)
        self._good_steps = tf.Variable(0, trainable=False, dtype=tf.int64)

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """Variables by their names in a checkpoint."""
        return {"loss_scale": self.value, "good_steps": self._good_steps}

    def update(self, finite: tf.Tensor) -> None:
        """Adapts the scale after a step.

        Args:
            finite: Whether the gradients of the step were finite, bool scalar.
        """
        if not self.enabled:
            return
        good_steps = tf.where(finite, self._good_steps + 1, 0)
        grow = good_steps >= self._GROWTH_STEPS
        scale = tf.where(finite, tf.where(grow, 2.0, 1.0), 0.5) * self.value
        self.value.assign(tf.clip_by_value(scale, self.SMALLEST, self._LARGEST))
        self._good_steps.assign(tf.where(grow, tf.zeros_like(good_steps), good_steps))


class History:
    """Losses since the last validation, the best score, and its age.

    With it a resumed run decides as one that was never interrupted.

    Attributes:
        variables: Variables by their names in a checkpoint.
    """

    def __init__(self):
        self.variables = {
            name: tf.Variable(start, trainable=False)
            for name, start in {
                "history/loss": tf.zeros((), tf.float64),
                "history/steps": tf.zeros((), tf.int64),
                "history/unlabelled": tf.zeros((), tf.int64),
                "history/validated": tf.zeros((), tf.int64),
                "history/best": tf.fill((), tf.constant(_NO_SCORE, tf.float64)),
                "history/waited": tf.zeros((), tf.int64),
            }.items()
        }

    def add_loss(self, loss: float, *, labeled: bool) -> None:
        """Counts a step; a batch without a labeled pixel has no loss."""
        if labeled:
            self._set("loss", self._get("loss") + loss)
            self._set("steps", self._get("steps") + 1)
        else:
            self._set("unlabelled", self._get("unlabelled") + 1)

    def take_losses(self) -> tuple[float, int]:
        """Returns the mean loss since the last call, and the batches without a loss.

        The mean is NaN if no batch had a labeled pixel.
        """
        steps, unlabeled = self._get("steps"), self._get("unlabelled")
        mean = self._get("loss") / steps if steps else math.nan
        self._set("loss", 0.0)
        self._set("steps", 0)
        self._set("unlabelled", 0)
        return mean, unlabeled

    @property
    def validated(self) -> int:
        """Step of the last validation, 0 before the first."""
        return self._get("validated")

    @property
    def best(self) -> float:
        """Best score so far, below 0 before the first."""
        return self._get("best")

    @property
    def waited(self) -> int:
        """Number of validations since the best score."""
        return self._get("waited")

    def add_score(self, step: int, score: float) -> None:
        """Notes the score of a validation; NaN is below any other score."""
        self._set("validated", step)
        better = score > self.best
        self._set("waited", 0 if better else self.waited + 1)
        if better:
            self._set("best", score)

    def _get(self, name):
        return self.variables[f"history/{name}"].numpy().item()

    def _set(self, name, value):
        self.variables[f"history/{name}"].assign(value)
