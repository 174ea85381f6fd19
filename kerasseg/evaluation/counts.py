"""The counts of each image in a CSV file, from which two runs can be compared."""

import csv
import io
import os
from collections.abc import Sequence

import numpy as np

from kerasseg import errors, metrics
from kerasseg.evaluation import inputs
from kerasseg.system import files

_COUNTS = ("hits", "labelled", "predicted")


def write_counts(
    path: str | os.PathLike, evaluation, class_names: Sequence[str]
) -> None:
    """Writes a line per image: its name, mean IoU, and the counts of each class.

    Args:
        path: A CSV file; it is replaced as a whole.
        evaluation: `Evaluation`.
        class_names: Names of the classes, in order.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_header(class_names))
    for name, counts in zip(evaluation.names, evaluation.counts, strict=True):
        mean = float(metrics.mean_iou(counts))
        mean_iou = "" if np.isnan(mean) else f"{mean:.4f}"
        writer.writerow([name, mean_iou, *counts.ravel().tolist()])
    files.write_bytes(path, text.getvalue().encode())


def read_counts(
    path: str | os.PathLike, class_names: Sequence[str]
) -> tuple[list[str], np.ndarray]:
    """Reads a file of `write_counts`.

    Returns:
        Names of the images, and their counts, int64 `[images, 3, num_classes]`.

    Raises:
        errors.MissingFileError: The file does not exist.
        errors.UserError: It is damaged, or has other classes.
    """
    inputs.check_evaluated(path)
    header, *lines = list(csv.reader(io.StringIO(files.read_text(path)))) or [[]]
    if header != _header(class_names):
        raise errors.UserError(
            f"{path} does not have the counts of the classes {', '.join(class_names)}. "
            f"Two runs can be compared if they have the same classes: evaluate both "
            f"again."
        )
    try:
        names = [name for name, *_ in lines]
        numbers = [[int(text) for text in line[2:]] for line in lines]
        counts = np.array(numbers, np.int64).reshape(-1, 3, len(class_names))
    except ValueError as error:
        raise errors.UserError(
            f"{path} is damaged ({error}). Evaluate that run again."
        ) from error
    return names, counts


def compare(evaluation, path: str | os.PathLike, class_names: Sequence[str]) -> dict:
    """Compares with another run on the same images; see `metrics.paired_interval`.

    Args:
        evaluation: `Evaluation` of this run.
        path: File that `write_counts` wrote for the other run.
        class_names: Names of the classes, in order.

    Raises:
        errors.MissingFileError: The file does not exist.
        errors.UserError: It has other images or classes, or is damaged.
    """
    names, counts = read_counts(path, class_names)
    check_names(path, names, evaluation.names)
    return metrics.paired_interval(evaluation.counts, counts, class_names)


def check_number(path: str | os.PathLike, names: Sequence[str], split) -> None:
    """Raises unless a file has as many images as a split, before their evaluation.

    Args:
        path: The file of another run.
        names: Names of its images.
        split: `records.Split`, or an object with its `name` and length.

    Raises:
        errors.UserError: The numbers differ.
    """
    if len(names) != len(split):
        raise errors.UserError(
            f"{path} has {len(names)} images, the split '{split.name}' has "
            f"{len(split)}. Evaluate both runs on the same records and split."
        )


def check_names(
    path: str | os.PathLike, names: Sequence[str], expected: Sequence[str]
) -> None:
    """Raises `errors.UserError` unless a file of another run has the same images."""
    if list(names) != list(expected):
        missing = sorted(set(expected) - set(names))
        extra = sorted(set(names) - set(expected))
        raise errors.UserError(
            f"{path} has other images: {len(missing)} are missing there "
            f"({_first(missing)}), {len(extra)} are only there ({_first(extra)}). "
            f"Evaluate both runs on the same records and split."
        )


def _first(names):
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") or "none"


def _header(class_names):
    columns = [f"{name} {count}" for count in _COUNTS for name in class_names]
    return ["name", "mean_iou", *columns]
