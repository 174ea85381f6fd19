"""Metadata of a run's data set and best model; read without Keras."""

import os

from kerasseg import datasets, errors
from kerasseg.system import files
from kerasseg.workdir import flag_file, layout


def read_metadata(workdir: str | os.PathLike) -> dict:
    """Reads the metadata of the best model of a run.

    Returns:
        Dict of "model" (the architecture), "num_classes", "options" (of its builder),
        "step" and "scores" (see `metrics.scores`); and, if it was trained with a list
        of labeled images, what `labeled_list` returns.

    Raises:
        errors.MissingFileError: The run has no best model yet.
        errors.UserError: The file is damaged, or the workdir is of a later version of
            this package.
    """
    flag_file.check_format(workdir)
    path = os.path.join(workdir, layout.BEST_METADATA)
    if not os.path.exists(path):
        raise errors.MissingFileError(
            f"{path} is missing: {workdir} has no trained model yet. Train one with "
            f"python -m kerasseg.train, at least to its first validation."
        )
    try:
        metadata = files.read_json(path)
        if not {"model", "num_classes", "options", "step"} <= metadata.keys():
            raise ValueError("an entry is missing")
    except (ValueError, AttributeError) as error:
        raise errors.UserError(
            f"{path} is damaged ({error!r}). Copy it again, or resume the training: "
            f"the next validation writes it."
        ) from error
    return metadata


def labeled_list(metadata: dict) -> dict:
    """Returns what metadata of a model say about the list of labeled images.

    Returns:
        Dict of "labeled_images", their number, and "labeled_checksum", the SHA-256 of
        their names; empty if the labels of all images were used.
    """
    keys = "labeled_images", "labeled_checksum"
    return {key: metadata[key] for key in keys if key in metadata}


def read_spec(workdir: str | os.PathLike) -> datasets.DatasetSpec:
    """Reads the specification of the data set that a run was trained on.

    Raises:
        errors.MissingFileError: The folder is not a workdir, or the file was removed.
        errors.UserError: The file is damaged.
    """
    path = os.path.join(workdir, layout.DATASET)
    if not os.path.exists(path):
        raise errors.MissingFileError(
            f"{path} is missing: {workdir} is not a workdir of python -m "
            f"kerasseg.train, or was not copied as a whole."
        )
    try:
        return datasets.DatasetSpec.from_json(files.read_json(path))
    except errors.UserError as error:
        raise errors.UserError(
            f"{path} is damaged ({error}). Start the training again with the same "
            f"flags: it writes the file and resumes."
        ) from error
