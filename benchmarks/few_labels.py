r"""Compares trainings with few labels, from the counts that evaluations wrote.

python benchmarks/few_labels.py --results=experiments/results/camvid_few_labels

Folders of --results are named METHOD_LIST, such as consistency_0, for each list of
labeled images, or METHOD, if there is one run only. Each has the pictures.csv that
python -m kerasseg.evaluate writes into --output_dir. Prints a table in Markdown: the
mean IoU of each run; and, of each method, the mean difference from --baseline on the
same lists, with the 95 % interval of a paired bootstrap over the images.
"""

import csv
import pathlib

import numpy as np
from absl import app, flags

from kerasseg import evaluation, metrics

_RESULTS = flags.DEFINE_string("results", None, "Folder of the folders.", required=True)
_BASELINE = flags.DEFINE_string("baseline", "supervised", "Method to compare with.")


def read(folder: pathlib.Path) -> tuple[list[str], dict[str, dict[str, np.ndarray]]]:
    """Returns the names of the classes, and the counts by method and list."""
    names: list[str] = []
    runs: dict[str, dict[str, np.ndarray]] = {}
    for path in sorted(folder.glob("*/pictures.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            header = next(csv.reader(file))
        names = [
            name.removesuffix(" hits") for name in header if name.endswith(" hits")
        ]
        method, _, number = path.parent.name.rpartition("_")
        if not number.isdigit():
            method, number = path.parent.name, ""
        runs.setdefault(method, {})[number] = evaluation.read_counts(path, names)[1]
    return names, runs


def row(method: str, lists: dict, baseline: dict, names: list[str]) -> str:
    """Returns a line of the table."""
    scores = [100 * metrics.mean_iou(counts.sum(axis=0)) for counts in lists.values()]
    listed = ", ".join(f"{score:.1f}" for score in scores)
    pairs = [(lists[k], baseline[k]) for k in lists if k in baseline]
    text = ""
    if pairs and lists is not baseline:
        found = metrics.pooled_interval(pairs, names)["mean_iou"]
        value, low, high = (100 * found[key] for key in ("value", "low", "high"))
        text = f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
    return f"| {method} | {listed} | {np.mean(scores):.1f} | {text} |"


def main(argv):
    """Prints the table."""
    del argv
    names, runs = read(pathlib.Path(_RESULTS.value))
    if _BASELINE.value not in runs:
        raise app.UsageError(
            f"{_RESULTS.value} has no folder {_BASELINE.value}_0 with a pictures.csv."
        )
    print("| method | mean IoU of each list | mean | difference (95 % interval) |")
    print("| --- | --- | --- | --- |")
    for method, lists in runs.items():
        print(row(method, lists, runs[_BASELINE.value], names))


if __name__ == "__main__":
    app.run(main)
