"""Resuming a prediction: which results of an earlier run are still valid."""

import hashlib
import json
import os
import pathlib
from collections.abc import Iterable

from kerasseg import errors
from kerasseg.inference import outputs
from kerasseg.inference.inputs import is_video
from kerasseg.system import files
from kerasseg.workdir import layout

_SETTINGS = "predict.json"


def fingerprint(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a network's files.

    Args:
        path: A workdir, whose best model counts; a `.keras` file; or the folder of an
            export.
    """
    path = pathlib.Path(path)
    best = path / layout.BEST_MODEL
    paths = [best] if best.exists() else sorted(path.rglob("*")) or [path]
    digest = hashlib.sha256()
    for file in paths:
        if file.is_file():
            digest.update(file.name.encode())
            with open(file, "rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def claim(output_dir: str | os.PathLike, settings: dict, *, overwrite: bool) -> bool:
    """Writes the settings of a prediction into the folder of its results.

    Args:
        output_dir: The folder.
        settings: Everything that the results depend on, as JSON values.
        overwrite: Whether results of other settings may be replaced.

    Returns:
        Whether the folder holds results of the same settings that can be kept.

    Raises:
        errors.UserError: It holds results of other settings, and `overwrite` is false.
    """
    path = pathlib.Path(output_dir, _SETTINGS)
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    earlier = files.read_text(path) if path.exists() else None
    if earlier == text:
        return not overwrite
    if earlier is not None and not overwrite:
        raise errors.UserError(
            f"{output_dir} holds results of another network or other settings, see "
            f"{path}. Give another `output_dir`, or `overwrite` to replace them."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, text.encode())
    return False


def is_done(
    output_dir: str | os.PathLike,
    name: str,
    source: pathlib.Path,
    kinds: Iterable[str],
) -> bool:
    """Returns whether every result exists and is up to date.

    A result must be newer than its source, and than the settings that `claim` wrote,
    because the folder may still hold results of another network.

    Args:
        output_dir: Folder of the results.
        name: Name of the result, see `inputs.find_images`.
        source: The image or video.
        kinds: Keys of `outputs.KINDS`.
    """
    paths = outputs.video_paths if is_video(source) else outputs.paths
    try:
        settings = pathlib.Path(output_dir, _SETTINGS)
        changed = max(path.stat().st_mtime for path in (source, settings))
        results = paths(output_dir, name, kinds).values()
        return all(path.stat().st_mtime >= changed for path in results)
    except FileNotFoundError:
        return False
