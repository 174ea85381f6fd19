"""The grid search: each setting is scored on the same images, on all cores."""

import contextlib
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kerasseg import crf, metrics
from kerasseg.crf.tuning import cache, grid
from kerasseg.crf.tuning.images import CachedImages
from kerasseg.crf.tuning.scores import Scores
from kerasseg.system import processes, progress


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a search.

    Attributes:
        best: The setting with the highest mean IoU.
        means: Mean IoU over all images by setting; the setting None is no CRF.
        difference: `metrics.paired_interval` of the best setting minus no CRF.
    """

    best: grid.Setting
    means: dict
    difference: dict


def tune(
    images: CachedImages,
    scores: Scores,
    axes: Mapping[str, Sequence[float]],
    settings: dict,
) -> Result:
    """Scores a coarse grid, then a fine one around its best point.

    Args:
        images: The images.
        scores: The scores so far, which are not computed again.
        axes: As in `grid.coarse`.
        settings: All other keyword arguments of `crf.dense_crf`.

    Raises:
        errors.UserError: See `grid.coarse`, `CachedImages.prepare` and
            `crf.dense_crf`.
    """
    grid.check(axes, settings)
    first = grid.coarse(axes)
    with _refiner(settings) as refine:
        _score(images, scores, first, refine, "coarse grid")
        second = grid.fine(axes, _best(images, scores, first))
        _score(images, scores, second, refine, "fine grid")
    tried = sorted({*first, *second})
    best = _best(images, scores, tried)
    return Result(
        best,
        {s: _mean(images, scores, s) for s in (None, *tried)},
        metrics.paired_interval(
            scores.of(best, images.indices),
            scores.of(None, images.indices),
            images.spec.class_names,
        ),
    )


@contextlib.contextmanager
def _refiner(settings):
    """Yields a function of a path, weights and standard deviations to masks."""

    def refiner(call):
        return lambda path, weights, others: call(path, weights, settings | others)

    if crf.engine_name(settings["engine"]) == "keras":  # Uses all cores by itself.
        yield refiner(cache.refined_masks)
        return
    with processes.Processes(cache.refined_masks, processes.num_cores()) as call:
        yield refiner(call)


def _score(images, scores, settings, refine, text):
    """Scores all images with the settings that have no score yet."""
    tasks = list(_tasks(images.indices, scores, settings))
    images.prepare(dict.fromkeys(task.image for task in tasks), scores)

    def count(task):
        deviations = dict(zip(grid.Setting._fields[1:], task.deviations, strict=True))
        masks = refine(images.path(task.image), task.weights, deviations)
        return task.image, {
            grid.Setting(weight, *task.deviations): images.counts(task.image, mask)
            for weight, mask in zip(task.weights, masks, strict=True)
        }

    pairs = [(index, setting) for index in images.indices for setting in settings]
    total, done = len(pairs), sum(scores.has(*pair) for pair in pairs)
    with progress.track(total, unit="image", text=text, initial=done) as bar:
        for index, counts in processes.in_order(
            count, tasks, num_threads=processes.num_cores()
        ):
            new = {s: array for s, array in counts.items() if not scores.has(index, s)}
            scores.add(index, new)
            bar.update(len(new))


class _Task(NamedTuple):
    """One image and standard deviations, with the weights that share a lattice."""

    image: int
    deviations: tuple[float, float]
    weights: list[float]


def _tasks(indices, scores, settings):
    """Yields the tasks of which at least one weight has no score.

    All weights of such a task are computed again: one weight alone may give a slightly
    different mask, and the result must not depend on where a run was stopped.
    """
    ordered = sorted(settings, key=lambda setting: setting[1:])
    groups = [
        (deviations, [setting.bilateral_compat for setting in group])
        for deviations, group in itertools.groupby(ordered, lambda s: s[1:])
    ]
    for index in indices:
        for deviations, weights in groups:
            if not all(scores.has(index, (weight, *deviations)) for weight in weights):
                yield _Task(index, deviations, weights)


def _best(images, scores, settings):
    """Returns the best setting; among equal ones the first, which smooths least."""
    return max(settings, key=lambda setting: _mean(images, scores, setting))


def _mean(images, scores, setting):
    counts = scores.of(setting, images.indices)
    return float(metrics.mean_iou(np.sum(counts, axis=0)))
