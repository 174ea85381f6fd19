r"""Exports the best model of a run as SavedModel, TFLite, ONNX or Keras file.

python -m kerasseg.export --workdir=DIR --export_dir=DIR
python -m kerasseg.export --workdir=DIR --export_dir=DIR \
    --format=saved_model,tflite,onnx,keras
python -m kerasseg.export --workdir=DIR --export_dir=DIR \
    --eval_scales=0.75,1,1.25 --flip --crf

Writes a new version into --export_dir/<version>/, by default a SavedModel with two
signatures. serving_default maps JPEG or PNG files (image_bytes) to PNG files of class
numbers (mask_png_bytes); tensor maps float images (image) to logits, probabilities and
classes. The other formats map float images to logits. A network that detects objects
returns detections instead of logits, and for files also PNG files of object numbers
(instance_png_bytes); its graph resizes images as in training. --eval_scales, --flip and
--crf become part of the graph of the SavedModel; other formats do not support them.
Before the version is published, each format is loaded in a separate process, and its
outputs and mean IoU are compared with those of the trained model on images of the
records.
docs/export.md describes the formats and their tolerances.
"""

import os

from absl import flags

from kerasseg import cli, exporting
from kerasseg.cli import inference_flags, networks
from kerasseg.exporting import formats, options

_LICENSE = flags.DEFINE_string(
    "license",
    None,
    "License of the weights, such as CC-BY-4.0, which is written into the model card.",
)
_FORMAT = flags.DEFINE_list(
    "format",
    ["saved_model"],
    "Formats to write: saved_model, keras, onnx, tflite_float32, tflite_float16, "
    "tflite_int8, or tflite for all three TFLite formats.",
)
_VERSION = flags.DEFINE_string(
    "version", None, "Number of the version. Default: the next free number."
)
_CHECK_IMAGES = flags.DEFINE_integer(
    "check_images",
    20,
    "Number of images of the records on which the formats are compared with the "
    "trained model. With 0, no records are needed, and only a synthetic image is "
    "used.",
    lower_bound=0,
)
flags.DEFINE_alias("check_pictures", "check_images")
_CALIBRATION_IMAGES = flags.DEFINE_integer(
    "calibration_images",
    32,
    "Number of training images on which the quantization of tflite_int8 is calibrated.",
    lower_bound=1,
)
flags.DEFINE_alias("calibration_pictures", "calibration_images")
_DETECTION_MASKS = flags.DEFINE_enum(
    "detection_masks",
    None,
    options.DETECTION_MASKS,
    "Masks of a network that detects objects, in the signature tensor of a SavedModel "
    "and in an ONNX file: full, of the size of the image and in the boxes; boxes, in "
    "the boxes only. Default: full.",
)
for _name in ("workdir", "export_dir", "records_dir", "split"):
    flags.declare_key_flag(_name)


def main(argv):
    """Turns flags into arguments, and calls `exporting.export_run`."""
    del argv
    workdir, export_dir = cli.required(
        workdir=cli.WORKDIR.value, export_dir=cli.EXPORT_DIR.value
    )
    workdir = networks.resolve_workdir(workdir)
    names = formats.expand_formats(_FORMAT.value)
    inference = inference_flags.read_inference_options()
    path = exporting.export_run(
        workdir,
        export_dir,
        format_names=names,
        test_time_options=options.from_options(
            inference_flags.read_predictor_options(), inference
        ),
        output_stride=inference.output_stride,
        version=_VERSION.value,
        weights_license=_LICENSE.value,
        check_images=_CHECK_IMAGES.value,
        calibration_images=_CALIBRATION_IMAGES.value,
        split=cli.SPLIT.value if cli.SPLIT.present else None,
        records_dir=cli.RECORDS_DIR.value,
        detection_masks=_DETECTION_MASKS.value,
    )
    print(f"Exported to {path}, see README.md there.")
    if "saved_model" in names:
        metadata = exporting.read_metadata(path)
        code = exporting.how_to_call(os.path.abspath(path), metadata=metadata)
        print(f"Usage:\n\n{code}", end="")


if __name__ == "__main__":
    cli.run(main)
