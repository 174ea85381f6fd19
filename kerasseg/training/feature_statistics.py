"""Means and variances of features, computed before the first step of a run.

A network may contain `blocks.NormalizeFeatures`, a layer that normalizes its channels
by their mean and variance over the training images. A run fills the layers that have
no statistics yet, so those of a checkpoint, its own or an initial one, are kept.
"""

import keras
import numpy as np
import tensorflow as tf

from kerasseg import blocks, pipeline
from kerasseg.system import progress

MAX_IMAGES = 200  # Enough: a layer's input may have a single position per image.
# Relative to the squared mean; smaller variances are rounding errors of zero.
_MIN_RELATIVE_VARIANCE = 1e-10


def fill(
    reader: pipeline.ImageReader, model: keras.Model, *copies: keras.Model
) -> None:
    """Computes the missing statistics of a model's layers over the training images.

    At most `MAX_IMAGES` images, evenly spaced in the split, are read at their own size
    without augmentation, which would change the statistics.

    Args:
        reader: Reader of the training split.
        model: The network; its layers are filled in order.
        *copies: Models with the same layers, which get the same statistics.

    Raises:
        errors.UserError: No image can be read, or features are not finite.
    """
    for layer in model.layers:
        if not isinstance(layer, blocks.NormalizeFeatures) or layer.is_filled:
            continue
        statistics = _compute(reader, keras.Model(model.input, layer.input), layer.name)
        for each in (model, *copies):
            each.get_layer(layer.name).fill(*statistics)


def _compute(reader, features, name):
    """Returns mean and variance of each channel, and the number of images."""
    kind = reader.kind

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, kind.channels], kind.dtype)]
    )
    def moments(image):
        x = tf.cast(features(image[tf.newaxis], training=False), tf.float32)
        axes = list(range(x.shape.rank - 1))
        return tf.math.reduce_prod(tf.shape(x)[:-1]), *tf.nn.moments(x, axes)

    total = Moments()
    records = len(reader.split)
    indices = np.linspace(0, records - 1, min(MAX_IMAGES, records)).round().astype(int)
    with progress.track(len(indices), unit="image", text=f"statistics {name}") as bar:
        for index in indices:
            image, _ = reader.read_image(index)
            if index not in reader.bad:
                total.add(*(value.numpy() for value in moments(image)))
            bar.update()
    variance = total.variance
    noise = variance <= _MIN_RELATIVE_VARIANCE * total.mean**2
    return total.mean, np.where(noise, 0.0, variance), total.num_parts


class Moments:
    """Mean and variance of values that are added in parts.

    Attributes:
        num_parts: Number of parts.
        mean: Mean of all values, float64 `[channels]`.
    """

    def __init__(self) -> None:
        self.num_parts, self._num_values = 0, 0.0
        self.mean, self._squares = np.zeros(1), np.zeros(1)

    def add(self, num_values: int, mean: np.ndarray, variance: np.ndarray) -> None:
        """Adds a part by its number of values, mean and variance."""
        # The sum of squares would cancel where means are large.
        total = self._num_values + float(num_values)
        difference = np.asarray(mean, np.float64) - self.mean
        self._squares = self._squares + num_values * np.asarray(variance, np.float64)
        self._squares += difference**2 * (self._num_values * num_values / total)
        self.mean = self.mean + difference * (num_values / total)
        self._num_values, self.num_parts = total, self.num_parts + 1

    @property
    def variance(self) -> np.ndarray:
        """Variance of all values, float64 `[channels]`."""
        return self._squares / max(self._num_values, 1.0)
