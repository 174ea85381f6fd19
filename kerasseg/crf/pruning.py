"""The classes that matter in a picture: what an engine of the dense CRF works on."""

import dataclasses

import numpy as np

from kerasseg import errors
from kerasseg.crf import checks

_LEAST_CHANCE = 0.1  # Of an even share; see `dense_crf`.
_SMALLEST = 1e-5  # Chance that a probability of 0 is taken for; its log must be finite.


@dataclasses.dataclass(frozen=True)
class PrunedImage:
    """A picture and its likely classes.

    Attributes:
        image: RGB, uint8 `[height, width, 3]`, in rows and writeable.
        probabilities: float32 `[height, width, classes]` of these classes, in rows,
            each at least 1e-5.
        numbers: Which classes they are.
        num_classes: How many there are in all.
    """

    image: np.ndarray
    probabilities: np.ndarray
    numbers: np.ndarray
    num_classes: int


def prune(image, probabilities) -> PrunedImage:
    """Looks at what is to be refined, and leaves out what matters to no pixel.

    See `dense_crf`, also for what is raised. Takes a small part of its time, and needs
    no process of its own: what it returns is less to send to one.
    """
    image = checks.checked_image(image)
    probabilities = checks.checked_probabilities(probabilities)
    height, width, num_classes = probabilities.shape
    if image.shape[:2] != (height, width):
        raise errors.UserError(
            f"The image is {image.shape[0]} x {image.shape[1]} (height x width), the "
            f"probabilities are {height} x {width}. Resize the logits to the image "
            "before the softmax."
        )
    most = probabilities.max(axis=0).max(axis=0)  # Faster than over both at once.
    numbers = np.flatnonzero(most > _LEAST_CHANCE / num_classes)
    if len(numbers) < num_classes:
        probabilities = np.take(probabilities, numbers, axis=-1)
    probabilities = np.maximum(probabilities, np.float32(_SMALLEST), order="C")
    return PrunedImage(image, probabilities, numbers, num_classes)
