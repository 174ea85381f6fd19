"""Pruning: an engine of the dense CRF computes only the classes in the image."""

import dataclasses

import numpy as np

from kerasseg import errors
from kerasseg.crf import checks

_LEAST_SHARE = 0.1  # Of 1 / num_classes; see `dense_crf`.
_SMALLEST = 1e-5  # Lower bound of the probabilities, whose logarithm must be finite.


@dataclasses.dataclass(frozen=True)
class PrunedImage:
    """An image and the probabilities of the classes that occur in it.

    Attributes:
        image: RGB, uint8 `[height, width, 3]`, contiguous and writeable.
        probabilities: float32 `[height, width, classes]` of these classes, contiguous,
            each at least 1e-5.
        numbers: The numbers of these classes.
        num_classes: Number of all classes.
    """

    image: np.ndarray
    probabilities: np.ndarray
    numbers: np.ndarray
    num_classes: int


def prune(image: np.ndarray, probabilities: np.ndarray) -> PrunedImage:
    """Checks the inputs of `dense_crf`, and drops the classes that no pixel may have.

    Takes a small part of the CRF's time, so it can run in the main process: the result
    is less data to send to a worker process.

    Args:
        image: RGB, uint8 `[height, width, 3]`.
        probabilities: float16 to float64 `[height, width, num_classes]`.

    Raises:
        errors.UserError: The arrays are invalid.
    """
    image = checks.checked_image(image)
    probabilities = checks.checked_probabilities(probabilities)
    height, width, num_classes = probabilities.shape
    if image.shape[:2] != (height, width):
        raise errors.UserError(
            f"The image is {image.shape[0]} x {image.shape[1]} (height x width), the "
            f"probabilities are {height} x {width}. Resize the logits to the image "
            f"before the softmax."
        )
    most = probabilities.max(axis=0).max(axis=0)  # Faster than over both axes at once.
    numbers = np.flatnonzero(most > _LEAST_SHARE / num_classes)
    if len(numbers) < num_classes:
        probabilities = np.take(probabilities, numbers, axis=-1)
    probabilities = np.maximum(probabilities, np.float32(_SMALLEST), order="C")
    return PrunedImage(image, probabilities, numbers, num_classes)
