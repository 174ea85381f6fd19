"""Scores of a detector on a split."""

from collections.abc import Callable

import numpy as np

from kerasseg import pipeline
from kerasseg.evaluation.instances import (
    DetectedImage,
    InstanceEvaluation,
    score_instances,
)
from kerasseg.system import progress


def evaluate_instances(
    detector,
    reader: pipeline.ImageReader,
    *,
    limit: int | None = None,
    on_batch: Callable | None = None,
) -> InstanceEvaluation:
    """Evaluates a detector on a split.

    Args:
        detector: `inference.Detector` of the network.
        reader: Reader of the split, whose records have instances.
        limit: Evaluate the first `limit` images only; None for the whole split.
        on_batch: Function that is called with each image as a batch, a dict of arrays
            as of `pipeline.evaluation_dataset`, and its pasted class map; or None.

    Raises:
        errors.UserError: The split is empty, a record is damaged or has no instances.
    """
    count = min(len(reader.split), limit or len(reader.split))

    def detected():
        with progress.track(count, unit="image", text="evaluating") as bar:
            for index in range(count):
                image, label, name, objects = reader.read_objects(index)
                found = detector.detect(image)
                if on_batch is not None:
                    mask = found.above(0.5).class_map(label.shape)
                    batch = {"image": image, "label": label}
                    on_batch({k: x[np.newaxis] for k, x in batch.items()}, mask[None])
                yield DetectedImage(index, name, objects, found, label, image)
                bar.update()

    return score_instances(detected(), reader.split, limit=limit)
