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

__all__ = [
    "DATASET",
    "ENGINE",
    "EXPORT_DIR",
    "MAX_PIXELS",
    "MODEL",
    "MODEL_OPTION",
    "OUTPUT_DIR",
    "RECORDS_DIR",
    "SBD_DIR",
    "SEED",
    "SOURCE_DIR",
    "SPLIT",
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
    "model", None, "Architecture, see python -m kerasseg.models."
)
MODEL_OPTION = flags.DEFINE_multi_string(
    "model_option",
    [],
    "Option of the architecture's builder as key=value; may be repeated. "
    "crf_iterations=5 adds a CRF to any architecture, which is trained with it.",
)
DATASET = flags.DEFINE_string(
    "dataset", None, "Data set; not needed if the records have a dataset.json."
)
RECORDS_DIR = flags.DEFINE_string(
    "records_dir", None, "Folder of TFRecords, written by tfrecords_tools.build."
)
SOURCE_DIR = flags.DEFINE_string(
    "source_dir",
    None,
    "Folder of the data set as its authors publish it; or its zip and tar archives, "
    "separated by commas, which are unpacked next to them.",
)
SBD_DIR = flags.DEFINE_string(
    "sbd_dir",
    None,
    "Folder 'dataset' of SBD, or its archive, for pascal_voc's split trainaug.",
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of one run: checkpoints, best model, scores, images."
)
EXPORT_DIR = flags.DEFINE_string(
    "export_dir", None, "Folder of an exported model; its versions are subfolders."
)
OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder of the results.")
MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels",
    images.DEFAULT_MAX_PIXELS,
    "Images with more pixels are refused before they are decoded.",
    lower_bound=1,
)
WORKERS = flags.DEFINE_integer(
    "workers",
    None,
    "Number of processes. None: one per core to build records, two to train.",
    lower_bound=1,
)
ENGINE = flags.DEFINE_enum(
    "engine",
    "local",
    ["local", "beam", "ray"],
    "Engine that distributes the work: processes on this machine; Apache Beam, to "
    "build records; Ray, to predict, on the cluster of RAY_ADDRESS.",
)
SPLIT = flags.DEFINE_string("split", "val", "Split of the records.")
SEED = flags.DEFINE_integer(
    "seed", 1, "Seed of all random numbers.", lower_bound=0, upper_bound=2**32 - 1
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
