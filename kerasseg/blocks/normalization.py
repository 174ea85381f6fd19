"""The batch norm of every architecture, and what came before batch norm."""

import importlib
from typing import Any

import keras
from keras import layers, ops

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
tf: Any = importlib.import_module("tensorflow") if _ON_TENSORFLOW else None


@keras.saving.register_keras_serializable("kerasseg")
class BatchNormalization(layers.BatchNormalization):
    """Keras' batch norm, in one kernel on TensorFlow.

    Keras computes moments, then scales and shifts, each in passes of its own, and
    again for the gradient; a step of DeepLab v3 takes an eighth longer so (CPU). The
    values are the same. What the kernel cannot do is left to Keras: moments over all
    replicas, other types than float32, other axes than the last.
    """

    def call(self, inputs, training=None, mask=None):
        """Normalises `[batch, height, width, channels]`."""
        moves = bool(training) and self.trainable
        if not self._is_fused(inputs, mask, moves):
            return super().call(inputs, training=training, mask=mask)
        none = tf.zeros([0])
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=none if moves else self.moving_mean,
            variance=none if moves else self.moving_variance,
            epsilon=self.epsilon,
            is_training=moves,
        )
        if moves:
            # The kernel's is that of a sample, n / (n - 1) times that of the batch.
            n = tf.cast(tf.size(inputs) // inputs.shape[-1], "float32")
            variance = variance * ((n - 1) / n)
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance)
        return y

    def _is_fused(self, inputs, mask, moves):
        return (
            tf is not None
            and mask is None
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and self.scale
            and self.center
            and not (moves and (self.synchronized or self.renorm))
            and keras.backend.standardize_dtype(inputs.dtype) == "float32"
            and self.compute_dtype == "float32"
        )

    def _move(self, average, value):
        average.assign(average * self.momentum + value * (1.0 - self.momentum))


@keras.saving.register_keras_serializable("kerasseg")
class LocalResponseNormalization(layers.Layer):
    """Divides by `(1 + alpha / size * s) ** beta`, `s` the squares of near channels.

    The constants are AlexNet's (https://papers.nips.cc/paper/4824, section 3.3), as
    Caffe reads them: other frameworks do not divide `alpha` by `size`.

    Args:
        size: Channels that are summed, the middle one its own.
        alpha: Weight of the squares.
        beta: Power.
    """

    def __init__(self, size=5, alpha=1e-4, beta=0.75, **options):
        super().__init__(**options)
        self.size, self.alpha, self.beta = size, alpha, beta

    def call(self, x):
        """Takes `[batch, height, width, channels]`; returns the dtype of `x`."""
        squares = ops.square(ops.cast(x, "float32"))  # Too large for float16.
        sides = [(self.size - 1) // 2, self.size // 2]
        squares = ops.pad(squares, [[0, 0], [0, 0], [0, 0], sides])
        total = sum(squares[..., i : i + x.shape[-1]] for i in range(self.size))
        scale = ops.power(1 + self.alpha / self.size * total, -self.beta)
        return x * ops.cast(scale, x.dtype)

    def compute_output_shape(self, shape):
        """Keeps the shape."""
        return shape

    def get_config(self):
        """Adds size, alpha and beta."""
        own = {"size": self.size, "alpha": self.alpha, "beta": self.beta}
        return {**super().get_config(), **own}
