r"""Scores the best model of a run, or masks on disk, on a split.

python -m kerasseg.evaluate --workdir=DIR --split=val
python -m kerasseg.evaluate --workdir=DIR --split=val --output_stride=8 \
    --eval_scales=0.5,0.75,1,1.25,1.5,1.75 --flip --crf --compare_workdir=OTHER
python -m kerasseg.evaluate --predictions_dir=DIR --records_dir=DIR --output_dir=DIR
python -m kerasseg.evaluate --predictions_dir=DIR --labels_dir=DIR --dataset=camvid \
    --output_dir=DIR

Prints a table; writes metrics.json, pictures.csv with the counts of each picture, which
another evaluation can be compared with, and report.html, a page that shows where the
errors are (--noreport leaves it out). They go into the workdir, or where --output_dir
says. The records are those that the run was trained on, unless
--records_dir names others of the same classes. Every picture counts at its own size.
"""

import contextlib
import dataclasses
import json
import math
import os
import shlex
import sys

from absl import app, flags

from kerasseg import (
    cli,
    datasets,
    errors,
    evaluation,
    inference,
    metrics,
    pipeline,
    records,
    report,
)
from kerasseg.cli import inference_flags
from kerasseg.system import files
from kerasseg.workdir import best_model, run_records

_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 1, "Pictures of equal size at once.", lower_bound=1
)
_MEASURES = flags.DEFINE_list(
    "measures",
    list(evaluation.MEASURES),
    f"What is scored beside the confusion matrix, of {','.join(evaluation.MEASURES)}. "
    f"Calibration is left out where the network does not speak last.",
)
_PREDICTIONS_DIR = flags.DEFINE_string(
    "predictions_dir", None, "Score the masks of this folder instead of a network."
)
_LABELS_DIR = flags.DEFINE_string(
    "labels_dir",
    None,
    "Labels for the masks, PNGs of class numbers; the classes are those of --dataset, "
    "or of --workdir or --records_dir.",
)
_COMPARE_WORKDIR = flags.DEFINE_string(
    "compare_workdir", None, "Folder with the pictures.csv of a run to compare with."
)
_REPORT = flags.DEFINE_boolean(
    "report", True, "Write report.html; some pictures are predicted again for it."
)
for _name in ("workdir", "records_dir", "dataset", "split", "output_dir"):
    flags.declare_key_flag(_name)


def main(argv):
    """Turns flags into plain arguments, and nothing more."""
    del argv
    workdir, folder = cli.WORKDIR.value, cli.OUTPUT_DIR.value
    with contextlib.ExitStack() as stack:
        if _PREDICTIONS_DIR.value is None:
            (workdir,) = cli.required(workdir=workdir)
            folder = folder or workdir
            found, spec, setting, look = _score_network(workdir, stack)
        else:
            (folder,) = cli.required(output_dir=folder or workdir)
            found, spec, setting, look = _score_masks(_PREDICTIONS_DIR.value)
        found = _described(found, spec, setting)
        print(metrics.table(found.scores))
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, evaluation.COUNTS)
        evaluation.write_counts(path, found, spec.class_names)
        write_metrics(folder, {**found.scores, **setting, "pictures": len(found.names)})
        if _REPORT.value:
            setting["command"] = shlex.join(
                ["python", "-m", "kerasseg.evaluate", *sys.argv[1:]]
            )
            path = os.path.join(folder, "report.html")
            report.write(path, found, spec, setting, look)
            print(f"Pictures and curves: {path}")


def _described(found, spec, setting):
    """Adds the interval, and the difference to another run where there is one."""
    scores = dict(found.scores)
    scores["interval"] = metrics.interval(found.counts, spec.class_names)
    if path := _other_counts():
        scores["difference"] = evaluation.compare(found, path, spec.class_names)
        setting["compared_with"] = _COMPARE_WORKDIR.value
    return dataclasses.replace(found, scores=scores)


def _other_counts():
    """Returns the file of the run to compare with, or None."""
    folder = _COMPARE_WORKDIR.value
    return None if folder is None else os.path.join(folder, evaluation.COUNTS)


