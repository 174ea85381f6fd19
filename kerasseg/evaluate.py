r"""Evaluates the best model of a run, masks or detections on a split of the records.

python -m kerasseg.evaluate --workdir=DIR --split=val
python -m kerasseg.evaluate --workdir=DIR --split=val --output_stride=8 \
    --eval_scales=0.5,0.75,1,1.25,1.5,1.75 --flip --crf --compare_workdir=OTHER
python -m kerasseg.evaluate --predictions_dir=DIR --records_dir=DIR --output_dir=DIR
python -m kerasseg.evaluate --predictions_dir=DIR --labels_dir=DIR --dataset=camvid \
    --output_dir=DIR
python -m kerasseg.evaluate --predictions_json=FILE|DIR --records_dir=DIR \
    --output_dir=DIR

Prints a table of scores and writes three files into --output_dir, by default the
workdir: metrics.json, the scores and settings; pictures.csv, the pixel counts of each
image, for --compare_workdir; and report.html, a web page with the scores and the images
with the most errors (not with --noreport). The records are those that the run was
trained on, or those of --records_dir, which must have the same classes. Every image is
evaluated at its original size. docs/evaluation.md describes the scores.

Networks that detect objects are scored on records with instances, and so are results of
any tool in COCO's format, --predictions_json. Instead of pictures.csv, instances.csv
has the numbers of errors of each image, and instances.npz the matches of the detections
for --compare_workdir.
"""

import shlex
import sys
from typing import Any

from absl import flags

from kerasseg import cli, errors, evaluation, images, models
from kerasseg.cli import inference_flags, networks
from kerasseg.system import runtime
from kerasseg.workdir import metadata

_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    1,
    "Maximum number of images in a batch. Only images of equal size are batched.",
    lower_bound=1,
)
_MEASURES = flags.DEFINE_list(
    "measures",
    list(evaluation.MEASURE_NAMES),
    f"Measures to compute in addition to the confusion matrix, from "
    f"{','.join(evaluation.MEASURE_NAMES)}; empty for none. The default leaves out "
    f"calibration if there are no probabilities of the network, that is, with --crf, "
    f"--superpixels or --predictions_dir.",
)
_PREDICTIONS_DIR = flags.DEFINE_string(
    "predictions_dir", None, "Folder of predicted masks to evaluate instead of a run."
)
_PREDICTIONS_JSON = flags.DEFINE_string(
    "predictions_json",
    None,
    "File of results in COCO's format to evaluate instead of a run, or a folder of "
    "such files.",
)
_ANNOTATIONS_JSON = flags.DEFINE_string(
    "annotations_json",
    None,
    "With --predictions_json, annotation file of COCO whose images and categories name "
    "its ids. By default ids are names, or numbers of the images and classes.",
)
_COMPARE_WORKDIR = flags.DEFINE_string(
    "compare_workdir",
    None,
    "Folder with the pictures.csv of an earlier evaluation, or the instances.npz of "
    "detected objects, such as the workdir of another run, to compare with.",
)
_TUNE_THRESHOLDS = flags.DEFINE_boolean(
    "tune_thresholds",
    False,
    "First find the thresholds of the probabilities with the highest IoU on --split, "
    "for a network with --activation=sigmoid. They are written into the workdir, and "
    "kerasseg.predict and export use them. Other networks have none.",
)
_REPORT = flags.DEFINE_boolean(
    "report",
    True,
    "Write report.html, for which some of the images are predicted a second time.",
)
for _name in (
    *("workdir", "records_dir", "dataset", "split", "output_dir"),
    *("min_score", "labels_dir"),
):
    flags.declare_key_flag(_name)


def main(argv):
    """Turns flags into arguments."""
    del argv
    if cli.WORKDIR.value is not None:
        networks.resolve_workdir(cli.WORKDIR.value, writes=True)
    output = evaluation.Output(
        folder=cli.OUTPUT_DIR.value or cli.WORKDIR.value,
        compare_workdir=_COMPARE_WORKDIR.value,
        write_report=_REPORT.value,
        command=shlex.join(["python", "-m", "kerasseg.evaluate", *sys.argv[1:]]),
    )
    data: dict[str, Any] = {
        "records_dir": cli.RECORDS_DIR.value,
        "split": cli.SPLIT.value,
        "dataset": cli.DATASET.value,
        "measures": _measures(),
    }
    if _PREDICTIONS_JSON.value is not None:
        _evaluate_results(output, data)
    else:
        _evaluate(output, data)


