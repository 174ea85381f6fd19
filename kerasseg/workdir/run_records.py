"""The records that a run is evaluated on: those that its flags name, or others."""

import os

from kerasseg import errors, images, pipeline, records
from kerasseg.workdir import flag_file, layout, metadata


def open_records(
    workdir: str | os.PathLike,
    split: str,
    *,
    records_dir: str | os.PathLike | None = None,
    dataset: str | None = None,
) -> pipeline.ImageReader:
    """Opens the records of a split for a run.

    Args:
        workdir: Folder of the run.
        split: Name of the split.
        records_dir: Folder of the records; None for that of the run.
        dataset: Name of the data set; None for that of the run.

    Raises:
        errors.MissingFileError: The records, or files of the run, are missing.
        errors.UserError: The run does not name its records, or the records have other
            classes than the run.
    """
    trained = metadata.read_spec(workdir)
    flags = flag_file.read(workdir)
    records_dir = records_dir or flags.get("records_dir")
    if records_dir is None:
        raise errors.UserError(
            f"{os.path.join(workdir, layout.FLAGS)} does not name the records of the "
            f"run. Give `records_dir`."
        )
    opened = records.open_split(
        records_dir, split, dataset=dataset or flags.get("dataset")
    )
    if opened.spec.class_names != trained.class_names:
        raise errors.UserError(
            f"{records_dir} has the classes {', '.join(opened.spec.class_names)}, and "
            f"{workdir} was trained on {', '.join(trained.class_names)}. Give a "
            f"`records_dir` with the same classes in the same order."
        )
    images.check_same(
        trained.image_kind, opened.spec.image_kind, f"The images of {records_dir}"
    )
    return pipeline.ImageReader(opened)
