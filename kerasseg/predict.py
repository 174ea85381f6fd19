r"""Predicts the classes of images and videos, and writes masks, overlays and more.

python -m kerasseg.predict --workdir=DIR --input=FILE|DIR|PATTERN --output_dir=DIR
python -m kerasseg.predict --export_dir=DIR --input='DIR/*.jpg' --output_dir=DIR --crf
python -m kerasseg.predict --workdir=DIR --input=VIDEO.mp4 --output_dir=DIR \
    --output=overlay,contours
python -m kerasseg.predict --workdir=DIR --input=DIR --output_dir=DIR \
    --output=pseudo_labels --min_confidence=0.9
RAY_ADDRESS=auto python -m kerasseg.predict --engine=ray --workdir=DIR --input=DIR \
    --output_dir=DIR

Give either --workdir, for the best model of a run, or --export_dir: an export, or a
TFLite file of one, which starts without TensorFlow. Each kind of --output is written
into its folder in --output_dir: index (PNG of class numbers, with a palette), color
(PNG of the class colors), overlay (PNG of the image, blended with the class colors),
probabilities (NumPy file, float16 [height, width, classes]), confidence (NumPy file,
float32 [height, width], the probability of the predicted class), contours (JSON with
polygons in COCO's format) and pseudo_labels. Networks that detect instances also write
instances (JSON with boxes, scores and masks in COCO's format) and instance_ids (16-bit
PNG), and draw outlines, boxes and scores in overlay. Results have the size of the image
after its EXIF rotation; file names and subfolders are kept. For a video, color and
overlay are videos; the other kinds are one file per frame. Run the same command again
to resume after an interruption. Images that cannot be read are reported at the end and
listed in failed.txt; the exit status is then 2. Files in a folder that are neither
images nor videos by their endings are counted and named.

Of detected instances, those with a score below --min_score are left out of index,
color, contours, instance_ids and overlay; instances has all of them.

Of kind pseudo_labels are PNG files of class numbers, to train on: pixels whose class
has a probability below --min_confidence are 255. With --confident_fraction, each class
has the threshold that keeps this fraction of its pixels. index and confidence are also
written, so that the same command with another threshold does not predict again. The
kept pixels are counted by class, and compared with --labels_dir where it has labels;
the table is also written into pseudo_labels.json.
"""

import sys

from absl import flags

from kerasseg import cli
from kerasseg.cli import inference_flags, networks
from kerasseg.inference import inputs, tflite
from kerasseg.inference.job import Job
from kerasseg.inference.pseudo_labels import PseudoLabelOptions
from kerasseg.system import patterns, runtime

_INPUT = flags.DEFINE_string(
    "input",
    None,
    "An image, a video, a folder, which is searched recursively, or a quoted pattern "
    "such as 'DIR/*.jpg'.",
)
_CONFIDENT_FRACTION = flags.DEFINE_float(
    "confident_fraction",
    None,
    "With --output=pseudo_labels, instead of --min_confidence: of the pixels that are "
    "predicted as a class, keep this fraction, the most confident ones of all images.",
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite",
    False,
    "Replace all results in --output_dir, including those of another network or other "
    "settings.",
)
_BATCH_SIZE = flags.DEFINE_integer(
    "predict_batch_size",
    1,
    "Maximum number of images in a batch. Only consecutive images of equal size are "
    "batched.",
    lower_bound=1,
)
_KINDS = "index", "overlay"
for _name in (
    *("workdir", "export_dir", "output", "output_dir"),
    *("max_pixels", "min_score", "workers", "engine"),
    *("min_confidence", "labels_dir"),
):
    flags.declare_key_flag(_name)


def main(argv):
    """Turns flags into arguments, and calls `inference.run_job`."""
    del argv
    pattern, output_dir = cli.required(
        input=_INPUT.value, output_dir=cli.OUTPUT_DIR.value
    )
    if cli.WORKDIR.value is not None:
        networks.resolve_workdir(cli.WORKDIR.value)
    engine = cli.engine("ray")
    job = Job(
        workdir=cli.WORKDIR.value,
        export_dir=cli.EXPORT_DIR.value,
        output_dir=str(output_dir),
        kinds=_kinds(),
        predictor=inference_flags.read_predictor_options(),
        options=inference_flags.read_inference_options(),
        max_pixels=cli.MAX_PIXELS.value,
        batch_size=_BATCH_SIZE.value,
        min_score=cli.MIN_SCORE.value,
        pseudo_labels=_pseudo_label_options(),
    )
    paths = inputs.find_images(pattern, output_dir, cli.LABELS_DIR.value)
    passed_over = inputs.find_passed_over(pattern, output_dir)
    if passed_over:
        print(
            "Passed over, as neither images nor videos by their endings: "
            f"{patterns.count_by_suffix(passed_over)}."
        )
    if not tflite.is_file(job.network):
        runtime.start_tensorflow()
    from kerasseg import inference

    summary = inference.run_job(
        job,
        paths,
        overwrite=_OVERWRITE.value,
        engine=engine,
        num_workers=cli.WORKERS.value,
    )
    _report(summary, output_dir)


def _kinds():
    given = cli.OUTPUT.value
    return _KINDS if given is None else tuple(kind for kind in given if kind)


def _pseudo_label_options():
    # Also the default is no error without pseudo-labels, or with a fraction.
    is_given = flags.FLAGS["min_confidence"].present
    return PseudoLabelOptions(
        min_confidence=cli.MIN_CONFIDENCE.value if is_given else None,
        confident_fraction=_CONFIDENT_FRACTION.value,
        labels_dir=cli.LABELS_DIR.value,
    )


def _report(summary, output_dir):
    num_failed = len(summary.failures)
    resumed = f", {summary.resumed} of them from an earlier run"
    print(
        f"{summary.total - num_failed} of {summary.total} are in {output_dir}"
        f"{resumed if summary.resumed else ''}."
    )
    counts = summary.pseudo_labels
    if counts is not None:
        print(f"Pseudo-labels of {counts.num_images:,} images", end="")
        print(f", {counts.num_compared:,} of them compared with labels:")
        print(counts.table())
    if summary.failures:
        print(f"Failed ({num_failed}):", *summary.failures, sep="\n", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    cli.run(main)
