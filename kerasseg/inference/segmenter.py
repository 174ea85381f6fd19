"""A trained network that takes pictures of any size."""

import collections.abc
import dataclasses
import functools
import os

import numpy as np
import tensorflow as tf

from kerasseg import images


@dataclasses.dataclass(frozen=True, eq=False)
class Segmenter:
    """A trained network that takes pictures of any size.

    Attributes:
        model: The Keras model, or what an exported one is called by: float32 pictures
            `[batch, height, width, 3]`, RGB, 0..255, to logits of that size; of a
            dict "logits" are taken.
        class_names: In the order of the class numbers.
        palette: RGB of each class, uint8 `[num_classes, 3]`.
    """

    model: collections.abc.Callable
    class_names: tuple[str, ...]
    palette: np.ndarray

    def predict(self, image: np.ndarray | str | os.PathLike) -> np.ndarray:
        """Finds the class of each pixel.

        Args:
            image: RGB, uint8 `[height, width, 3]`, or the path of a JPEG or PNG file,
                which is turned upright as its EXIF says.

        Returns:
            Class numbers, uint8 `[height, width]`.

        Raises:
            ValueError: No such array or file, or the network's logits are NaN.
        """
        classes, total = self._classes(_picture(image))
        if np.isnan(total):
            raise ValueError(_NOT_A_NUMBER)
        return classes.numpy()

    def probabilities(self, image: np.ndarray | str | os.PathLike) -> np.ndarray:
        """Finds the probability of each class at each pixel; see `predict`.

        Returns:
            float32 `[height, width, num_classes]`; they sum to 1.
        """
        probabilities, total = self._probabilities(_picture(image))
        if np.isnan(total):
            raise ValueError(_NOT_A_NUMBER)
        return probabilities.numpy()

    # One graph for every size: pictures of a folder rarely are of one.
    @functools.cached_property
    def _classes(self):
        return self._compile(
            lambda logits: tf.cast(tf.argmax(logits, -1, tf.int32), tf.uint8)
        )

    @functools.cached_property
    def _probabilities(self):
        return self._compile(tf.nn.softmax)

    def _compile(self, finish):
        @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
        def run(image):
            batch = tf.cast(image[tf.newaxis], tf.float32)
            outputs = self.model(batch, training=False)
            logits = outputs["logits"] if isinstance(outputs, dict) else outputs
            # A sum is NaN where any part is, and needs no copy of the logits.
            return finish(logits[0]), tf.reduce_sum(logits)

        return run


_NOT_A_NUMBER = (
    "The network's logits of this picture are no numbers (NaN). Its weights are "
    "damaged, or its training diverged; train it again with a lower learning rate."
)


def _picture(image):
    if isinstance(image, str | os.PathLike):
        return images.read_image(image)
    image = np.asarray(image)
    if (
        image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or not image.size
    ):
        raise ValueError(
            f"A picture is RGB, uint8 [height, width, 3], of a pixel or more; got "
            f"{image.dtype} {list(image.shape)}. Give the path of the file, or see "
            f"kerasseg.images.read_image."
        )
    return image
