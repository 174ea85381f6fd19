"""Batch normalization, and the local response normalization of older networks."""

import importlib
from typing import Any

import keras
from keras import layers, ops

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
tf: Any = importlib.import_module("tensorflow") if _ON_TENSORFLOW else None


@keras.saving.register_keras_serializable("kerasseg")
class BatchNormalization(layers.BatchNormalization):
    """Batch normalization layer that calls TensorFlow's fused kernel.

    `keras.layers.BatchNormalization` computes moments, scale and shift in separate
    passes, and their gradients too; a training step of DeepLab v3 takes an eighth
    longer with it on a CPU. The values are the same. The layer of Keras is used where
    the kernel cannot be: for synchronized moments, dtypes other than float32 and axes
    other than the last.

    Attributes:
        frozen_statistics: Whether the layer also normalizes by its moving averages in
            training, while scale and shift are trained; False for a new layer.
    """

    frozen_statistics = False

    def call(self, inputs, training: bool | None = None, mask=None):
        """Normalizes `[batch, height, width, channels]`."""
        training = bool(training) and not self.frozen_statistics
        update = training and self.trainable
        if not self._is_fused(inputs, mask, update):
            return super().call(inputs, training=training, mask=mask)
        empty = tf.zeros([0])
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=empty if update else self.moving_mean,
            variance=empty if update else self.moving_variance,
            epsilon=self.epsilon,
            is_training=update,
        )
        if update:
            # The kernel returns the unbiased variance, Keras uses the biased one.
            n = tf.cast(tf.size(inputs) // inputs.shape[-1], "float32")
            variance = variance * ((n - 1) / n)
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance)
        return y

    def _is_fused(self, inputs, mask, update):
        return (
            tf is not None
            and mask is None
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and self.scale
            and self.center
            and not (update and (self.synchronized or self.renorm))
            and keras.backend.standardize_dtype(inputs.dtype) == "float32"
            and self.compute_dtype == "float32"
        )

    def _move(self, average, value):
        average.assign(average * self.momentum + value * (1.0 - self.momentum))

    def get_config(self):
        """Returns the arguments of the constructor."""
        config = super().get_config()
        if self.frozen_statistics:
            config["frozen_statistics"] = True
        return config

    @classmethod
    def from_config(cls, config):
        """Creates the layer that returned a configuration."""
        config = dict(config)
        frozen = config.pop("frozen_statistics", False)
        layer = cls(**config)
        layer.frozen_statistics = frozen
        return layer


@keras.saving.register_keras_serializable("kerasseg")
class LocalResponseNormalization(layers.Layer):
    """Divides by `(1 + alpha / size * s) ** beta`.

    `s` is the sum of the squares of `size` neighboring channels. The defaults are
    those of AlexNet (https://papers.nips.cc/paper/4824, section 3.3) with Caffe's
    formula; other frameworks do not divide `alpha` by `size`.

    Args:
        size: Number of channels that are summed, with the normalized one in the middle.
        alpha: Weight of the squares.
        beta: Exponent.
    """

    def __init__(
        self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, **options
    ):
        super().__init__(**options)
        self.size, self.alpha, self.beta = size, alpha, beta

    def call(self, x):
        """Normalizes `[batch, height, width, channels]` in float32; keeps the dtype."""
        squares = ops.square(ops.cast(x, "float32"))  # Too large for float16.
        sides = [(self.size - 1) // 2, self.size // 2]
        squares = ops.pad(squares, [[0, 0], [0, 0], [0, 0], sides])
        total = sum(squares[..., i : i + x.shape[-1]] for i in range(self.size))
        scale = ops.power(1 + self.alpha / self.size * total, -self.beta)
        return x * ops.cast(scale, x.dtype)

    def compute_output_shape(self, shape):
        """Returns the shape of the input."""
        return shape

    def get_config(self):
        """Returns the arguments of the constructor."""
        own = {"size": self.size, "alpha": self.alpha, "beta": self.beta}
        return {**super().get_config(), **own}
