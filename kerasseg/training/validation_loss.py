"""The loss of a validation: on crops, as in training, without augmentation."""

import functools
import math
from collections.abc import Callable

import keras
import tensorflow as tf

from kerasseg import pipeline
from kerasseg.pipeline import augment
from kerasseg.training.objective import LossSums, Objective
from kerasseg.training.recipe import Recipe

_NUM_IMAGES = 32


class ValidationLoss:
    """Computes the loss of the recipe on the first images of a split.

    An image is cropped around its center to at most the size of the training crops, so
    that memory and time are bounded. Batch norm uses its moving averages, and pixels
    have no border weights.

    Args:
        model: The network that is evaluated.
        loss: Function of its outputs and a label, uint8 `[1, height, width]`, to the
            sum of the loss and the number of labeled pixels: `Objective`.
        reader: Reader of the split.
        crop_size: Height and width of the training crops.
        limit: Number of images of a validation; None for the whole split.
    """

    def __init__(
        self,
        model: keras.Model,
        loss,
        reader: pipeline.ImageReader,
        crop_size: tuple[int, int],
        limit: int | None = None,
    ):
        self._model, self._loss = model, loss
        self._reader, self._crop_size = reader, crop_size
        self._num_images = min(len(reader.split), _NUM_IMAGES, limit or _NUM_IMAGES)

    def __call__(self) -> float:
        """Returns the loss per labeled pixel; NaN without one."""
        total = count = 0.0
        for i in range(self._num_images):
            image, label, _ = self._reader.read(i)
            window = self._window(label.shape)
            # Eagerly: tracing a graph would take longer than these few images.
            outputs = self._model(
                tf.cast(image[window][None], tf.float32), training=False
            )
            loss, pixels = self._loss(outputs, tf.constant(label[window][None]))
            total, count = total + float(loss), count + float(pixels)
        return total / count if count else math.nan

    def _window(self, size):
        """Returns rows and columns of the center of an image."""
        return tuple(
            slice(start := max(0, (side - crop) // 2), start + crop)
            for side, crop in zip(size, self._crop_size, strict=True)
        )


def maker(
    objective: LossSums,
    reader: pipeline.ImageReader,
    augmentation: augment.Augmentation,
    recipe: Recipe,
) -> Callable[[keras.Model], ValidationLoss] | None:
    """Returns a function of a model to its loss.

    Args:
        objective: The loss of the training steps.
        reader: Reader of the validation split.
        augmentation: Augmentation of the training images, whose crop size counts.
        recipe: The hyperparameters.

    Returns:
        The function; None for networks that detect objects, for the stages of
        DecoupledNet, and for methods that also learn from images without labels.
    """
    if type(objective) is not Objective:
        return None
    return functools.partial(
        ValidationLoss,
        loss=objective,
        reader=reader,
        crop_size=augmentation.crop_size,
        limit=recipe.eval_limit,
    )
