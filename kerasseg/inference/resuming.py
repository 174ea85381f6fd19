"""Results that are there already: whose they are, and whether they are done."""

import hashlib
import json
import os
import pathlib

from kerasseg import errors
from kerasseg.inference import outputs
from kerasseg.inference.inputs import is_video
from kerasseg.system import files
from kerasseg.workdir import layout

_SETTINGS = "predict.json"


def fingerprint(path: str | os.PathLike) -> str:
    """Tells networks apart: SHA-256 of the files of a run's best model or an export.

    Args:
        path: A workdir, a `.keras` file, or the folder of one version of an export.
    """
    path = pathlib.Path(path)
    best = path / layout.BEST_MODEL
    paths = [best] if best.exists() else sorted(path.rglob("*")) or [path]
    found = hashlib.sha256()
    for file in paths:
        if file.is_file():
            found.update(file.name.encode())
            with open(file, "rb") as opened:
                found.update(hashlib.file_digest(opened, "sha256").digest())
    return found.hexdigest()


def claim(output_dir: str | os.PathLike, settings: dict, *, overwrite: bool) -> bool:
    """Notes in a folder whose results it holds.

    Args:
        output_dir: The folder.
        settings: What the results depend on, plain for JSON.
        overwrite: Whether results of other settings may be replaced.

    Returns:
        Whether results that are there are of the same settings.

    Raises:
        ValueError: They are not, and must not be replaced.
    """
    path = pathlib.Path(output_dir, _SETTINGS)
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    there = files.read_text(path) if path.exists() else None
    if there == text:
        return not overwrite
    if there is not None and not overwrite:
        raise errors.UserError(
            f"{output_dir} holds results of another network or other settings, see "
            f"{path}. Give another `output_dir`, or `overwrite` to replace them."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, text.encode())
    return False


def is_done(output_dir: str | os.PathLike, name: str, source: pathlib.Path, kinds):
    """Tells whether every result is there, and newer than what it was made of.

    That is the source and what `claim` noted, as the results of another network may
    stand there still.
    """
    paths = outputs.video_paths if is_video(source) else outputs.paths
    try:
        noted = pathlib.Path(output_dir, _SETTINGS)
        changed = max(path.stat().st_mtime for path in (source, noted))
        results = paths(output_dir, name, kinds).values()
        return all(path.stat().st_mtime >= changed for path in results)
    except FileNotFoundError:
        return False
