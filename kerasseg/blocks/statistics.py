"""Channels brought to mean 0 and variance 1, by numbers counted before training."""

import keras
import numpy as np
from keras import layers, ops

from kerasseg import errors


@keras.saving.register_keras_serializable("kerasseg")
class NormalizeFeatures(layers.Layer):
    """Subtracts each channel's mean and divides by its deviation.

    Nothing is learned: `fill` sets both, before training, to what the channels have
    over a data set, and they are saved with the weights. Until then the layer changes
    nothing. `kerasseg.training` fills such layers of a new run by itself.
    """

    def build(self, shape):
        """Makes the statistics; a count of no pictures says that they are none."""
        channels = shape[-1]
        self.mean = self._constant("mean", (channels,), "zeros")
        self.variance = self._constant("variance", (channels,), "ones")
        self.pictures = self._constant("pictures", (), "zeros")

    def _constant(self, name, shape, initializer):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype="float32",
            trainable=False,
            autocast=False,
        )

    @property
    def is_filled(self) -> bool:
        """Whether the statistics are those of pictures."""
        return float(ops.max(self.pictures)) > 0  # float() has no mirrored variables.

    def fill(self, mean, variance, pictures) -> None:
        """Sets the statistics.

        Args:
            mean: Of each channel.
            variance: Of each channel; 0, of a channel that never changes, is taken
                for 1.
            pictures: How many were counted, 1 or more.

        Raises:
            ValueError: Statistics of another number of channels, or no numbers, or of
                no pictures.
        """
        mean, variance = np.asarray(mean), np.asarray(variance)
        wanted = tuple(self.mean.shape)
        if mean.shape != wanted or variance.shape != wanted or pictures < 1:
            raise errors.UserError(
                f"Layer '{self.name}' has {wanted[0]} channels; got {mean.shape} means "
                f"and {variance.shape} variances of {pictures} pictures. Count them "
                f"over the layer's own input, and 1 picture or more."
            )
        if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
            raise errors.UserError(
                f"The statistics for layer '{self.name}' are not all finite: look for "
                f"the layer before it that overflows."
            )
        self.mean.assign(mean)
        self.variance.assign(np.where(variance > 0, variance, 1.0))
        self.pictures.assign(float(pictures))

    def call(self, x):
        """Normalises the last axis, in float32 whatever the policy."""
        scale = 1.0 / ops.sqrt(self.variance)
        normalized = (ops.cast(x, "float32") - self.mean) * scale
        return ops.cast(normalized, self.compute_dtype)

    def compute_output_shape(self, shape):
        """Keeps the shape."""
        return shape
