r"""Orders unlabeled images by what labeling them would teach a trained network.

python -m kerasseg.label_next --workdir=RUN --images=DIR --output_dir=DIR
python -m kerasseg.label_next --workdir=RUN --images=DIR --output_dir=DIR \
    --score=disagreement --flip --eval_scales=0.75,1,1.25 --count=50 --diversity

Writes order.csv (name, score and rank of all images); next.txt (names of the first
--count, as --labeled_list reads them); contact_sheet.png (image, prediction and
uncertainty of the first 20 of them); and the predictions of the first --count for
labeling tools: coco.json, cvat.xml (CVAT for images 1.1) and label_studio.json, with
the labeling interface label_studio_config.xml. tfrecords_tools.build --annotations
reads what these tools export. Images that cannot be read are reported at the end and
listed in failed.txt; the exit status is then 2. Run the same command again to resume
after an interruption. Other values of --count and --diversity use the same scores.
"""

import sys

from absl import flags

from kerasseg import cli, errors
from kerasseg.cli import inference_flags, networks
from kerasseg.inference import inputs
from kerasseg.inference.labeling.query import Query, check_folders
from kerasseg.inference.labeling.scores import SCORES
from kerasseg.system import patterns, runtime

_DEFAULT_COUNT = 20
_SCORE = flags.DEFINE_enum(
    "score",
    "entropy",
    list(SCORES),
    "Mean over all pixels of: "
    + "; ".join(f"{name}: {text}" for name, text in SCORES.items())
    + ". The views of disagreement are those of --eval_scales and --flip.",
)
_DIVERSITY = flags.DEFINE_bool(
    "diversity",
    False,
    "Choose the images from the 5 * --count most uncertain ones, so that their "
    "predictions differ (greedy k-center).",
)
for _name in (
    *("workdir", "images", "output_dir", "count", "max_pixels"),
    *("eval_scales", "flip", "eval_fusion", "tile_size", "output_stride"),
):
    flags.declare_key_flag(_name)


def main(argv):
    """Turns flags into arguments, and calls `labeling.label_next`."""
    del argv
    workdir, pattern, output_dir = cli.required(
        workdir=cli.WORKDIR.value,
        images=cli.IMAGES.value,
        output_dir=cli.OUTPUT_DIR.value,
    )
    workdir = networks.resolve_workdir(workdir)
    query = Query(
        workdir=workdir,
        output_dir=output_dir,
        count=_DEFAULT_COUNT if cli.COUNT.value is None else cli.COUNT.value,
        score=_SCORE.value,
        diversity=_DIVERSITY.value,
        predictor=inference_flags.read_predictor_options(),
        output_stride=_output_stride(),
        max_pixels=cli.MAX_PIXELS.value,
    )
    with errors.renamed({"input": "images"}):
        paths = inputs.find_images(pattern, output_dir)
    passed_over = inputs.find_passed_over(pattern, output_dir)
    if passed_over:
        print(
            "Passed over, as neither images nor videos by their endings: "
            f"{patterns.count_by_suffix(passed_over)}."
        )
    check_folders(paths, output_dir)
    runtime.start_tensorflow()
    from kerasseg.inference import labeling

    _report(labeling.label_next(query, paths), output_dir)


def _output_stride():
    options = inference_flags.read_inference_options()
    if options.crf or options.superpixels:
        raise errors.UserError(
            "Scores are computed from the probabilities of the network: leave out "
            "`crf` and `superpixels`."
        )
    return options.output_stride


def _report(summary, output_dir):
    num_failed = len(summary.failures)
    resumed = (
        f", {summary.resumed} of them by an earlier run" if summary.resumed else ""
    )
    print(
        f"Scored {summary.total - num_failed} of {summary.total} files{resumed}. The "
        f"first {len(summary.chosen)} are in {output_dir}/next.txt."
    )
    if summary.failures:
        print(f"Failed ({num_failed}):", *summary.failures, sep="\n", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    cli.run(main)
