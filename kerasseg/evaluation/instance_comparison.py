"""The matches of an evaluation of instances in a file, to compare two runs by."""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasseg import errors
from kerasseg.evaluation import (
    coco_evaluation,
    counts,
    inputs,
    instance_intervals,
    instance_rankings,
)
from kerasseg.evaluation.instance_rankings import Ranking
from kerasseg.metrics import intervals
from kerasseg.system import files

_AGAIN = "Evaluate that run again."


def write_matches(
    path: str | os.PathLike, evaluation, class_names: Sequence[str]
) -> None:
    """Writes the rankings of all classes as a NumPy archive.

    Its arrays are "names", JSON of the "classes" and the "images"; "instances" and
    "pixels", `[classes, images]`; and of each kind, "mask" and "box", "<kind>_count",
    the number of detections of each class, and the attributes of `Ranking`, those of
    all classes one after the other, as "<kind>_image", "<kind>_hits" and
    "<kind>_misses".

    Args:
        path: The file; it is replaced as a whole.
        evaluation: `InstanceEvaluation`.
        class_names: Names of the classes with instances, in order.
    """
    names = {"classes": list(class_names), "images": evaluation.names}
    rankings = evaluation.rankings["box"]  # Detections always have boxes.
    arrays = {
        "names": np.array(json.dumps(names)),
        "instances": np.stack([each.instances for each in rankings]),
        "pixels": np.stack([each.pixels for each in rankings]),
    }
    for kind, rankings in evaluation.rankings.items():
        arrays |= {
            f"{kind}_count": np.array([len(each.image) for each in rankings]),
            f"{kind}_image": np.concatenate([each.image for each in rankings]),
            f"{kind}_hits": np.concatenate([each.hits for each in rankings], axis=1),
            f"{kind}_misses": np.concatenate(
                [each.misses for each in rankings], axis=1
            ),
        }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    files.write_bytes(path, buffer.getvalue())


def read_matches(
    path: str | os.PathLike, class_names: Sequence[str]
) -> tuple[list[str], dict[str, list[Ranking]]]:
    """Reads a file of `write_matches`.

    Returns:
        Names of the images, and the rankings of all classes by kind.

    Raises:
        errors.MissingFileError: The file does not exist.
        errors.UserError: It is damaged, or has other classes.
    """
    inputs.check_evaluated(path)
    data = files.read_bytes(path)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            names = json.loads(str(arrays["names"]))
            classes, images = map(_names, (names["classes"], names["images"]))
            found = _split(arrays, len(classes), len(images))
    except _DAMAGED as error:
        raise errors.UserError(f"{path} is damaged ({error}). {_AGAIN}") from error
    if classes != list(class_names):
        raise errors.UserError(
            f"{path} does not have the matches of the classes "
            f"{', '.join(class_names)}. Two runs can be compared if they have the same "
            f"classes: evaluate both again."
        )
    return images, found


_DAMAGED = (
    *(ValueError, KeyError, TypeError, EOFError, OSError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


def _names(values):
    if not all(isinstance(each, str) for each in values):
        raise errors.UserError("a name is not a text")
    return list(values)


def _split(arrays, num_classes, num_images):
    """Returns the rankings by kind, from the arrays of the file."""
    instances = _checked(arrays["instances"], (num_classes, num_images))
    pixels = _checked(arrays["pixels"], (num_classes, num_images))
    found = {}
    for kind in coco_evaluation.IOU_TYPES:
        if kind == "mask" and "mask_count" not in arrays:  # Only boxes are detected.
            continue
        count = _checked(arrays[f"{kind}_count"], (num_classes,))
        total = int(count.sum())
        flat = [_checked(arrays[f"{kind}_image"], (total,), num_images)]
        shape = instance_rankings.NUM_THRESHOLDS, total
        flat += [
            _checked(arrays[f"{kind}_{name}"], shape, 2).astype(bool)
            for name in ("hits", "misses")
        ]
        places = np.cumsum(count)[:-1]
        parts = zip(*(np.split(each, places, axis=-1) for each in flat), strict=True)
        found[kind] = [
            Ranking(instances[k], pixels[k], *part) for k, part in enumerate(parts)
        ]
    return found


def _checked(array, shape, end=np.inf):
    """Raises `errors.UserError` unless an array has a shape, and values below `end`."""
    values = array.astype(np.int64)
    if array.shape != shape or array.dtype.kind not in "iub":
        raise errors.UserError(
            f"an array is {array.dtype} {array.shape}, expected {shape}"
        )
    if values.size and not (values.min() >= 0 and values.max() < end):
        raise errors.UserError(f"values from {values.min()} to {values.max()}")
    return values


def compare(
    evaluation, path: str | os.PathLike, class_names: Sequence[str]
) -> dict[str, Any]:
    """Compares with another run on the same images.

    Args:
        evaluation: `InstanceEvaluation` of this run.
        path: File that `write_matches` wrote for the other run.
        class_names: Names of the classes with instances, in order.

    Returns:
        See `instance_intervals.paired_interval`, for masks if both have them, and for
        boxes; and "level", "resamples" and "pictures" as in `metrics.interval`.

    Raises:
        errors.MissingFileError: The file does not exist.
        errors.UserError: It has other images, instances or classes, or is damaged.
    """
    names, others = read_matches(path, class_names)
    counts.check_names(path, names, evaluation.names)
    _check_instances(path, evaluation, others)
    difference: dict[str, Any] = {}
    for kind, rankings in evaluation.rankings.items():
        if kind in others:
            difference |= instance_intervals.paired_interval(
                rankings, others[kind], kind, class_names
            )
    return difference | intervals.settings(len(names))


def _check_instances(path, evaluation, others: Mapping[str, Sequence[Ranking]]):
    differs = np.zeros(len(evaluation.names), bool)
    for own, other in zip(evaluation.rankings["box"], others["box"], strict=True):
        differs |= (own.instances != other.instances) | (own.pixels != other.pixels)
    if differs.any():
        raise errors.UserError(
            f"{path} is of other labels: the instances of "
            f"{np.count_nonzero(differs)} of {len(differs)} images differ, the first "
            f"is {evaluation.names[np.argmax(differs)]}. Evaluate both runs on the "
            "same records."
        )
