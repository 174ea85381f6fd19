"""Where an exported model comes from: data, scores, flags, commit."""

import json
import os
import pathlib
import subprocess

from kerasseg import errors
from kerasseg.system import files
from kerasseg.workdir import metadata

_FLAGS, _SCORES = "flags.txt", "metrics.json"


def describe(workdir, *, weights_license=None) -> dict:
    """Collects what is known of the best model of a run.

    Args:
        workdir: Folder of the run.
        weights_license: Of the weights, in a few words; None where nobody says.

    Returns:
        Facts for `export_model`: those of `metadata.read_metadata`; "dataset", see
        `DatasetSpec.to_json`, without its classes; "flagfile", the lines of the run's
        own; "evaluation", what the last `kerasseg.evaluate` wrote; "commit" of this
        code; "license". None stands for what there is not.

    Raises:
        FileNotFoundError: The run holds no best model yet.
        ValueError: A file of the run is damaged.
    """
    dataset = metadata.read_spec(workdir).to_json()
    del dataset["classes"]  # They stand at the top.
    return {
        **metadata.read_metadata(workdir),
        "dataset": dataset,
        "flagfile": _lines(os.path.join(workdir, _FLAGS)),
        "evaluation": _scores(os.path.join(workdir, _SCORES)),
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
        return json.loads(pathlib.Path(path).read_text("utf-8"))
    except ValueError as error:
        raise errors.UserError(
            f"{path} is damaged ({error}). Remove it, or evaluate the run again."
        ) from error


def commit() -> str | None:
    """Returns the commit of this code, None where it is no working copy of git.

    A package that is installed below somebody's project is not of that project.
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
