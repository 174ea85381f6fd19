"""A detector on images of any size."""

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import tensorflow as tf

from kerasseg import images
from kerasseg.instances import pasting
from kerasseg.pipeline import augment


class Detector:
    """Runs a network that detects objects.

    Args:
        model: A Keras model of kind "instance", or another callable of float32 images
            `[1, height, width, 3]`, RGB from 0 to 255, to its outputs; see
            `models.mask_rcnn`.
        min_side: Length of the shorter side in pixels to which images are resized; None
            keeps their size. 800 for COCO.
        max_side: Largest length of the longer side, which takes precedence; 1333.
    """

    def __init__(
        self,
        model: Callable,
        *,
        min_side: int | None = None,
        max_side: int | None = None,
    ):
        self._model = model
        self._min_side, self._max_side = min_side, max_side
        signature = [tf.TensorSpec([1, None, None, 3], tf.float32)]
        self._call = tf.function(self._outputs, signature)

    def _outputs(self, image):
        return self._model(image, training=False)

    def detect(self, image: np.ndarray) -> images.Detections:
        """Detects the objects of an image.

        Args:
            image: RGB, uint8 `[height, width, 3]`.

        Returns:
            The objects, the best first; masks are pasted when they are accessed.
        """
        height, width = size = image.shape[:2]
        factor = augment.resize_factor(height, width, self._min_side, self._max_side)
        if factor != 1:
            sides = (max(1, round(side * factor)) for side in (width, height))
            image = cv2.resize(image, tuple(sides), interpolation=cv2.INTER_LINEAR)
        outputs = self._call(image[np.newaxis].astype(np.float32))
        found = {name: value.numpy()[0] for name, value in outputs.items()}
        scale = np.tile(np.divide(size, image.shape[:2]), 2).astype(np.float32)
        return without_padding({**found, "boxes": found["boxes"] * scale}, size)


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