def _check_comparable(split):
    """Looks at the other run before hours of scoring, not after."""
    if path := _other_counts():
        names, _ = evaluation.read_counts(path, split.spec.class_names)
        if len(names) != len(split):
            raise errors.UserError(
                f"{path} is of {len(names)} pictures, the split '{split.name}' of "
                f"{len(split)}. Score both runs on the same records and split."
            )


def _score_network(workdir, stack):
    """Scores a run's network.

    Args:
        workdir: Of the run.
        stack: `contextlib.ExitStack` that what the network needs lives in.

    Returns:
        What was found, the data set's facts, how it was found, and a function that
        looks at one picture.
    """
    options = inference_flags.read_inference_options()
    views = inference_flags.read_predictor_options().arguments()
    facts = best_model.read_metadata(workdir)
    reader = run_records.open_records(
        workdir,
        cli.SPLIT.value,
        records_dir=cli.RECORDS_DIR.value,
        dataset=cli.DATASET.value,
    )
    _check_comparable(reader.split)
    refine = stack.enter_context(
        inference.start_refiner(options.crf_settings(), options.superpixels)
    )
    model = best_model.load_best(workdir, output_stride=options.output_stride)
    predictor = inference.Predictor(model, **views)
    found = evaluation.evaluate(
        predictor,
        reader,
        measures=_measures(without=["calibration"] if refine else []),
        batch_size=_BATCH_SIZE.value,
        refine=refine,
    )
    setting = {
        "split": reader.split.name,
        "model": facts["model"],
        "step": facts["step"],
        "output_stride": options.output_stride or facts["options"].get("output_stride"),
        **views,
        "crf": options.crf_settings(),
        "superpixels": options.superpixels or None,
    }
    look = evaluation.network_samples(predictor, reader, refine)
    return found, reader.split.spec, setting, look


def _score_masks(predictions_dir):
    """See `_score_network`."""
    labels = _labels()
    _check_comparable(labels)
    measures = _measures(without=["calibration"])
    found = evaluation.score_masks(predictions_dir, labels, measures)
    setting = {"split": labels.name, "predictions_dir": predictions_dir}
    look = evaluation.mask_samples(predictions_dir, labels)
    return found, labels.spec, setting, look


def _labels():
    dataset, workdir = cli.DATASET.value, cli.WORKDIR.value
    records_dir, split = cli.RECORDS_DIR.value, cli.SPLIT.value
    if _LABELS_DIR.value is not None:
        if dataset is not None:
            spec = datasets.get(dataset)
        elif workdir is not None:
            spec = best_model.read_spec(workdir)
        elif records_dir is not None:
            spec = records.read_info(records_dir).spec
        else:
            raise app.UsageError(
                "--labels_dir needs the classes: --dataset, or the --workdir or the "
                "--records_dir of own ones."
            )
        return evaluation.LabelFolder(_LABELS_DIR.value, spec)
    if workdir is not None:
        reader = run_records.open_records(
            workdir, split, records_dir=records_dir, dataset=dataset
        )
    elif records_dir is not None:
        opened = records.open_split(records_dir, split, dataset=dataset)
        reader = pipeline.ImageReader(opened)
    else:
        raise app.UsageError(
            "--predictions_dir needs --records_dir or --labels_dir, to score against."
        )
    return evaluation.RecordLabels(reader)


def _measures(without):
    """Leaves out what cannot be measured, where it was not asked for by name."""
    if flags.FLAGS["measures"].present:
        return [name for name in _MEASURES.value if name]
    return [name for name in _MEASURES.value if name not in without]


def write_metrics(folder, found) -> None:
    """Writes metrics.json, whole or not at all; a score that is NaN becomes null.

    Args:
        folder: The file's.
        found: Scores, and how they were found.
    """
    plain = {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in found.items()
    }
    text = json.dumps(plain, indent=2, allow_nan=False) + "\n"
    files.write_bytes(os.path.join(folder, "metrics.json"), text.encode())


if __name__ == "__main__":
    cli.run(main)
