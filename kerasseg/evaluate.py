r"""Evaluates the best model of a run, or masks on disk, on a split.

python -m kerasseg.evaluate --workdir=DIR --split=val
python -m kerasseg.evaluate --workdir=DIR --split=val --output_stride=8 \
    --eval_scales=0.5,0.75,1,1.25,1.5,1.75 --flip --crf --compare_workdir=OTHER
python -m kerasseg.evaluate --predictions_dir=DIR --records_dir=DIR --output_dir=DIR
python -m kerasseg.evaluate --predictions_dir=DIR --labels_dir=DIR --dataset=camvid \
    --output_dir=DIR

Prints a table of scores and writes three files into --output_dir, by default the
workdir: metrics.json; pictures.csv, the counts of each image, with which another
evaluation can be compared; and report.html, a page that shows where the errors are
(not with --noreport). The records are those that the run was trained on, or those of
--records_dir, which must have the same classes. Every image is evaluated at its own
size.
"""

import shlex
import sys
from typing import Any

from absl import flags

from kerasseg import cli, evaluation, runtime
from kerasseg.cli import inference_flags

_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 1, "Images of equal size per batch.", lower_bound=1
)
_MEASURES = flags.DEFINE_list(
    "measures",
    list(evaluation.MEASURE_NAMES),
    f"Measures to compute besides the confusion matrix, from "
    f"{','.join(evaluation.MEASURE_NAMES)}. By default calibration is left out where "
    f"there are no probabilities: with --crf, --superpixels or --predictions_dir.",
)
_PREDICTIONS_DIR = flags.DEFINE_string(
    "predictions_dir", None, "Evaluate the masks in this folder instead of a network."
)
_LABELS_DIR = flags.DEFINE_string(
    "labels_dir",
    None,
    "Folder of labels for the masks, PNG files of class indices; the classes are those "
    "of --dataset, or of --workdir or --records_dir.",
)
_COMPARE_WORKDIR = flags.DEFINE_string(
    "compare_workdir", None, "Folder with the pictures.csv of a run to compare with."
)
_REPORT = flags.DEFINE_boolean(
    "report", True, "Write report.html, for which some images are predicted again."
)
for _name in ("workdir", "records_dir", "dataset", "split", "output_dir"):
    flags.declare_key_flag(_name)


def main(argv):
    """Turns flags into arguments."""
    del argv
    workdir, predictions_dir = cli.WORKDIR.value, _PREDICTIONS_DIR.value
    output = evaluation.Output(
        folder=cli.OUTPUT_DIR.value or workdir,
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
    masks = {"labels_dir": _LABELS_DIR.value, "workdir": workdir}
    if predictions_dir is None:
        cli.required(workdir=workdir)
    else:
        cli.required(output_dir=output.folder)
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
    evaluation.evaluate_run(
        workdir,
        output,
        options=options,
        predictor_options=predictor_options,
        batch_size=_BATCH_SIZE.value,
        **data,
    )


def _measures():
    """Returns the measures that were asked for, None for all that can be computed."""
    if not flags.FLAGS["measures"].present:
        return None
    return [name for name in _MEASURES.value if name]


if __name__ == "__main__":
    cli.run(main)
