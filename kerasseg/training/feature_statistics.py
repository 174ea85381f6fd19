"""Statistics of features, counted before the first step of a run.

A network may hold `blocks.NormalizeFeatures`: layers that know the mean and variance
of their channels over the data set. A run fills those that hold none yet, so that
what comes from a checkpoint, its own or an initial one, stays as it is.
"""

import keras
import numpy as np
import tensorflow as tf

from kerasseg import blocks
from kerasseg.system import progress

PICTURES = 200  # Of the training split: the scene has but one value in each of them.
# Of a channel's squared mean: less is what rounding makes of a variance of zero.
_SMALLEST_VARIANCE = 1e-10


def fill(reader, model, *copies) -> None:
    """Counts the statistics that a model lacks over the pictures it is trained on.

    The pictures are spread evenly over the split and taken as they are, at their own
    size: augmentation would shift the statistics.

    Args:
        reader: `pipeline.ImageReader` of the training split.
        model: The network; of several such layers the first is filled first.
        *copies: Models of the same layers, which get the same statistics.

    Raises:
        ValueError: No picture is left, or the features are no numbers.
    """
    for layer in model.layers:
        if not isinstance(layer, blocks.NormalizeFeatures) or layer.is_filled:
            continue
        statistics = _count(reader, keras.Model(model.input, layer.input), layer.name)
        for each in (model, *copies):
            each.get_layer(layer.name).fill(*statistics)


def _count(reader, features, name):
    """Returns mean and variance of each channel, and the number of pictures."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    def moments(image):
        x = tf.cast(features(image[tf.newaxis], training=False), tf.float32)
        axes = list(range(x.shape.rank - 1))
        return tf.math.reduce_prod(tf.shape(x)[:-1]), *tf.nn.moments(x, axes)

    total = Moments()
    records = len(reader.split)
    numbers = np.linspace(0, records - 1, min(PICTURES, records)).round().astype(int)
    with progress.track(len(numbers), unit="picture", text=f"counting {name}") as bar:
        for number in numbers:
            image = reader.read(number)[0]
            if number not in reader.bad:
                total.add(*(value.numpy() for value in moments(image)))
            bar.update()
    variance = total.variance
    noise = variance <= _SMALLEST_VARIANCE * total.mean**2
    return total.mean, np.where(noise, 0.0, variance), total.parts


class Moments:
    """Mean and variance of what came in parts, as of the whole.

    Attributes:
        parts: How many came.
        mean: Of all values so far.
    """

    def __init__(self):
        self.parts, self._values = 0, 0.0
        self.mean, self._squares = np.zeros(1), np.zeros(1)

    def add(self, values, mean, variance) -> None:
        """Adds a part: how many values it has, their mean and variance."""
        # Not a sum of squares, which cancels where means are large.
        total = self._values + float(values)
        apart = np.asarray(mean, np.float64) - self.mean
        self._squares = self._squares + values * np.asarray(variance, np.float64)
        self._squares += apart**2 * (self._values * values / total)
        self.mean = self.mean + apart * (values / total)
        self._values, self.parts = total, self.parts + 1

    @property
    def variance(self) -> np.ndarray:
        """Returns the mean squared distance from the mean."""
        return self._squares / max(self._values, 1.0)
