r"""Predicts the classes of pictures and videos: a mask and an overlay of each.

python -m kerasseg.predict --workdir=DIR --input=FILE|DIR|PATTERN --output_dir=DIR
python -m kerasseg.predict --export_dir=DIR --input='DIR/*.jpg' --output_dir=DIR --crf
python -m kerasseg.predict --workdir=DIR --input=VIDEO.mp4 --output_dir=DIR \
    --output=overlay,contours

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

from absl import app, flags

from kerasseg import common_flags, durable, inference, inference_flags, predictor_flags

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
for _name in ("workdir", "export_dir", "output_dir", "max_pixels"):
    flags.declare_key_flag(_name)


def main(argv):
    """Turns flags into plain arguments, and nothing more."""
    del argv
    given, output_dir = common_flags.required(
        input=_INPUT.value, output_dir=common_flags.OUTPUT_DIR.value
    )
    kinds = tuple(kind for kind in _OUTPUT.value if kind)
    inference.outputs.check(kinds)
    options = common_flags.read_fields(inference_flags.InferenceFlags)
    views = common_flags.read_fields(predictor_flags.PredictorFlags).options()
    pictures = inference.find_pictures(given, output_dir)
    with options.refiner() as refine:
        segmenter, network = _segmenter(options.output_stride, views)
        settings = {
            "network": network,
            **views,
            "output_stride": options.output_stride,
            "crf": options.crf_settings(),
            "superpixels": options.superpixels,
        }
        left = _left(pictures, output_dir, kinds, settings)
        failures = inference.predict_files(
            segmenter,
            left,
            output_dir,
            kinds=kinds,
            refine=refine,
            max_pixels=common_flags.MAX_PIXELS.value,
            batch_size=_BATCH_SIZE.value,
        )
    _tell(pictures, left, failures, output_dir)


def _segmenter(output_stride, views):
    """Returns the segmenter, and what tells its network from others."""
    workdir, export_dir = common_flags.WORKDIR.value, common_flags.EXPORT_DIR.value
    path = workdir or export_dir
    if path is None or (workdir and export_dir):
        raise app.UsageError("One of --workdir and --export_dir is needed.")
    if workdir:
        segmenter = inference.load(workdir, output_stride=output_stride, **views)
    elif output_stride is not None:
        raise app.UsageError("--output_stride can be chosen with --workdir only.")
    else:
        segmenter = inference.load_export(path, **views)
    return segmenter, inference.resuming.fingerprint(path)


def _left(pictures, output_dir, kinds, settings):
    """Leaves out what an earlier run of the same settings has done."""
    if not inference.resuming.claim(output_dir, settings, overwrite=_OVERWRITE.value):
        return pictures
    return {
        name: path
        for name, path in pictures.items()
        if not inference.resuming.is_done(output_dir, name, path, kinds)
    }


def _tell(pictures, left, failures, output_dir):
    there = len(pictures) - len(left)
    earlier = f", {there} of an earlier run" if there else ""
    good = len(pictures) - len(failures)
    print(f"{good} of {len(pictures)} are in {output_dir}{earlier}.")
    lines = "".join(f"{line}\n" for line in failures)
    path = os.path.join(output_dir, "failed.txt")
    if failures or os.path.exists(path):
        durable.write_bytes(path, lines.encode())
    if failures:
        print(f"Not predicted, {len(failures)}:\n{lines}", end="", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    common_flags.run(main)
