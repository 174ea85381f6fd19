"""A detector on images of any size."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from kerasseg import images
from kerasseg.instances import pasting


class Detector:
    """Runs a network that detects objects.

    Args:
        model: A Keras model of kind "instance", or another callable of float32 images
            `[1, height, width, 3]`, RGB from 0 to 255, to its outputs; see
            `models.mask_rcnn`.
        min_side: See `with_resizing`.
        max_side: See `with_resizing`.
    """

    def __init__(
        self,
        model: Callable,
        *,
        min_side: int | None = None,
        max_side: int | None = None,
    ):
        network = with_resizing(
            lambda image: model(image, training=False), min_side, max_side
        )
        self._call = tf.function(network, [tf.TensorSpec([1, None, None, 3])])

    def detect(self, image: np.ndarray) -> images.Detections:
        """Detects the objects of an image.

        Args:
            image: RGB, uint8 `[height, width, 3]`.

        Returns:
            The objects, the best first; masks are pasted when they are accessed.
        """
        return without_padding(self.outputs(image), image.shape[:2])

    def outputs(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the outputs of the network for an image.

        Args:
            image: RGB, uint8 `[height, width, 3]`.

        Returns:
            See `models.mask_rcnn`, without the dimension of the batch. Boxes are in
            pixels of `image`.

        Raises:
            MemoryError: The image does not fit into memory.
        """
        try:
            outputs = self._call(image[np.newaxis].astype(np.float32))
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(str(error)) from error
        return {name: value.numpy()[0] for name, value in outputs.items()}


def with_resizing(
    network: Callable, min_side: int | None, max_side: int | None
) -> Callable:
    """Resizes images before a network that detects objects, and its boxes back.

    It consists of TensorFlow's operations, so that it can be a part of an exported
    graph.

    Args:
        network: Function of float32 images `[batch, height, width, 3]` to its outputs;
            see `models.mask_rcnn`.
        min_side: Length of the shorter side in pixels to which images are resized; None
            keeps their size. 800 for COCO.
        max_side: Largest length of the longer side, which takes precedence; 1333.

    Returns:
        A function like `network`. Boxes are in pixels of its images.
    """
    if min_side is None and max_side is None:
        return network

    def call(image):
        size = tf.shape(image)[1:3]
        resized = resized_size(size, min_side, max_side)
        outputs = dict(network(tf.image.resize(image, resized)))
        scale = tf.cast(size, tf.float32) / tf.cast(resized, tf.float32)
        outputs["boxes"] *= tf.tile(scale, [2])
        return outputs

    return call


def resized_size(size, min_side: int | None, max_side: int | None):
    """Returns height and width to which an image is resized, with its aspect ratio.

    Args:
        size: Height and width in pixels, int32 `[2]`.
        min_side: See `with_resizing`.
        max_side: See `with_resizing`.

    Returns:
        int32 `[2]`, at least 1.
    """
    sides = tf.cast(size, tf.float32)
    factor = min_side / tf.reduce_min(sides) if min_side else tf.constant(1.0)
    if max_side:
        factor = tf.minimum(factor, max_side / tf.reduce_max(sides))
    return tf.cast(tf.maximum(tf.round(sides * factor), 1), tf.int32)


def without_padding(found: Mapping, size: tuple[int, int]) -> images.Detections:
    """Returns the detections of one image; masks are pasted when they are accessed.

    Args:
        found: The outputs of a network of kind "instance" for the image.
        size: Height and width of the image.
    """
    valid = found["valid"]
    boxes = found["boxes"][valid]
    return images.Detections(
        boxes,
        found["scores"][valid],
        found["classes"][valid],
        PastedMasks(found["masks"][valid], boxes, size),
    )


class PastedMasks(Sequence):
    """Masks of the size of the image, each computed when it is accessed.

    Args:
        masks: Probabilities in the boxes, `[objects, cells, cells]`.
        boxes: `[objects, 4]` in pixels of the image.
        size: Height and width of the image.
    """

    def __init__(self, masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int]):
        self._masks, self._boxes, self._size = masks, boxes, size

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, i):
        """Returns a mask, bool `[height, width]`."""
        return pasting.paste(
            self._masks[i : i + 1], self._boxes[i : i + 1], *self._size
        )[0]
