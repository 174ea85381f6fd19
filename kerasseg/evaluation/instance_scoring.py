"""Scores of a detector on a split."""

from collections.abc import Callable

import numpy as np

from kerasseg import images, pipeline
from kerasseg.evaluation.instances import (
    DetectedImage,
    InstanceEvaluation,
    score_instances,
)


def evaluate_instances(
    detector,
    reader: pipeline.ImageReader,
    *,
    limit: int | None = None,
    on_batch: Callable | None = None,
    min_score: float = images.MIN_SCORE,
) -> InstanceEvaluation:
    """Evaluates a detector on a split.

    Args:
        detector: `inference.Detector` of the network.
        reader: Reader of the split, whose records have instances.
        limit: Evaluate the first `limit` images only; None for the whole split.
        on_batch: Function that is called with each image as a batch, a dict of arrays
            as of `pipeline.evaluation_dataset`, and its pasted class map; or None.
        min_score: See `score_instances`.

    Raises:
        errors.UserError: The split is empty, a record is damaged or has no instances.
    """
    count = min(len(reader.split), limit or len(reader.split))

    def detected():
        for index in range(count):
            each = detected_image(detector, reader, index)
            if on_batch is not None and each.label is not None:
                confident = each.detections.above(min_score)
                mask = confident.class_map(each.label.shape)
                batch = {"image": [each.image], "label": [each.label]}
                on_batch(batch, mask[np.newaxis])
            yield each

    return score_instances(detected(), reader.split, limit=limit, min_score=min_score)


def detected_image(detector, reader: pipeline.ImageReader, index: int) -> DetectedImage:
    """Reads an image of a split with its objects, and detects those in it.

    Args:
        detector: See `evaluate_instances`.
        reader: See `evaluate_instances`.
        index: Index of the image.

    Raises:
        errors.UserError: The record is damaged or has no instances.
    """
    image, label, name, objects = reader.read_objects(index)
    return DetectedImage(index, name, objects, detector.detect(image), label, image)
