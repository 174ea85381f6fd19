"""Single images of a split with their label and prediction, for display."""

import dataclasses
import os
from collections.abc import Callable

import numpy as np

from kerasseg import images, pipeline
from kerasseg.evaluation import masks


@dataclasses.dataclass(frozen=True)
class Sample:
    """An image with its label and prediction.

    Attributes:
        label: Class indices and 255, uint8 `[height, width]`.
        mask: Predicted class indices, uint8 `[height, width]`.
        image: RGB, uint8 `[height, width, 3]`; None if only the labels are available.
        probabilities: float `[height, width, num_classes]`, or None.
    """

    label: np.ndarray
    mask: np.ndarray
    image: np.ndarray | None = None
    probabilities: np.ndarray | None = None


def network_samples(
    predictor, reader: pipeline.ImageReader, refine: Callable | None = None
) -> Callable[[int], Sample]:
    """Returns a function that predicts the image with a given index in the split.

    Args:
        predictor: `inference.Predictor` of the network.
        reader: `pipeline.ImageReader` of the split.
        refine: See `evaluate`. The probabilities of a sample are those before it.
    """

    def get_sample(index):
        image, label, name = reader.read(index)
        (probabilities,) = predictor.probabilities(image[np.newaxis], names=[name])
        view = reader.kind.view(image)
        mask = (
            refine(view, probabilities)
            if refine
            else predictor.rule.mask_of_rows(probabilities)
        )
        return Sample(label, mask, view, probabilities)

    return get_sample


def mask_samples(predictions_dir: str | os.PathLike, labels) -> Callable[[int], Sample]:
    """Returns a function that reads the mask of the image with a given index.

    Args:
        predictions_dir: Folder of the masks; see `score_masks`.
        labels: `LabelFolder` or `RecordLabels`.
    """
    paths = masks.matching_masks(predictions_dir, labels.targets())

    def get_sample(index):
        image, label = labels.read(index)
        if image is not None:
            image = labels.spec.image_kind.view(image)
        mask = images.read_label(paths[index], multi_label=labels.spec.multi_label)
        return Sample(label, mask, image)

    return get_sample
