"""The search: each setting scored on the same pictures, on all cores."""

import contextlib
import dataclasses
import itertools

import numpy as np

from kerasseg import crf, metrics
from kerasseg.crf.tuning import cache, grid
from kerasseg.system import processes, progress


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What was found.

    Attributes:
        best: The setting of the highest mean IoU.
        means: Mean IoU of all pictures by setting; None is the network alone.
        difference: See `metrics.paired_interval`, of the best less the network alone.
    """

    best: grid.Setting
    means: dict
    difference: dict


def tune(pictures, scores, axes, settings) -> Tuned:
    """Tries the coarse grid, then the fine one around the best of it.

    Args:
        pictures: `Pictures`.
        scores: `Scores`; what it holds is not counted again.
        axes: See `grid.coarse`.
        settings: All other arguments of `crf.dense_crf`.

    Raises:
        ValueError: See `grid.coarse`, `Pictures.prepare` and `crf.dense_crf`.
    """
    first = grid.coarse(axes)
    # One pixel of one class: what is wrong shows before a network is loaded.
    one = crf.prune(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1, 1)))
    crf.refined_classes(one, **settings, **first[0]._asdict())
    with _refiner(settings) as refine:
        _score(pictures, scores, first, refine, "coarse grid")
        second = grid.fine(axes, _best(pictures, scores, first))
        _score(pictures, scores, second, refine, "fine grid")
    tried = sorted({*first, *second})
    best = _best(pictures, scores, tried)
    return Tuned(
        best,
        {s: _mean(pictures, scores, s) for s in (None, *tried)},
        metrics.paired_interval(
            scores.of(best, pictures.indices),
            scores.of(None, pictures.indices),
            pictures.spec.class_names,
        ),
    )


@contextlib.contextmanager
def _refiner(settings):
    """Makes a function of a path, weights and reaches to class maps."""

    def refiner(call):
        return lambda path, weights, reaches: call(path, weights, settings | reaches)

    if crf.engine_name(settings["engine"]) == "keras":  # It uses all cores by itself.
        yield refiner(cache.refined_classes_each)
        return
    function = cache.refined_classes_each
    with processes.Processes(function, processes.num_cores()) as call:
        yield refiner(call)


def _score(pictures, scores, tried, refine, text):
    """Counts all pictures under the settings that they were not counted under."""
    tasks = list(_tasks(pictures.indices, scores, tried))
    pictures.prepare(dict.fromkeys(index for index, *_ in tasks), scores)

    def count(task):
        index, reaches, weights = task
        named = dict(zip(grid.Setting._fields[1:], reaches, strict=True))
        found = refine(pictures.path(index), weights, named)
        return index, {
            grid.Setting(weight, *reaches): pictures.counts(index, classes)
            for weight, classes in zip(weights, found, strict=True)
        }

    pairs = [(index, setting) for index in pictures.indices for setting in tried]
    total, done = len(pairs), sum(scores.has(*pair) for pair in pairs)
    with progress.track(total, unit="picture", text=text, initial=done) as bar:
        for index, counts in processes.in_order(
            count, tasks, num_threads=processes.num_cores()
        ):
            new = {s: found for s, found in counts.items() if not scores.has(index, s)}
            scores.add(index, new)
            bar.update(len(new))


def _tasks(indices, scores, tried):
    """Yields a picture, the reaches of a CRF, and weights, which share its lattice.

    Where one of the weights is missing, all are counted: alone, a weight could come out
    a little differently, and the result would depend on where a run was stopped.
    """
    by_reach = sorted(tried, key=lambda setting: setting[1:])
    groups = [
        (reaches, [setting.bilateral_compat for setting in same])
        for reaches, same in itertools.groupby(by_reach, lambda setting: setting[1:])
    ]
    for index in indices:
        for reaches, weights in groups:
            if not all(scores.has(index, (weight, *reaches)) for weight in weights):
                yield index, reaches, weights


def _best(pictures, scores, tried):
    """Returns the best setting; of equal ones that which changes least."""
    return max(tried, key=lambda setting: _mean(pictures, scores, setting))


def _mean(pictures, scores, setting):
    counts = scores.of(setting, pictures.indices)
    return float(metrics.mean_iou(np.sum(counts, axis=0)))
