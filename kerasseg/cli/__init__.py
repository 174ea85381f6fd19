"""What the commands share: flags, their conversion, and how a command runs."""

from absl import app, flags

from kerasseg import images
from kerasseg.cli.fields import define_fields, read_fields
from kerasseg.cli.flagfiles import (
    as_flagfile,
    check_flag_names,
    default_lines,
)
from kerasseg.cli.running import run
from kerasseg.cli.values import check_choice, check_exists, model_options
from kerasseg.inference import outputs

__all__ = [
    "COUNT",
    "DATASET",
    "ENGINE",
    "EXPORT_DIR",
    "IMAGES",
    "LABELED_LIST",
    "LABELS_DIR",
    "MAX_PIXELS",
    "MIN_CONFIDENCE",
    "MIN_SCORE",
    "MODEL",
    "MODEL_OPTION",
    "OUTPUT",
    "OUTPUT_DIR",
    "RECORDS_DIR",
    "SBD_DIR",
    "SEED",
    "SOURCE_DIR",
    "SPLIT",
    "TRAIN_SPLIT",
    "UNLABELED_RECORDS_DIR",
    "WORKDIR",
    "WORKERS",
    "as_flagfile",
    "check_choice",
    "check_exists",
    "check_flag_names",
    "default_lines",
    "define_fields",
    "engine",
    "model_options",
    "read_fields",
    "required",
    "run",
]

MODEL = flags.DEFINE_string(
    "model", None, "Name of the architecture. python -m kerasseg.models lists them."
)
MODEL_OPTION = flags.DEFINE_multi_string(
    "model_option",
    [],
    "Keyword argument of the architecture's builder, as key=value. crf_iterations=5 "
    "adds a CRF (CRF-RNN) to any architecture, which is trained together with it.",
)
DATASET = flags.DEFINE_string(
    "dataset",
    None,
    "Name of the data set, see docs/datasets.md; folder for your own images. Not "
    "needed to read records with a dataset.json, which tfrecords_tools.build "
    "writes.",
)
RECORDS_DIR = flags.DEFINE_string(
    "records_dir", None, "Folder of the TFRecords that tfrecords_tools.build writes."
)
LABELED_LIST = flags.DEFINE_string(
    "labeled_list",
    None,
    "File with the name or path of one image per line: of the training images, the "
    "labels of these are used. tfrecords_tools.build stores the list in dataset.json; "
    "kerasseg.train uses this list instead of a stored one.",
)
UNLABELED_RECORDS_DIR = flags.DEFINE_string(
    "unlabeled_records_dir",
    None,
    "Folder of records whose labels are not used, if they have any.",
)
SOURCE_DIR = flags.DEFINE_string(
    "source_dir",
    None,
    "Folder of the data set with the files of its authors; or its zip and tar "
    "archives, separated by commas, which are unpacked into a folder next to the "
    "first one.",
)
SBD_DIR = flags.DEFINE_string(
    "sbd_dir",
    None,
    "Folder 'dataset' of SBD (the Semantic Boundaries Dataset), or its archive. "
    "Required for the split trainaug of pascal_voc.",
)
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of a training run, with its checkpoints, best model and scores; or, except "
    "for kerasseg.train, the name of published weights, which kerasseg.list_weights() "
    "returns.",
)
EXPORT_DIR = flags.DEFINE_string(
    "export_dir", None, "Folder of an exported model, with one subfolder per version."
)
OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write the results to.")
OUTPUT = flags.DEFINE_list(
    "output",
    None,
    "kerasseg.predict: kinds of results to write, by default index,overlay; from "
    f"{','.join(outputs.NAMES)}. kerasseg.import_weights: a .keras file, or the folder "
    "of a new workdir.",
)
IMAGES = flags.DEFINE_string(
    "images",
    None,
    "Your own images: a folder, or a quoted pattern such as 'photos/*.jpg'. The part "
    "of the path that the wildcards match is the name of the image; for "
    "tfrecords_tools.build and inspect, {split} matches the name of a split.",
)
COUNT = flags.DEFINE_integer(
    "count",
    None,
    "Number of images: those that tfrecords_tools.extract writes at most, by default "
    "all; those that kerasseg.label_next chooses, by default 20.",
    lower_bound=1,
)
MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels",
    images.DEFAULT_MAX_PIXELS,
    "Maximum number of pixels of an image. Larger images are refused before they are "
    "decoded.",
    lower_bound=1,
)
MIN_CONFIDENCE = flags.DEFINE_float(
    "min_confidence",
    0.95,
    "Smallest probability of the predicted class with which a pixel is learned. "
    "kerasseg.train --semi=consistency: that of the teacher's class; above 1, no pixel "
    "is learned. kerasseg.predict --output=pseudo_labels: pixels below it are ignored.",
)
LABELS_DIR = flags.DEFINE_string(
    "labels_dir",
    None,
    "Folder of labels: PNG files of class numbers. kerasseg.evaluate "
    "--predictions_dir: the classes are those of --dataset, or of the run or the "
    "records; by default the labels of the records are used. kerasseg.predict "
    "--output=pseudo_labels: labels that the pseudo-labels are compared with. "
    "tfrecords_tools.pseudo: the pseudo-labels.",
)
MIN_SCORE = flags.DEFINE_float(
    "min_score",
    None,
    "For detected objects: those with a lower score are neither drawn, nor pasted into "
    "masks and maps of ids, nor counted as errors. The results of kind instances, and "
    f"COCO's measures, have all detections. Default: {images.MIN_SCORE}.",
)
WORKERS = flags.DEFINE_integer(
    "workers",
    None,
    "Number of worker processes. Default: tfrecords_tools.build uses one per core; "
    "kerasseg.launch two; kerasseg.predict --engine=ray one per GPU, or one per "
    "machine without GPUs. Ignored by kerasseg.predict with other engines.",
    lower_bound=1,
)
ENGINE = flags.DEFINE_enum(
    "engine",
    "local",
    ["local", "beam", "ray"],
    "What distributes the work: local, processes on this machine; beam, Apache Beam "
    "(tfrecords_tools.build only); ray, the Ray cluster given by the environment "
    "variable RAY_ADDRESS (kerasseg.predict only).",
)
SPLIT = flags.DEFINE_string(
    "split", "val", "Split of the data set, such as train or val."
)
TRAIN_SPLIT = flags.DEFINE_string(
    "train_split", "train", "Split of the records to train on."
)
SEED = flags.DEFINE_integer(
    "seed",
    1,
    "Seed of the random number generators.",
    lower_bound=0,
    upper_bound=2**32 - 1,
)


def required(**values) -> list:
    """Returns `values`; raises `app.UsageError` that names each flag that is None."""
    missing = [f"--{name}" for name, value in values.items() if value is None]
    if missing:
        raise app.UsageError(f"Required flags are missing: {', '.join(missing)}.")
    return list(values.values())


def engine(other: str) -> str:
    """Returns --engine; raises `app.UsageError` if it is not local or `other`."""
    if ENGINE.value not in ("local", other):
        raise app.UsageError(
            f"--engine={ENGINE.value} is not supported here: give local or {other}."
        )
    return str(ENGINE.value)
