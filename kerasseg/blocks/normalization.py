"""The batch norm of every architecture."""

import importlib
from typing import Any

import keras
from keras import layers

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
