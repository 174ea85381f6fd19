r"""Exports the best model of a run for TensorFlow Serving and kerasseg.serve.

python -m kerasseg.export --workdir=DIR --export_dir=DIR

Writes DIR/<version>/, a SavedModel with two signatures. serving_default takes JPEG or
PNG files (image_bytes) and gives PNG files of class numbers (mask_png_bytes); tensor
takes float pictures and gives logits, probabilities and classes. Before it appears it
is loaded again and compared with the model on pictures of the records.
"""

import os

import numpy as np
from absl import flags

from kerasseg import checkpoints, common_flags, exporting, records

_VERSION = flags.DEFINE_string(
    "version", None, "Number of the version; the next free one if not given."
)
_CHECK_PICTURES = flags.DEFINE_integer(
    "check_pictures",
    4,
    "Pictures of the records that are compared; with 0 no records are needed.",
    lower_bound=0,
)
for _name in ("workdir", "export_dir", "records_dir", "split"):
    flags.declare_key_flag(_name)


def main(argv):
    """Turns flags into plain arguments, and nothing more."""
    del argv
    workdir, export_dir = common_flags.required(
        workdir=common_flags.WORKDIR.value, export_dir=common_flags.EXPORT_DIR.value
    )
    exporting.check_version(export_dir, _VERSION.value)
    facts = checkpoints.read_best_facts(workdir)
    spec = checkpoints.read_spec(workdir)
    pictures = read_pictures(
        workdir,
        _CHECK_PICTURES.value,
        records_dir=common_flags.RECORDS_DIR.value,
        split=common_flags.SPLIT.value if common_flags.SPLIT.present else None,
    )
    path = exporting.export_saved_model(
        checkpoints.load_best(workdir),
        export_dir,
        class_names=spec.class_names,
        palette=spec.palette,
        check_images=pictures,
        version=_VERSION.value,
        facts={**facts, "dataset": spec.name},
    )
    print(f"Exported to {path}, which README.md there describes. To call it:\n")
    print(exporting.how_to_call(os.path.abspath(path)), end="")


def read_pictures(workdir, count, *, records_dir=None, split=None) -> list[bytes]:
    """Reads some of the files that a run was validated on, evenly spread.

    Args:
        workdir: Folder of the run; its flags name records and split.
        count: Files; fewer if the split has fewer.
        records_dir: Folder of the records; None for that of the run.
        split: Name of the split; None for that of the run.

    Raises:
        FileNotFoundError: The records are not there any more.
    """
    if not count:
        return []
    path = os.path.join(workdir, "flags.txt")
    used = common_flags.read_flagfile(path) if os.path.exists(path) else {}
    records_dir = records_dir or used.get("records_dir")
    if not records_dir or not os.path.isdir(records_dir):
        raise FileNotFoundError(
            f"The records that {workdir} was trained on are not in {records_dir}. Give "
            f"--records_dir, or --check_pictures=0 to compare a drawn picture only."
        )
    split = split or used.get("eval_split", common_flags.SPLIT.default)
    opened = records.open_split(records_dir, split, dataset=used.get("dataset"))
    chosen = np.unique(np.linspace(0, len(opened) - 1, count).astype(int))
    return [records.parse_example(opened.read(i))["image"] for i in chosen.tolist()]


if __name__ == "__main__":
    common_flags.run(main)
