"""From pictures and what a network says of them to scores."""

import collections.abc
import dataclasses
import itertools

import numpy as np

from kerasseg import errors, metrics, pipeline
from kerasseg.system import processes, progress

MEASURES = metrics.MEASURES

_MOST_MISTAKES = 100  # Pairs of classes kept of each picture.


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was found on a split.

    Attributes:
        scores: Of the whole split: those of `metrics.scores` and of each measure, and
            "interval", see `metrics.interval`, where it was asked for.
        confusion: int64 `[num_classes, num_classes]`: row true, column predicted.
        names: Of the pictures, in the order of the split.
        counts: int64 `[pictures, 3, num_classes]`, see `metrics.iou_counts`.
        mistakes: Of each picture, int64 `[pairs, 3]`: a true class, what it was taken
            for, and the pixels; most pixels first, at most a hundred pairs.
    """

    scores: dict
    confusion: np.ndarray
    names: list[str]
    counts: np.ndarray
    mistakes: list[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Scored:
    """A picture that is to be scored: what `metrics.ImageMeasure.measure` takes."""

    index: int
    name: str
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray | None = None


def evaluate(
    predictor,
    reader,
    *,
    measures=(),
    batch_size=1,
    limit=None,
    refine=None,
    on_batch=None,
) -> Evaluation:
    """Scores a network.

    Args:
        predictor: `inference.Predictor` of the network.
        reader: `pipeline.ImageReader` of the split.
        measures: Names of `MEASURES` that are counted beside the confusion matrix,
            "calibration" only without `refine`, which says no probabilities.
        batch_size: Pictures of equal size that go through the network at once.
        limit: Pictures in all; None for the whole split.
        refine: Function of a uint8 image `[height, width, 3]` and its probabilities
            `[height, width, num_classes]` to class numbers `[height, width]`, such as
            a CRF; or None. It is called from several threads at once.
        on_batch: Called with each batch and its class numbers, or None.

    Raises:
        ValueError: There is no picture, no such measure, a record is damaged, a label
            out of range, or what the network says of a picture is no number.
    """
    if refine and "calibration" in measures:
        raise errors.UserError(
            "Calibration looks at the network's probabilities, and what refines them "
            "says only classes. Leave one of the two out."
        )
    sizes = reader.split.sizes[:limit]
    dataset = pipeline.evaluation_dataset(reader, batch_size=batch_size, limit=limit)
    order = itertools.chain(*pipeline.equal_size_batches(sizes, batch_size))

    def predicted():
        for batch, classes, confidence in _predictions(
            predictor, dataset, refine, "calibration" in measures
        ):
            if on_batch is not None:
                on_batch(batch, classes)
            for i, name in enumerate(batch["name"].numpy()):
                yield Scored(
                    next(order),
                    name.decode(),
                    batch["label"][i].numpy(),
                    classes[i],
                    None if confidence is None else confidence[i],
                )

    with reader.errors_named():
        return score(predicted(), reader.split, measures, limit=limit)


def score(
    pictures: collections.abc.Iterable[Scored], split, measures=(), *, limit=None
) -> Evaluation:
    """Counts pictures side by side, adds the counts up, and scores the sums.

    Args:
        pictures: Of the split, each once, in any order.
        split: `records.Split`, or what has its `name`, `spec` and length.
        measures: See `evaluate`.
        limit: Likewise.

    Raises:
        ValueError: There is no picture, no such measure, or a class is out of range.
    """
    spec, count = split.spec, min(len(split), limit or len(split))
    if not count:
        raise errors.UserError(
            f"Split '{split.name}' holds no record to score (limit: {limit}). Choose "
            f"another split, or build it again."
        )
    counted = [metrics.Confusion(spec.num_classes), *_measures(measures, spec)]
    totals = [np.zeros(measure.shape, np.int64) for measure in counted]
    names = [""] * count
    counts = np.zeros((count, 3, spec.num_classes), np.int64)
    mistakes = [np.zeros((0, 3), np.int64)] * count

    def count_picture(picture):
        seen = picture.label, picture.prediction, picture.confidence
        try:
            return picture, [measure.measure(*seen) for measure in counted]
        except ValueError as error:
            raise errors.UserError(f"Picture {picture.name}: {error}") from error

    with progress.track(count, unit="picture", text="evaluating") as bar:
        # One thread behind the network: more of them keep it from its cores.
        for picture, found in processes.in_order(
            count_picture, pictures, num_threads=1
        ):
            for total, part in zip(totals, found, strict=True):
                total += part
            names[picture.index] = picture.name
            counts[picture.index] = metrics.iou_counts(found[0])
            mistakes[picture.index] = _mistakes(found[0])
            bar.update()
    scores: dict = {}
    for measure, total in zip(counted, totals, strict=True):
        scores |= measure.scores(total, spec.class_names)
    return Evaluation(scores, totals[0], names, counts, mistakes)


def _mistakes(confusion):
    """Lists the pairs of classes that were confused; see `Evaluation`."""
    truth, taken = np.nonzero(confusion)
    pixels = confusion[truth, taken]
    pairs = np.stack([truth, taken, pixels], axis=-1)[truth != taken]
    return pairs[np.argsort(-pairs[:, 2], kind="stable")][:_MOST_MISTAKES]


def _measures(names, spec):
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        raise errors.UserError(
            f"No such measure: {', '.join(unknown)}. Known: {', '.join(MEASURES)}."
        )
    return [MEASURES[name](spec.num_classes) for name in names]


def _predictions(predictor, dataset, refine, confident):
    """Yields batches, their class numbers, and their confidence or None."""

    def named(batch):
        names = [name.decode() for name in batch["name"].numpy()]
        return {"images": batch["image"].numpy(), "names": names}

    if refine is None:
        for batch in dataset:
            if confident:
                yield batch, *predictor.confident_classes(**named(batch))
            else:
                yield batch, predictor.classes(**named(batch)), None
        return

    def refined(item):
        batch, probabilities = item
        return batch, refine(batch["image"][0].numpy(), probabilities)[None], None

    pictures = (
        ({key: value[i : i + 1] for key, value in batch.items()}, probabilities)
        for batch in dataset
        for i, probabilities in enumerate(predictor.probabilities(**named(batch)))
    )
    yield from processes.in_order(refined, pictures, num_threads=processes.num_cores())
