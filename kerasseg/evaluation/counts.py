"""Counts of each picture in a file, so that two runs can be compared later."""

import csv
import io
import os

import numpy as np

from kerasseg import errors, metrics
from kerasseg.system import files

COUNTS = "pictures.csv"  # In a workdir, or where the scores are written.

_COUNTS = ("hits", "labelled", "predicted")


def write_counts(path: str | os.PathLike, evaluation, class_names) -> None:
    """Writes a line a picture: name, mean IoU, and the counts of each class.

    Args:
        path: A CSV file; it is replaced as a whole.
        evaluation: `Evaluation`.
        class_names: One name a class, in the order of the numbers.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "mean_iou", *_columns(class_names)])
    for name, counts in zip(evaluation.names, evaluation.counts, strict=True):
        mean = float(metrics.mean_iou(counts))
        shown = "" if np.isnan(mean) else f"{mean:.4f}"
        writer.writerow([name, shown, *counts.ravel().tolist()])
    files.write_bytes(path, text.getvalue().encode())


def read_counts(path: str | os.PathLike, class_names) -> tuple[list[str], np.ndarray]:
    """Reads what `write_counts` wrote.

    Returns:
        Names of the pictures, and int64 `[pictures, 3, num_classes]`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or of other classes.
    """
    if not os.path.exists(path):
        raise errors.MissingFileError(
            f"{path} is missing. Score the run of {os.path.dirname(path) or '.'} "
            f"first, with python -m kerasseg.evaluate."
        )
    head, *lines = list(csv.reader(io.StringIO(files.read_text(path)))) or [[]]
    wanted = ["name", "mean_iou", *_columns(class_names)]
    if head != wanted:
        raise errors.UserError(
            f"{path} does not hold the counts of the classes {', '.join(class_names)}. "
            f"Two runs are compared on the same classes; score both again."
        )
    try:
        names = [name for name, *_ in lines]
        numbers = [[int(text) for text in line[2:]] for line in lines]
        counts = np.array(numbers, np.int64).reshape(-1, 3, len(class_names))
    except ValueError as error:
        raise errors.UserError(
            f"{path} is damaged ({error}). Score that run again."
        ) from error
    return names, counts


def compare(evaluation, path: str | os.PathLike, class_names) -> dict:
    """Compares with another run on the same pictures; see `metrics.paired_interval`.

    Args:
        evaluation: `Evaluation` of this run.
        path: What `write_counts` wrote of the other one.
        class_names: One name a class, in the order of the numbers.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The pictures are not the same, or the file is damaged.
    """
    names, counts = read_counts(path, class_names)
    if names != evaluation.names:
        missing = sorted(set(evaluation.names) - set(names))
        extra = sorted(set(names) - set(evaluation.names))
        raise errors.UserError(
            f"{path} is of other pictures: {len(missing)} are missing there "
            f"({_first(missing)}), {len(extra)} are there only ({_first(extra)}). "
            f"Score both runs on the same records and split."
        )
    return metrics.paired_interval(evaluation.counts, counts, class_names)


def _first(names):
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") or "none"


def _columns(class_names):
    return [f"{name} {count}" for count in _COUNTS for name in class_names]
