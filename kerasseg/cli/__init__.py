"""Flags that several entry points share, and how every entry point starts and ends."""

from absl import app, flags

from kerasseg import images
from kerasseg.cli.fields import define_fields, read_fields
from kerasseg.cli.flagfiles import as_flagfile, missing_defaults, read_flagfile
from kerasseg.cli.running import run
from kerasseg.cli.values import crop_size, model_options

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
    "crop_size",
    "define_fields",
    "engine",
    "missing_defaults",
    "model_options",
    "read_fields",
    "read_flagfile",
    "required",
    "run",
]

MODEL = flags.DEFINE_string(
    "model", None, "Architecture: a name that python -m kerasseg.models lists."
)
MODEL_OPTION = flags.DEFINE_multi_string(
    "model_option",
    [],
    "Option of the architecture's builder as key=value; may be repeated. "
    "crf_iterations=5 ends any architecture with a CRF that is trained with it.",
)
DATASET = flags.DEFINE_string(
    "dataset", None, "Data set; not needed where the records hold a dataset.json."
)
RECORDS_DIR = flags.DEFINE_string(
    "records_dir", None, "Folder of the TFRecords that tfrecords_tools.build wrote."
)
SOURCE_DIR = flags.DEFINE_string(
    "source_dir",
    None,
    "Folder of the data set as its authors publish it; or its zip and tar archives, "
    "with commas between, which are unpacked beside themselves.",
)
SBD_DIR = flags.DEFINE_string(
    "sbd_dir",
    None,
    "Folder 'dataset' of SBD, or its archive, for pascal_voc's split trainaug.",
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of one run: checkpoints, best model, scores, pictures."
)
EXPORT_DIR = flags.DEFINE_string(
    "export_dir", None, "Folder of an exported model; its versions are sub-folders."
)
OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder that results go to.")
MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels",
    images.DEFAULT_MAX_PIXELS,
    "Larger pictures are refused, before they are decoded.",
    lower_bound=1,
)
WORKERS = flags.DEFINE_integer(
    "workers",
    None,
    "Processes. None: as many as cores to build records, two to train.",
    lower_bound=1,
)
ENGINE = flags.DEFINE_enum(
    "engine",
    "local",
    ["local", "beam", "ray"],
    "What deals out the work: processes here; Apache Beam, to build records; Ray, to "
    "predict, on the cluster that RAY_ADDRESS names.",
)
SPLIT = flags.DEFINE_string("split", "val", "Split of the records.")
SEED = flags.DEFINE_integer(
    "seed", 1, "Start of every random number.", lower_bound=0, upper_bound=2**32 - 1
)


def required(**values) -> list:
    """Returns `values`; raises `app.UsageError` that names each flag that is None."""
    missing = [f"--{name}" for name, value in values.items() if value is None]
    if missing:
        raise app.UsageError(f"Needed and not given: {', '.join(missing)}.")
    return list(values.values())


def engine(other: str) -> str:
    """Returns --engine; raises `app.UsageError` where it is not local or `other`."""
    if ENGINE.value not in ("local", other):
        raise app.UsageError(
            f"--engine={ENGINE.value}: only local and {other} do this."
        )
    return str(ENGINE.value)
