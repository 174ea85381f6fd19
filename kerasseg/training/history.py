"""What a run knows of its past, part of every checkpoint."""

import math

import tensorflow as tf

_NONE_YET = -1.0  # Below any score.


class History:
    """Losses since the last validation, the best score, and how long ago it was.

    A run that goes on decides as one that was never stopped.

    Attributes:
        variables: The state that a checkpoint must hold.
    """

    def __init__(self):
        self.variables = {
            name: tf.Variable(start, trainable=False)
            for name, start in {
                "history/loss": tf.zeros((), tf.float64),
                "history/steps": tf.zeros((), tf.int64),
                "history/unlabelled": tf.zeros((), tf.int64),
                "history/validated": tf.zeros((), tf.int64),
                "history/best": tf.fill((), tf.constant(_NONE_YET, tf.float64)),
                "history/waited": tf.zeros((), tf.int64),
            }.items()
        }

    def add_loss(self, loss: float, labelled: bool) -> None:
        """Counts a step; one without a labelled pixel has no loss."""
        if labelled:
            self._set("loss", self._get("loss") + loss)
            self._set("steps", self._get("steps") + 1)
        else:
            self._set("unlabelled", self._get("unlabelled") + 1)

    def take_losses(self) -> tuple[float, int]:
        """Returns the mean loss since it was last taken, and the batches without one.

        The mean is NaN where no batch had a labelled pixel.
        """
        steps, unlabelled = self._get("steps"), self._get("unlabelled")
        mean = self._get("loss") / steps if steps else math.nan
        self._set("loss", 0.0)
        self._set("steps", 0)
        self._set("unlabelled", 0)
        return mean, unlabelled

    @property
    def validated(self) -> int:
        """The step of the last validation, 0 before the first."""
        return self._get("validated")

    @property
    def best(self) -> float:
        """The best score so far, below 0 before the first."""
        return self._get("best")

    @property
    def waited(self) -> int:
        """Validations since the best score was reached."""
        return self._get("waited")

    def add_score(self, step: int, score: float) -> None:
        """Notes what a validation found; a score that is NaN is below any other."""
        self._set("validated", step)
        better = score > self.best
        self._set("waited", 0 if better else self.waited + 1)
        if better:
            self._set("best", score)

    def _get(self, name):
        return self.variables[f"history/{name}"].numpy().item()

    def _set(self, name, value):
        self.variables[f"history/{name}"].assign(value)
