"""Evaluates a run or a folder of masks, and writes the results."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from kerasseg import (
    datasets,
    inference,
    metrics,
    pipeline,
    records,
    report,
)
from kerasseg.evaluation import (
    counts,
    few_labels,
    inputs,
    masks,
    samples,
    scoring,
    thresholds,
)
from kerasseg.evaluation.scoring import Evaluation
from kerasseg.inference import refining
from kerasseg.system import files, progress
from kerasseg.workdir import best_model, class_rule, layout, metadata, run_records


def evaluate_run(
    workdir: str | os.PathLike,
    output: inputs.Output,
    *,
    options,
    split: str = "val",
    records_dir: str | os.PathLike | None = None,
    dataset: str | None = None,
    predictor_options: Mapping[str, Any] | None = None,
    measures: Sequence[str] | None = None,
    batch_size: int = 1,
    tune_thresholds: bool = False,
) -> Evaluation:
    """Evaluates the best model of a run, prints its scores and writes the results.

    Args:
        workdir: Folder of the run.
        output: Where the results are written.
        options: Output stride, CRF and superpixels.
        split: Name of the split.
        records_dir: Folder of the records; None for those the run was trained on.
        dataset: Name of the data set, if the records have no dataset.json.
        predictor_options: Arguments of `inference.Predictor`, such as "scales".
        measures: Names of `MEASURE_NAMES` that are computed besides the confusion
            matrix; None for all, calibration only without refinement.
        batch_size: Images of equal size per batch.
        tune_thresholds: Whether to tune the thresholds of the classes on the split
            first, and write them into the workdir; see `thresholds.tune`.

    Raises:
        errors.MissingFileError: A folder, the best model or the records do not exist.
        errors.UserError: The records have other classes than the run, are damaged, or
            are not those of the evaluation to compare with.
    """
    predictor_options = dict(predictor_options or {})
    best = metadata.read_metadata(workdir)
    reader = run_records.open_records(
        workdir, split, records_dir=records_dir, dataset=dataset
    )
    _check_comparable(output, reader.split)
    rule = _rule(workdir, options, tune_thresholds)
    refiner = inference.start_refiner(
        options.crf_settings(), options.superpixels, rule=rule
    )
    with refiner as refine:
        model = best_model.load_best(workdir, output_stride=options.output_stride)
        predictor = inference.Predictor(model, rule=rule, **predictor_options)
        if tune_thresholds:
            rule = thresholds.tune(workdir, predictor, reader)
            predictor = inference.Predictor(model, rule=rule, **predictor_options)
        result = scoring.evaluate(
            predictor,
            reader,
            measures=_measures(measures, refine is None, multi_label=rule.multi_label),
            batch_size=batch_size,
            refine=refine,
        )
        stride = options.output_stride or best["options"].get("output_stride")
        settings = {
            "split": reader.split.name,
            "model": best["model"],
            "step": best["step"],
            **metadata.labeled_list(best),
            "output_stride": stride,
            **predictor_options,
            **rule.to_json(),
            "crf": options.crf_settings(),
            "superpixels": options.superpixels or None,
        }
        get_sample = samples.network_samples(predictor, reader, refine)
        spec = reader.split.spec
        training = few_labels.read(workdir, spec) if output.write_report else None
        return _write_results(output, result, spec, settings, get_sample, training)


def _rule(workdir, options, tune_thresholds):
    """Returns how masks are made, before the thresholds are tuned."""
    rule = class_rule.read(workdir)
    if tune_thresholds:
        thresholds.check(workdir)
        tuned = dataclasses.replace(rule, thresholds=(0.5,))
        refining.check_rule(tuned, options.crf_settings(), options.superpixels)
    return rule


def evaluate_masks(
    predictions_dir: str | os.PathLike,
    output: inputs.Output,
    *,
    labels_dir: str | os.PathLike | None = None,
    workdir: str | os.PathLike | None = None,
    records_dir: str | os.PathLike | None = None,
    split: str = "val",
    dataset: str | None = None,
    measures: Sequence[str] | None = None,
) -> Evaluation:
    """Evaluates predicted masks, prints their scores and writes the results.

    Args:
        predictions_dir: Folder of the masks; see `score_masks`.
        output: Where the results are written.
        labels_dir: Folder of labels, PNG files of class indices, whose classes are
            those of `dataset`, of the run or of the records; None for the labels of
            the records.
        workdir: Folder of a run, whose records are used if `records_dir` is None.
        records_dir: Folder of the records.
        split: Name of the split.
        dataset: Name of the data set.
        measures: See `evaluate_run`; "calibration" cannot be computed.

    Raises:
        errors.MissingFileError: A folder does not exist, or has no PNG file.
        errors.UserError: Labels are missing, or the masks do not match the labels.
    """
    labels = _labels(labels_dir, workdir, records_dir, split, dataset)
    _check_comparable(output, labels)
    result = masks.score_masks(
        predictions_dir,
        labels,
        _measures(measures, False, multi_label=labels.spec.multi_label),
    )
    settings = {"split": labels.name, "predictions_dir": os.fspath(predictions_dir)}
    get_sample = samples.mask_samples(predictions_dir, labels)
    return _write_results(output, result, labels.spec, settings, get_sample)


def _labels(labels_dir, workdir, records_dir, split, dataset):
    if labels_dir is not None:
        if dataset is not None:
            spec = datasets.get(dataset)
        elif workdir is not None:
            spec = metadata.read_spec(workdir)
        else:
            spec = records.read_info(records_dir).spec
        return masks.LabelFolder(labels_dir, spec)
    if workdir is not None:
        reader = run_records.open_records(
            workdir, split, records_dir=records_dir, dataset=dataset
        )
    else:
        opened = records.open_split(records_dir, split, dataset=dataset)
        reader = pipeline.ImageReader(opened)
    return masks.RecordLabels(reader)


def _measures(names, has_probabilities, *, multi_label):
    """Returns the measures to compute: those that can be, or those asked for."""
    if multi_label:
        inputs.check_multi_label(names or ())
        return []
    if names is None:
        names = inputs.MEASURE_NAMES
        return [n for n in names if has_probabilities or n != "calibration"]
    inputs.check_measures(names, has_probabilities=has_probabilities)
    return list(names)


def _check_comparable(output, split):
    """Fails before hours of evaluation, not after."""
    if output.compare_workdir is None:
        return
    path = os.path.join(output.compare_workdir, layout.IMAGE_COUNTS)
    names, _ = counts.read_counts(path, split.spec.class_names)
    counts.check_number(path, names, split)


def _write_results(output, result, spec, settings, get_sample, training=None):
    folder, class_names = os.fspath(output.folder), spec.class_names
    scores = {**result.scores, "interval": metrics.interval(result.counts, class_names)}
    if output.compare_workdir is not None:
        path = os.path.join(output.compare_workdir, layout.IMAGE_COUNTS)
        scores["difference"] = counts.compare(result, path, class_names)
        settings["compared_with"] = os.fspath(output.compare_workdir)
    result = dataclasses.replace(result, scores=scores)
    progress.log(metrics.table(scores))
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, layout.IMAGE_COUNTS)
    counts.write_counts(path, result, class_names)
    write_metrics(folder, {**scores, **settings, "pictures": len(result.names)})
    if output.write_report:
        path = os.path.join(folder, layout.REPORT)
        settings = {**settings, "command": output.command}
        report.write(path, result, spec, settings, get_sample, training=training)
        progress.log(f"The report is in {path}.")
    return result


def write_metrics(folder: str | os.PathLike, values: Mapping[str, Any]) -> None:
    """Writes metrics.json as a whole or not at all; NaN becomes null.

    Args:
        folder: Folder of the file.
        values: Scores and the settings of the evaluation, by key.
    """
    plain = {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in values.items()
    }
    text = json.dumps(plain, indent=2, allow_nan=False) + "\n"
    files.write_bytes(os.path.join(folder, layout.METRICS), text.encode())