def _evaluate(output, data):
    """Evaluates the run, or --predictions_dir."""
    workdir, predictions_dir = cli.WORKDIR.value, _PREDICTIONS_DIR.value
    masks = {"labels_dir": cli.LABELS_DIR.value, "workdir": workdir}
    if predictions_dir is None:
        cli.required(workdir=workdir)
    else:
        cli.required(output_dir=output.folder)
        _check_no_min_score()
        if _TUNE_THRESHOLDS.value:
            raise errors.UserError(
                "`tune_thresholds` needs the probabilities of a network, which "
                "`predictions_dir` does not have. Leave one of them out."
            )
    evaluation.check_inputs(
        predictions_dir=predictions_dir,
        compare_workdir=_COMPARE_WORKDIR.value,
        **masks,
        **data,
    )
    options = inference_flags.read_inference_options()
    predictor_options = inference_flags.read_predictor_options().arguments()
    runtime.start_tensorflow()
    if predictions_dir is not None:
        evaluation.evaluate_masks(predictions_dir, output, **masks, **data)
        return
    if metadata.read_metadata(str(workdir))["model"] in models.list_models("instance"):
        _evaluate_detector(output, options, predictor_options, **data)
        return
    _check_no_min_score()
    evaluation.evaluate_run(
        workdir,
        output,
        options=options,
        predictor_options=predictor_options,
        batch_size=_BATCH_SIZE.value,
        tune_thresholds=_TUNE_THRESHOLDS.value,
        **data,
    )


def _evaluate_detector(output, options, predictor_options, *, measures, **data):
    """Evaluates a run that detects objects."""
    of_pixels = {
        "crf": options.crf_settings(),
        "superpixels": options.superpixels,
        "output_stride": options.output_stride,
        "measures": measures,
    }
    for name, value in of_pixels.items():
        if value:
            raise errors.UserError(
                f"`{name}` applies to networks that predict the class of each pixel, "
                f"and this run detects objects. Leave it out."
            )
    with errors.renamed({"scales": "eval_scales", "fusion": "eval_fusion"}):
        evaluation.evaluate_detector(
            cli.WORKDIR.value,
            output,
            detector_options=predictor_options,
            min_score=_min_score(),
            **data,
        )


def _min_score():
    value = cli.MIN_SCORE.value
    return images.MIN_SCORE if value is None else value


def _check_no_min_score():
    if cli.MIN_SCORE.value is not None:
        raise errors.UserError(
            "`min_score` applies to detected objects, and these predictions are the "
            "class of each pixel. Leave it out."
        )


def _evaluate_results(output, data):
    """Evaluates --predictions_json."""
    others = [
        name
        for name in ("predictions_dir", "labels_dir", "measures")
        if flags.FLAGS[name].present
    ]
    if others:
        raise errors.UserError(
            f"`{others[0]}` has no meaning with `predictions_json`. Leave it out."
        )
    cli.required(output_dir=output.folder)
    del data["measures"]
    arguments = {
        **data,
        "workdir": cli.WORKDIR.value,
        "annotations_json": _ANNOTATIONS_JSON.value,
    }
    arguments["min_score"] = _min_score()
    evaluation.check_results(
        _PREDICTIONS_JSON.value, compare_workdir=output.compare_workdir, **arguments
    )
    runtime.start_tensorflow()
    evaluation.evaluate_results(_PREDICTIONS_JSON.value, output, **arguments)


def _measures():
    """Returns the measures that were asked for, None for all that can be computed."""
    if not flags.FLAGS["measures"].present:
        return None
    return [name for name in _MEASURES.value if name]


if __name__ == "__main__":
    cli.run(main)
