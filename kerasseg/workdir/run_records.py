"""The records that a run is scored on: those that its flags name, or others."""

import os

from kerasseg import cli, errors, pipeline, records
from kerasseg.workdir import best_model


def open_records(workdir, split, *, records_dir=None, dataset=None):
    """Opens what a run is scored on.

    Args:
        workdir: Of the run.
        split: Name of the split.
        records_dir: Folder of the records; None for that of the run.
        dataset: Name of the data set; None for that of the run.

    Returns:
        `pipeline.ImageReader`.

    Raises:
        FileNotFoundError: The records, or the run's own files, are not there.
        ValueError: Nothing names the records, or their classes are not those of the
            run.
    """
    path = os.path.join(workdir, "flags.txt")
    used = cli.read_flagfile(path) if os.path.exists(path) else {}
    records_dir = records_dir or used.get("records_dir")
    if records_dir is None:
        raise errors.UserError(
            f"{path} does not name the records of the run. Give `records_dir`."
        )
    opened = records.open_split(
        records_dir, split, dataset=dataset or used.get("dataset")
    )
    trained = best_model.read_spec(workdir)
    if opened.spec.class_names != trained.class_names:
        raise errors.UserError(
            f"{records_dir} holds the classes {', '.join(opened.spec.class_names)}; "
            f"{workdir} was trained on {', '.join(trained.class_names)}. Give the "
            f"`records_dir` of the same classes in the same order."
        )
    return pipeline.ImageReader(opened)
