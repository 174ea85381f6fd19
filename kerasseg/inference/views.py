"""Whole pictures through a network: as they are, or at several scales and mirrored."""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from kerasseg import errors

# What the probabilities `[batch, height, width, num_classes]` are finished to.
_FINISH: dict[str, Callable] = {
    "classes": lambda p: [tf.cast(tf.argmax(p, -1, tf.int32), tf.uint8)],
    "confident_classes": lambda p: [*_FINISH["classes"](p), tf.reduce_max(p, -1)],
    "probabilities": lambda p: [p],
}


def finish(probabilities, wanted: str) -> list:
    """Turns probabilities into what is wanted.

    Args:
        probabilities: float32 `[..., num_classes]`.
        wanted: "classes" for the uint8 numbers of the best ones, "confident_classes"
            for these and their probabilities, "probabilities" for themselves.
    """
    return _FINISH[wanted](probabilities)


class Views:
    """Looks at whole pictures; see `Predictor` for the arguments."""

    def __init__(
        self, model: Callable, *, scales: Sequence[float], flip: bool, fusion: str
    ):
        if not scales or not all(0 < scale < math.inf for scale in scales):
            raise errors.UserError(
                f"scales={list(scales)}: give one or more numbers above 0, such as "
                f"0.5,1.0,1.5."
            )
        if fusion not in ("mean", "max"):
            raise errors.UserError(f"fusion={fusion!r}: 'mean' or 'max' is wanted.")
        self._model = model
        self._scales, self._flip, self._fusion = tuple(scales), flip, fusion

    @property
    def largest_scale(self) -> float:
        """At least 1, as what is said is brought to the picture's size."""
        return max(1, *self._scales)

    def logits(self, images):
        """Calls the network."""
        outputs = self._model(images, training=False)
        return outputs["logits"] if isinstance(outputs, dict) else outputs

    def look(self, images, wanted: str, names: Sequence[str] = ()) -> list:
        """Returns tensors, see `finish`.

        Args:
            images: RGB, uint8 `[batch, height, width, 3]`.
            wanted: See `finish`.
            names: Of the pictures, for errors.

        Raises:
            ValueError: The network's logits are NaN.
        """
        images = tf.convert_to_tensor(images)
        if self._scales == (1.0,) and not self._flip:
            *found, sums = self._plain[wanted](images)
            _check(sums, names)
            return found
        return finish(self._fused(images, names), wanted)

    def _fused(self, images, names):
        """One view after the other: side by side they would need more memory."""
        size = np.array(images.shape[1:3])
        merge = tf.add if self._fusion == "mean" else tf.maximum
        total = None
        for scale in self._scales:
            scaled = np.maximum(1, np.round(size * scale)).astype(np.int32)
            for mirrored in (False, True)[: 1 + self._flip]:
                found, sums = self._view(images, scaled, mirrored)
                _check(sums, names)
                total = found if total is None else merge(total, found)
        # Means have the sum of 1 again, and so have maxima.
        return total / tf.reduce_sum(total, -1, keepdims=True)

    # One graph for every size: pictures of a folder rarely are of one.
    @functools.cached_property
    def _plain(self):
        def compiled(wanted):
            def run(images):
                logits = self.logits(tf.cast(images, tf.float32))
                # The largest logit has the largest probability.
                scores = logits if wanted == "classes" else tf.nn.softmax(logits)
                return *finish(scores, wanted), _sums(logits)

            return tf.function(run, [tf.TensorSpec([None, None, None, 3], tf.uint8)])

        return {wanted: compiled(wanted) for wanted in _FINISH}

    @functools.cached_property
    def _view(self):
        def mirror(x, mirrored):
            return tf.cond(mirrored, lambda: x[:, :, ::-1], lambda: x)

        def run(images, size, mirrored):
            scaled = mirror(tf.image.resize(images, size), mirrored)
            logits = mirror(self.logits(scaled), mirrored)
            resized = tf.image.resize(logits, tf.shape(images)[1:3])
            return tf.nn.softmax(resized), _sums(logits)

        signature = [
            tf.TensorSpec([None, None, None, 3], tf.uint8),
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([], tf.bool),
        ]
        return tf.function(run, signature)


def _sums(logits):
    """Sums each picture's logits: NaN where any is, and no copy of them is made."""
    return tf.reduce_sum(logits, [1, 2, 3])


def _check(sums, names):
    broken = np.flatnonzero(np.isnan(sums.numpy()))
    if broken.size:
        of = f" of picture {names[broken[0]]}" if len(names) else ""
        raise errors.UserError(
            f"The network's logits{of} are no numbers (NaN). Its weights are damaged, "
            f"or its training diverged; train it again with a lower learning rate."
        )
