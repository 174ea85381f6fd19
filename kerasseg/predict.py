r"""Predicts the classes of pictures and videos: a mask and an overlay of each.

python -m kerasseg.predict --workdir=DIR --input=FILE|DIR|PATTERN --output_dir=DIR
python -m kerasseg.predict --export_dir=DIR --input='DIR/*.jpg' --output_dir=DIR --crf
python -m kerasseg.predict --workdir=DIR --input=VIDEO.mp4 --output_dir=DIR \
    --output=overlay,contours
RAY_ADDRESS=auto python -m kerasseg.predict --engine=ray --workdir=DIR --input=DIR \
    --output_dir=DIR

Writes a folder for each kind of --output: index (PNG, class numbers with a palette),
color (PNG, the colours alone), overlay (PNG, the picture under the colours),
probabilities (NumPy, float16 [height, width, classes]) and contours (JSON, polygons as
in COCO's annotations). Results are as large as the picture is when EXIF has turned it
upright; names and sub-folders are kept. Of a video, color and overlay are videos, the
others a file a frame. A second run of the same command goes on where the first one
stopped. Pictures that cannot be read are told at the end and listed in failed.txt; the
exit status is then 2.
"""

import os
import sys

from absl import flags

from kerasseg import cli, inference, inference_flags, predictor_flags
from kerasseg.inference import ray_engine
from kerasseg.inference.job import Job
from kerasseg.system import files

_INPUT = flags.DEFINE_string(
    "input",
    None,
    "A picture or video, a folder of them with its sub-folders, or a pattern in "
    "quotes.",
)
_OUTPUT = flags.DEFINE_list(
    "output",
    ["index", "overlay"],
    f"What is written, of {','.join(inference.outputs.KINDS)}.",
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "Predict again what is there, of whatever network it is."
)
_BATCH_SIZE = flags.DEFINE_integer(
    "predict_batch_size",
    1,
    "Pictures of equal size, one after the other, that go through the network at once.",
    lower_bound=1,
)
for _name in (
    *("workdir", "export_dir", "output_dir"),
    *("max_pixels", "workers", "engine"),
):
    flags.declare_key_flag(_name)


def main(argv):
    """Turns flags into plain arguments, and nothing more."""
    del argv
    given, output_dir = cli.required(
        input=_INPUT.value, output_dir=cli.OUTPUT_DIR.value
    )
    job = Job(
        workdir=cli.WORKDIR.value,
        export_dir=cli.EXPORT_DIR.value,
        options=cli.read_fields(inference_flags.InferenceFlags),
        views=cli.read_fields(predictor_flags.PredictorFlags).options(),
        output_dir=str(output_dir),
        kinds=tuple(kind for kind in _OUTPUT.value if kind),
        max_pixels=cli.MAX_PIXELS.value,
        batch_size=_BATCH_SIZE.value,
    )
    pictures = inference.find_images(given, output_dir)
    # Opened here for Ray, too: what is wrong shows before anything is claimed.
    with job.open() as predict:
        left = _left(job, pictures)
        if cli.engine("ray") == "ray":
            workers = cli.WORKERS.value
            failures = ray_engine.run(job, left, num_workers=workers)
        else:
            failures = predict(left)
    _tell(pictures, left, failures, output_dir)


def _left(job, pictures):
    """Leaves out what an earlier run of the same settings has done."""
    output_dir, overwrite = job.output_dir, _OVERWRITE.value
    if not inference.resuming.claim(output_dir, job.settings(), overwrite=overwrite):
        return pictures
    return {
        name: path
        for name, path in pictures.items()
        if not inference.resuming.is_done(output_dir, name, path, job.kinds)
    }


def _tell(pictures, left, failures, output_dir):
    there = len(pictures) - len(left)
    earlier = f", {there} of an earlier run" if there else ""
    good = len(pictures) - len(failures)
    print(f"{good} of {len(pictures)} are in {output_dir}{earlier}.")
    lines = "".join(f"{line}\n" for line in failures)
    path = os.path.join(output_dir, "failed.txt")
    if failures or os.path.exists(path):
        files.write_bytes(path, lines.encode())
    if failures:
        print(f"Not predicted, {len(failures)}:\n{lines}", end="", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    cli.run(main)
