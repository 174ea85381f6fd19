r"""Exports the best model of a run for TensorFlow Serving, phones and others.

python -m kerasseg.export --workdir=DIR --export_dir=DIR
python -m kerasseg.export --workdir=DIR --export_dir=DIR \
    --format=saved_model,tflite,onnx,keras
python -m kerasseg.export --workdir=DIR --export_dir=DIR \
    --eval_scales=0.75,1,1.25 --flip --crf

Writes DIR/<version>/, by default a SavedModel with two signatures. serving_default
takes JPEG or PNG files (image_bytes) and gives PNG files of class numbers
(mask_png_bytes); tensor takes float pictures and gives logits, probabilities and
classes. The other formats take float pictures and give logits; tflite stands for
tflite_float32, tflite_float16 and tflite_int8. Scales, flip and CRF become part of the
SavedModel. Before the version appears each format is loaded again, in a process of its
own, and compared with what is evaluated on pictures of the records: logits, and mean
IoU.
"""

import os

import numpy as np
from absl import flags

from kerasseg import (
    cli,
    errors,
    exporting,
    inference_flags,
    predictor_flags,
    records,
)
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.workdir import best_model, metadata

_LICENSE = flags.DEFINE_string(
    "license", None, "Licence of the weights, for the model card, such as CC-BY-4.0."
)
_FORMAT = flags.DEFINE_list(
    "format", ["saved_model"], "What to write: some of saved_model,tflite,onnx,keras."
)
_VERSION = flags.DEFINE_string(
    "version", None, "Number of the version; the next free one if not given."
)
_CHECK_PICTURES = flags.DEFINE_integer(
    "check_pictures",
    20,
    "Pictures of the records that are compared; with 0 no records are needed.",
    lower_bound=0,
)
_CALIBRATION_PICTURES = flags.DEFINE_integer(
    "calibration_pictures",
    32,
    "Pictures of the split that the run was trained on, for tflite_int8.",
    lower_bound=1,
)
# Splits of a run whose flags do not name them.
_SPLITS = {"eval_split": "val", "train_split": "train"}
for _name in ("workdir", "export_dir", "records_dir", "split"):
    flags.declare_key_flag(_name)


def main(argv):
    """Turns flags into plain arguments, and nothing more."""
    del argv
    workdir, export_dir = cli.required(
        workdir=cli.WORKDIR.value, export_dir=cli.EXPORT_DIR.value
    )
    names = exporting.expand_formats(_FORMAT.value)
    exporting.check_version(
        export_dir, _VERSION.value, with_saved_model="saved_model" in names
    )
    options = cli.read_fields(inference_flags.InferenceFlags)
    views = read_views(options)
    facts = exporting.describe(workdir, weights_license=_LICENSE.value)
    spec = metadata.read_spec(workdir)
    split = cli.SPLIT.value if cli.SPLIT.present else None
    pictures = read_pictures(workdir, _CHECK_PICTURES.value, "eval_split", split)
    calibration_images = []
    if "tflite_int8" in names:
        _check_labelled(pictures)
        count = _CALIBRATION_PICTURES.value
        shown = read_pictures(workdir, count, "train_split")
        calibration_images = [records.decode_image(each.file) for each in shown]
    path = exporting.export_model(
        best_model.load_best(workdir, output_stride=options.output_stride),
        export_dir,
        class_names=spec.class_names,
        palette=spec.palette,
        format_names=names,
        pictures=pictures,
        calibration_images=calibration_images,
        views=views,
        version=_VERSION.value,
        facts={**facts, "output_stride": options.output_stride},
    )
    print(f"Exported to {path}, which README.md there describes.")
    if "saved_model" in names:
        print(f"To call it:\n\n{exporting.how_to_call(os.path.abspath(path))}", end="")


def _check_labelled(pictures):
    """Looks whether there is a mean IoU, which alone decides about 8 bits."""
    labels = [picture.label for picture in pictures if picture.label is not None]
    if pictures and not any(np.any(label != IGNORE_LABEL) for label in labels):
        raise errors.UserError(
            f"tflite_int8 is judged by its mean IoU, and none of the {len(pictures)} "
            f"pictures to compare it on has a labelled pixel. Give another `split` or "
            f"more `check_pictures`, or leave tflite_int8 out of `format`."
        )


def read_views(options) -> exporting.Views:
    """Reads how the exported graph looks at a picture.

    Args:
        options: The `InferenceFlags`.

    Raises:
        ValueError: A flag asks for what cannot be in a graph, or is out of range.
    """
    seen = cli.read_fields(predictor_flags.PredictorFlags).options()
    given = {
        "--tile_size": seen.pop("tile_size"),
        "--superpixels": options.superpixels,
        "--crf_engine=pydensecrf": options.engine == "pydensecrf",
    }
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise errors.UserError(
            f"{', '.join(wrong)} cannot be part of an exported graph; leave it out. "
            f"Scales, flip and the CRF of the engine keras can."
        )
    settings = options.crf_settings()
    if settings is not None:
        settings = {k: v for k, v in settings.items() if k in exporting.CRF_SETTINGS}
    return exporting.Views(**seen, crf=settings)


def read_pictures(workdir, count, flag, split=None) -> list[exporting.Picture]:
    """Reads some of the pictures of a run, evenly spread over a split.

    Args:
        workdir: Folder of the run; its flags name the records.
        count: Pictures; fewer if the split has fewer.
        flag: Of the run, that names the split.
        split: Its name; None for that of the run.

    Raises:
        FileNotFoundError: The records are not there any more.
    """
    if not count:
        return []
    path = os.path.join(workdir, "flags.txt")
    used = cli.read_flagfile(path) if os.path.exists(path) else {}
    records_dir = cli.RECORDS_DIR.value or used.get("records_dir")
    if not records_dir or not os.path.isdir(records_dir):
        raise errors.MissingFileError(
            f"The records that {workdir} was trained on are not in {records_dir}. Give "
            f"`records_dir`, or `check_pictures=0` to compare a drawn picture only."
        )
    split = split or used.get(flag, _SPLITS[flag])
    opened = records.open_split(records_dir, split, dataset=used.get("dataset"))
    chosen = np.unique(np.linspace(0, len(opened) - 1, count).astype(int))
    examples = [records.parse_example(opened.read(i)) for i in chosen.tolist()]
    return [
        exporting.Picture(
            example["image"],
            None
            if example["label"] is None
            else records.decode_label(example["label"]),
        )
        for example in examples
    ]


if __name__ == "__main__":
    cli.run(main)
