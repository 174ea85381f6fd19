"""One picture of a split with all that is known of it, for those who want to see it."""

import dataclasses
from collections.abc import Callable

import numpy as np

from kerasseg import images
from kerasseg.evaluation import masks

_ROWS = 256  # At a time, so that no copy of large probabilities is made.


@dataclasses.dataclass(frozen=True)
class Sample:
    """A picture, what is true of it and what was said of it.

    Attributes:
        label: True class numbers and 255, uint8 `[height, width]`.
        prediction: Class numbers, uint8 `[height, width]`.
        image: RGB, uint8 `[height, width, 3]`, or None where only labels are at hand.
        probabilities: float `[height, width, num_classes]`, or None.
    """

    label: np.ndarray
    prediction: np.ndarray
    image: np.ndarray | None = None
    probabilities: np.ndarray | None = None


def network_samples(predictor, reader, refine=None) -> Callable[[int], Sample]:
    """Returns a function of a picture's number in the split to a `Sample` at it.

    Args:
        predictor: See `evaluate`, as for the others.
        reader: `pipeline.ImageReader` of the split.
        refine: Or None. The probabilities are those before it.
    """

    def look(index):
        image, label, name = reader.read(index)
        (found,) = predictor.probabilities(image[np.newaxis], names=[name])
        prediction = refine(image, found) if refine else _likeliest(found)
        return Sample(label, prediction, image, found)

    return look


def mask_samples(predictions_dir, labels) -> Callable[[int], Sample]:
    """As `network_samples`, of masks on disk; see `score_masks`."""
    paths = masks.matched(predictions_dir, labels.truths())

    def look(index):
        image, label = labels.picture(index)
        return Sample(label, images.read_label(paths[index]), image)

    return look


def _likeliest(probabilities):
    found = np.empty(probabilities.shape[:2], np.uint8)
    for start in range(0, len(found), _ROWS):
        rows = slice(start, start + _ROWS)
        found[rows] = np.argmax(probabilities[rows], axis=-1)
    return found
