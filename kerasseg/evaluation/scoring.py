"""Scores of a network on a split."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from kerasseg import errors, metrics, pipeline
from kerasseg.evaluation import inputs
from kerasseg.metrics import multi_label
from kerasseg.system import processes, progress

MEASURES = metrics.MEASURES

_MAX_PAIRS = 100  # Pairs of classes kept for each image.


@dataclasses.dataclass(frozen=True, repr=False)
class Evaluation:
    """The result of an evaluation; printed, it is the table of its scores.

    Attributes:
        scores: Scores of the whole split, by key: those of `metrics.scores`, of each
            measure, and with "interval" and "difference" those of `metrics.interval`
            and `metrics.paired_interval`, where they were computed.
        confusion: Confusion matrix, int64 `[num_classes, num_classes]`: labels in
            rows, predictions in columns; of a multi-label network `[num_classes, 2,
            2]`.
        names: Names of the images, in the order of the split.
        counts: int64 `[images, 3, num_classes]`, see `metrics.iou_counts`.
        misclassified: For each image int64 `[pairs, 3]`: class of the label, predicted
            class, and number of pixels; at most 100 pairs, most pixels first.
    """

    scores: dict
    confusion: np.ndarray
    names: list[str]
    counts: np.ndarray
    misclassified: list[np.ndarray]

    def __str__(self):
        return metrics.table(self.scores)

    def __repr__(self):
        return (
            f"<Evaluation of {len(self.names):,} images: mean IoU "
            f"{self.scores['mean_iou']:.1%}, pixel accuracy "
            f"{self.scores['pixel_accuracy']:.1%}>"
        )


@dataclasses.dataclass(frozen=True)
class ScoredImage:
    """An image to score: the arguments of `metrics.ImageMeasure.measure`.

    Attributes:
        index: Index of the image in the split.
        name: Name of the image, for errors.
        label: Class indices and 255, uint8 `[height, width]`; or bits of classes.
        mask: Predicted class indices, or bits of classes, integers `[height, width]`.
        confidence: Probability of the predicted class, float `[height, width]`, or
            None.
    """

    index: int
    name: str
    label: np.ndarray
    mask: np.ndarray
    confidence: np.ndarray | None = None


def evaluate(
    predictor,
    reader: pipeline.ImageReader,
    *,
    measures: Sequence[str] = (),
    batch_size: int = 1,
    limit: int | None = None,
    refine: Callable | None = None,
    on_batch: Callable | None = None,
) -> Evaluation:
    """Evaluates a network on a split.

    Args:
        predictor: `inference.Predictor` of the network.
        reader: `pipeline.ImageReader` of the split.
        measures: Names of `MEASURES` that are computed besides the confusion matrix;
            "calibration" only without `refine`, which returns no probabilities.
        batch_size: Images of equal size per batch.
        limit: Evaluate the first `limit` images only; None for the whole split.
        refine: Function of an image, uint8 `[height, width, 3]`, and its
            probabilities, `[height, width, num_classes]`, that returns a mask
            `[height, width]`, such as a CRF; or None. It is called from several
            threads.
        on_batch: Function that is called with each batch and its masks, or None.

    Raises:
        errors.UserError: The split is empty, a measure is unknown, a record is damaged,
            a label is out of range, or the network returns NaN.
    """
    inputs.check_measures(measures, has_probabilities=refine is None)
    sizes = reader.split.sizes[:limit]
    dataset = pipeline.evaluation_dataset(reader, batch_size=batch_size, limit=limit)
    order = itertools.chain(*pipeline.equal_size_batches(sizes, batch_size))

    refine_view = None
    if refine is not None:

        def refine_view(image, probabilities):
            return refine(reader.kind.view(image), probabilities)

    def scored_images():
        for batch, masks, confidence in _predictions(
            predictor, dataset, refine_view, "calibration" in measures
        ):
            if on_batch is not None:
                on_batch(batch, masks)
            for i, name in enumerate(batch["name"].numpy()):
                yield ScoredImage(
                    next(order),
                    name.decode(),
                    batch["label"][i].numpy(),
                    masks[i],
                    None if confidence is None else confidence[i],
                )

    with reader.reraise_errors():
        return score(scored_images(), reader.split, measures, limit=limit)


def score(
    images: Iterable[ScoredImage],
    split,
    measures: Sequence[str] = (),
    *,
    limit: int | None = None,
) -> Evaluation:
    """Scores predicted masks.

    The counts of each image are added up, and the scores are computed from the sums.

    Args:
        images: The images of the split, each once, in any order.
        split: `records.Split`, or an object with its `name`, `spec` and length.
        measures: See `evaluate`.
        limit: See `evaluate`.

    Raises:
        errors.UserError: The split is empty, a measure is unknown, or a class index is
            out of range.
    """
    spec, num_images = split.spec, min(len(split), limit or len(split))
    if not num_images:
        raise errors.UserError(
            f"Split '{split.name}' has no record to score (limit: {limit}). Choose "
            f"another split, or build it again."
        )
    confusion: Any = metrics.Confusion(spec.num_classes)
    iou_counts = metrics.iou_counts
    if spec.multi_label:
        inputs.check_multi_label(measures)
        confusion = metrics.MultiLabelConfusion(spec.num_classes)
        iou_counts = multi_label.iou_counts
    counters = [confusion, *_measures(measures, spec)]
    totals = [np.zeros(counter.shape, np.int64) for counter in counters]
    names = [""] * num_images
    counts = np.zeros((num_images, 3, spec.num_classes), np.int64)
    misclassified = [np.zeros((0, 3), np.int64)] * num_images

    def count(image):
        arrays = image.label, image.mask, image.confidence
        try:
            return image, [counter.measure(*arrays) for counter in counters]
        except ValueError as error:
            raise errors.UserError(f"Image {image.name}: {error}") from error

    with progress.track(num_images, unit="image", text="evaluating") as bar:
        # A single thread: more of them would compete with the network for the cores.
        for image, parts in processes.in_order(count, images, num_threads=1):
            for total, part in zip(totals, parts, strict=True):
                total += part
            names[image.index] = image.name
            counts[image.index] = iou_counts(parts[0])
            if not spec.multi_label:  # One class does not replace another.
                misclassified[image.index] = _misclassified(parts[0])
            bar.update()
    scores: dict = {}
    for counter, total in zip(counters, totals, strict=True):
        scores |= counter.scores(total, spec.class_names)
    return Evaluation(scores, totals[0], names, counts, misclassified)


def _misclassified(confusion):
    """Lists the pairs of classes that were confused; see `Evaluation`."""
    label, predicted = np.nonzero(confusion)
    pixels = confusion[label, predicted]
    pairs = np.stack([label, predicted, pixels], axis=-1)[label != predicted]
    return pairs[np.argsort(-pairs[:, 2], kind="stable")][:_MAX_PAIRS]


def _measures(names, spec):
    inputs.check_measures(names)
    return [MEASURES[name](spec.num_classes) for name in names]


def _predictions(predictor, dataset, refine, with_confidence):
    """Yields batches, their masks, and the confidence of each pixel or None."""

    def arguments(batch):
        names = [name.decode() for name in batch["name"].numpy()]
        return {"images": batch["image"].numpy(), "names": names}

    if refine is None:
        for batch in dataset:
            if with_confidence:
                yield batch, *predictor.confident_classes(**arguments(batch))
            else:
                yield batch, predictor.classes(**arguments(batch)), None
        return

    def refined(item):
        batch, probabilities = item
        return batch, refine(batch["image"][0].numpy(), probabilities)[None], None

    single_images = (
        ({key: value[i : i + 1] for key, value in batch.items()}, probabilities)
        for batch in dataset
        for i, probabilities in enumerate(predictor.probabilities(**arguments(batch)))
    )
    num_threads = processes.num_cores()
    yield from processes.in_order(refined, single_images, num_threads=num_threads)
