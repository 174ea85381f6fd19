r"""Predicts the classes of pictures: a mask and an overlay of each.

python -m kerasseg.predict --workdir=DIR --input=FILE|DIR|PATTERN --output_dir=DIR
python -m kerasseg.predict --export_dir=DIR --input='DIR/*.jpg' --output_dir=DIR --crf

Writes index/NAME.png, whose pixels are class numbers and whose palette shows them in
colours, and overlay/NAME.png, the picture under these colours. Both are as large as the
picture is when EXIF has turned it upright. Names and sub-folders are kept. Pictures
that cannot be read are told at the end; the exit status is then 2.
"""

import sys

from absl import app, flags

from kerasseg import common_flags, inference, inference_flags

_INPUT = flags.DEFINE_string(
    "input",
    None,
    "A picture, a folder of pictures with its sub-folders, or a pattern in quotes.",
)
for _name in ("workdir", "export_dir", "output_dir", "max_pixels"):
    flags.declare_key_flag(_name)


def main(argv):
    """Turns flags into plain arguments, and nothing more."""
    del argv
    given, output_dir = common_flags.required(
        input=_INPUT.value, output_dir=common_flags.OUTPUT_DIR.value
    )
    options = common_flags.read_fields(inference_flags.InferenceFlags)
    pictures = inference.find_pictures(given, output_dir)
    with options.refiner() as refine:
        segmenter = _segmenter(options.output_stride)
        failures = inference.predict_files(
            segmenter,
            pictures,
            output_dir,
            refine=refine,
            max_pixels=common_flags.MAX_PIXELS.value,
        )
    print(f"{len(pictures) - len(failures)} of {len(pictures)} are in {output_dir}.")
    if failures:
        lines = "\n".join(failures)
        print(f"Not predicted, {len(failures)}:\n{lines}", file=sys.stderr)
        sys.exit(2)


def _segmenter(output_stride):
    workdir, export_dir = common_flags.WORKDIR.value, common_flags.EXPORT_DIR.value
    if workdir and not export_dir:
        return inference.load(workdir, output_stride=output_stride)
    if not export_dir or workdir:
        raise app.UsageError("One of --workdir and --export_dir is needed.")
    if output_stride is not None:
        raise app.UsageError("--output_stride can be chosen with --workdir only.")
    return inference.load_export(export_dir)


if __name__ == "__main__":
    common_flags.run(main)
