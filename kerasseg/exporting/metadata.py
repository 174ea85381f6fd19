"""The metadata of an exported version: for programs as JSON, for people as a card."""

import json
import math
import os
import pathlib
import subprocess
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from kerasseg import errors, images
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.exporting import card, redaction
from kerasseg.system import files
from kerasseg.workdir import layout
from kerasseg.workdir import metadata as run_metadata

_METADATA_FILE = "metadata.json"
_CARD_FILE = "README.md"


def write(
    folder: str | os.PathLike,
    title: str,
    *,
    class_names: Sequence[str],
    palette: np.ndarray,
    metadata: Mapping,
    formats: Mapping[str, dict],
) -> None:
    """Writes metadata.json and README.md.

    Args:
        folder: Folder of the version.
        title: Name of the network.
        class_names: Name of each class.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.
        metadata: Further entries, see `describe`; NaN and infinity become null, and
            credentials and folders are removed, see `redaction.redact`.
        formats: File and comparison of each format, see `checking.compare`.
    """
    colors = np.asarray(palette).tolist()
    entries = {
        "classes": [
            {"name": name, "color": color}
            for name, color in zip(class_names, colors, strict=True)
        ],
        "ignore_label": IGNORE_LABEL,
        **redaction.redact(_finite(metadata)),
        "formats": formats,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }
    text = json.dumps(entries, indent=2, allow_nan=False) + "\n"
    pathlib.Path(folder, _METADATA_FILE).write_text(text, "utf-8")
    text = card.card(title, entries, images.DEFAULT_MAX_PIXELS)
    pathlib.Path(folder, _CARD_FILE).write_text(text, "utf-8")


def read_metadata(path: str | os.PathLike) -> dict:
    """Reads metadata.json of a version.

    Raises:
        errors.UserError: The file is missing or damaged.
    """
    return files.read_json(pathlib.Path(path, _METADATA_FILE))


def _finite(value):
    """Replaces NaN, the score of an absent class, and infinity by None."""
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def describe(workdir: str | os.PathLike, *, weights_license: str | None = None) -> dict:
    """Collects the metadata of a run's best model.

    Args:
        workdir: Folder of the run.
        weights_license: License of the weights, in a few words; None if unknown.

    Returns:
        Metadata for `export_model`: the entries of `metadata.read_metadata`;
        "dataset", see `DatasetSpec.to_json`, without its classes; "flagfile", the lines
        of the run's flags; "evaluation", the metrics.json of the run; "commit" of
        kerasseg; "license". Unknown entries are None.

    Raises:
        errors.MissingFileError: The run has no best model yet.
        errors.UserError: A file of the run is damaged.
    """
    dataset = run_metadata.read_spec(workdir).to_json()
    del dataset["classes"]  # They are at the top of metadata.json.
    return {
        **run_metadata.read_metadata(workdir),
        "dataset": dataset,
        "flagfile": _lines(os.path.join(workdir, layout.FLAGS)),
        "evaluation": _scores(os.path.join(workdir, layout.METRICS)),
        "commit": commit(),
        "license": weights_license,
    }


def _lines(path):
    if not os.path.exists(path):
        return None
    return files.read_text(path).splitlines()


def _scores(path):
    if not os.path.exists(path):
        return None
    try:
        return files.read_json(path)
    except errors.UserError as error:
        raise errors.UserError(
            f"{path} is damaged ({error}) Remove it, or evaluate the run again."
        ) from error


def commit() -> str | None:
    """Returns the git commit of kerasseg, or None outside of its repository.

    A package that is installed inside another project's repository has no commit.
    """
    path = pathlib.Path(__file__)
    try:
        _git(path.parent, "ls-files", "--error-unmatch", path.name)
        return _git(path.parent, "rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder, *arguments):
    command = ["git", "-C", folder, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()
