"""Normalization of channels with statistics of the data set."""

import keras
import numpy as np
from keras import layers, ops

from kerasseg import errors


@keras.saving.register_keras_serializable("kerasseg")
class NormalizeFeatures(layers.Layer):
    """Subtracts the mean of each channel and divides by its standard deviation.

    The statistics are not trained. `fill` sets them before training to those of the
    channels over a data set, and they are saved with the weights. Until then the layer
    returns its input. `kerasseg.training` fills such layers at the start of a run.
    """

    def build(self, shape):
        """Creates the statistics and the number of images they are from, 0 at first."""
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
        """Whether `fill` has set the statistics."""
        return float(ops.max(self.pictures)) > 0  # Works for mirrored variables.

    def fill(self, mean: np.ndarray, variance: np.ndarray, images: int) -> None:
        """Sets the statistics.

        Args:
            mean: Mean of each channel.
            variance: Variance of each channel. 0, that of a constant channel, becomes
                1.
            images: Number of images the statistics are from, at least 1.

        Raises:
            UserError: Wrong number of channels, values that are not finite, or no
                images.
        """
        mean, variance = np.asarray(mean), np.asarray(variance)
        expected = tuple(self.mean.shape)
        if mean.shape != expected or variance.shape != expected or images < 1:
            raise errors.UserError(
                f"Layer '{self.name}' has {expected[0]} channels; got {mean.shape} "
                f"means and {variance.shape} variances of {images} images. Compute "
                "them from the input of the layer, over at least 1 image."
            )
        if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
            raise errors.UserError(
                f"The statistics for layer '{self.name}' are not all finite. Find the "
                "layer before it that overflows."
            )
        self.mean.assign(mean)
        self.variance.assign(np.where(variance > 0, variance, 1.0))
        self.pictures.assign(float(images))

    def call(self, x):
        """Normalizes the last axis, in float32 for any dtype policy."""
        scale = 1.0 / ops.sqrt(self.variance)
        normalized = (ops.cast(x, "float32") - self.mean) * scale
        return ops.cast(normalized, self.compute_dtype)

    def compute_output_shape(self, shape):
        """Returns the shape of the input."""
        return shape
