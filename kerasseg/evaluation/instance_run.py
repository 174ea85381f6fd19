"""Evaluates detected instances, and writes the results."""

import csv
import dataclasses
import io
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from kerasseg import images, inference, records, report
from kerasseg.evaluation import (
    coco_results,
    counts,
    inputs,
    instance_comparison,
    instance_scoring,
    instance_table,
    instances,
    run,
)
from kerasseg.evaluation.instances import DetectedImage, InstanceEvaluation
from kerasseg.evaluation.record_objects import RecordObjects
from kerasseg.metrics import instance_errors
from kerasseg.system import files, progress
from kerasseg.workdir import layout, metadata, run_records


def evaluate_results(
    predictions_json: str | os.PathLike,
    output: inputs.Output,
    *,
    workdir: str | os.PathLike | None = None,
    records_dir: str | os.PathLike | None = None,
    split: str = "val",
    dataset: str | None = None,
    annotations_json: str | os.PathLike | None = None,
    min_score: float = images.MIN_SCORE,
) -> InstanceEvaluation:
    """Evaluates results in COCO's format, prints their scores and writes the results.

    Args:
        predictions_json: File or folder of the results; see `read_results`.
        output: Where the results are written.
        workdir: Folder of a run, whose records are used if `records_dir` is None.
        records_dir: Folder of the records.
        split: Name of the split.
        dataset: Name of the data set, if the records have no dataset.json.
        annotations_json: See `read_results`.
        min_score: See `score_instances`.

    Raises:
        errors.MissingFileError: A file or folder does not exist.
        errors.MissingPackageError: pycocotools is not installed.
        errors.UserError: The results are damaged or do not match the records, the
            records have no instances, or are not those of the evaluation to compare
            with.
    """
    inputs.check_results(
        predictions_json,
        workdir=workdir,
        records_dir=records_dir,
        split=split,
        dataset=dataset,
        annotations_json=annotations_json,
        compare_workdir=output.compare_workdir,
        min_score=min_score,
    )
    if workdir is not None:
        opened = run_records.open_records(
            workdir, split, records_dir=records_dir, dataset=dataset
        ).split
    else:
        opened = records.open_split(str(records_dir), split, dataset=dataset)
    _check_comparable(output, opened)
    ground_truth = RecordObjects(opened)
    found = coco_results.read_results(
        predictions_json,
        ground_truth.targets(),
        opened.spec.class_names,
        annotations_json=annotations_json,
    )
    num_empty = sum(not len(each) for each in found)
    progress.log(
        f"{predictions_json}: {sum(map(len, found)):,} results of "
        f"{len(found) - num_empty:,} images; {num_empty:,} images have none."
    )

    def get_sample(index):
        return ground_truth.sample(index, found[index])

    evaluation = instances.score_instances(
        map(get_sample, range(len(found))), opened, min_score=min_score
    )
    settings = {
        "split": opened.name,
        "predictions_json": os.fspath(predictions_json),
        "min_score": min_score,
    }
    return write_results(output, evaluation, opened.spec, settings, get_sample)


def evaluate_detector(
    workdir: str | os.PathLike,
    output: inputs.Output,
    *,
    split: str = "val",
    records_dir: str | os.PathLike | None = None,
    dataset: str | None = None,
    detector_options: Mapping[str, Any] | None = None,
    min_score: float = images.MIN_SCORE,
) -> InstanceEvaluation:
    """Evaluates the best model of a run that detects objects, and writes the results.

    Args:
        workdir: Folder of the run.
        output: Where the results are written.
        split: Name of the split.
        records_dir: Folder of the records; None for those of the run.
        dataset: Name of the data set, if the records have no dataset.json.
        detector_options: Options of the command, see `inference.load`.
        min_score: See `score_instances`.

    Raises:
        errors.MissingFileError: See `run.evaluate_run`.
        errors.MissingPackageError: pycocotools is not installed.
        errors.UserError: The records have other classes or no instances, or are not
            those of the evaluation to compare with; or an option does not apply,
            or is out of range.
    """
    inference.options.check_min_score(min_score)
    reader = run_records.open_records(
        workdir, split, records_dir=records_dir, dataset=dataset
    )
    _check_comparable(output, reader.split)
    best = metadata.read_metadata(workdir)
    detector = inference.load(workdir, **(detector_options or {})).detector
    evaluation = instance_scoring.evaluate_instances(
        detector, reader, min_score=min_score
    )
    settings = {
        "split": reader.split.name,
        "model": best["model"],
        "step": best["step"],
        **metadata.labeled_list(best),
        "min_score": min_score,
    }

    def get_sample(index):
        return instance_scoring.detected_image(detector, reader, index)

    return write_results(output, evaluation, reader.split.spec, settings, get_sample)


def write_results(
    output: inputs.Output,
    evaluation: InstanceEvaluation,
    spec,
    settings: Mapping[str, Any],
    get_sample: Callable[[int], DetectedImage],
) -> InstanceEvaluation:
    """Prints the scores, and writes the files of an evaluation of instances.

    These are metrics.json, instances.csv, instances.npz and report.html.

    Args:
        output: Where the results are written, and the run to compare with.
        evaluation: The evaluation.
        spec: The data set.
        settings: Settings of the evaluation, of which "min_score" is one.
        get_sample: Function of an image's index; see `report.write_instances`.
    """
    folder, class_names = os.fspath(output.folder), spec.class_names[1:]
    if output.compare_workdir is not None:
        path = os.path.join(output.compare_workdir, layout.INSTANCE_MATCHES)
        difference = instance_comparison.compare(evaluation, path, class_names)
        scores = {**evaluation.scores, "difference": difference}
        evaluation = dataclasses.replace(evaluation, scores=scores)
        settings = {**settings, "compared_with": os.fspath(output.compare_workdir)}
    progress.log(instance_table.table(evaluation.scores))
    os.makedirs(folder, exist_ok=True)
    _write_counts(os.path.join(folder, layout.INSTANCE_COUNTS), evaluation)
    path = os.path.join(folder, layout.INSTANCE_MATCHES)
    instance_comparison.write_matches(path, evaluation, class_names)
    total = {"pictures": len(evaluation.names)}
    run.write_metrics(folder, {**evaluation.scores, **settings, **total})
    if output.write_report:
        path = os.path.join(folder, layout.REPORT)
        report.write_instances(
            path,
            evaluation,
            spec,
            {**settings, "command": output.command},
            get_sample,
            min_score=settings["min_score"],
        )
        progress.log(f"The report is in {path}.")
    return evaluation


def _check_comparable(output, split):
    """Fails before hours of evaluation, not after."""
    if output.compare_workdir is None:
        return
    path = os.path.join(output.compare_workdir, layout.INSTANCE_MATCHES)
    names, _ = instance_comparison.read_matches(path, split.spec.class_names[1:])
    counts.check_number(path, names, split)


def _write_counts(path, evaluation):
    """Writes a line per image: its name, F1 score, and the counts of each kind."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "f1", *instance_errors.KINDS])
    scores = instance_errors.f1(evaluation.counts).tolist()
    for name, score, numbers in zip(
        evaluation.names, scores, evaluation.counts.tolist(), strict=True
    ):
        writer.writerow([name, "" if math.isnan(score) else f"{score:.4f}", *numbers])
    files.write_bytes(path, text.getvalue().encode("utf-8", "backslashreplace"))
