"""Fingerprint of the records of a run: it does not resume on other records."""

import json
import os
import pathlib
import typing
import zlib
from collections.abc import Iterable

from kerasseg import errors
from kerasseg.system import files
from kerasseg.workdir import layout

if typing.TYPE_CHECKING:
    from kerasseg import pipeline


def check(
    workdir: str | os.PathLike,
    readers: Iterable["pipeline.ImageReader"],
    *,
    allow_others: bool = False,
) -> None:
    """Compares the records with those that the run was started on, or saves them.

    Splits are the same if they have the same classes, and records of the same lengths
    in the same order, wherever the files are.

    Args:
        workdir: Folder of the run.
        readers: Reader of each split.
        allow_others: Whether to save the fingerprint even if the records differ.

    Raises:
        errors.UserError: The records differ, or the saved fingerprint is damaged.
    """
    path = os.path.join(workdir, layout.RECORDS)
    current = {reader.split.name: _fingerprint(reader.split) for reader in readers}
    if os.path.exists(path) and not allow_others:
        before = _read(path)
        changed = [name for name in current if before.get(name) != current[name]]
        if changed:
            differences = "; ".join(
                f"{name}: {_text(before.get(name))} there, {_text(current[name])} here"
                for name in changed
            )
            raise errors.UserError(
                f"{workdir} was trained on other records ({differences}). Give the "
                f"`records_dir` of the run, or `change_flags=records_dir` to resume it "
                f"on these."
            )
        current = {**before, **current}
    os.makedirs(workdir, exist_ok=True)
    files.write_bytes(path, (json.dumps(current, indent=2) + "\n").encode())


def check_apart(workdir: str | os.PathLike, records_dir: str | os.PathLike) -> None:
    """Raises `errors.UserError` if the workdir is the folder of the records."""
    if os.path.realpath(records_dir) == os.path.realpath(workdir):
        raise errors.UserError(
            f"{workdir} is both `workdir` and `records_dir`, and the run would replace "
            f"the {layout.DATASET} of the records. Give the run its own folder."
        )


def checksum(workdir: str | os.PathLike) -> int:
    """Returns a checksum of the saved fingerprint, 0 if there is none."""
    path = pathlib.Path(workdir, layout.RECORDS)
    return zlib.crc32(path.read_bytes()) if path.exists() else 0


def _fingerprint(split):
    return {
        "records": len(split),
        "classes": split.spec.num_classes,
        "fingerprint": split.fingerprint,
    }


def _text(fingerprint):
    if fingerprint is None:
        return "none"
    return (
        f"{fingerprint['records']} of {fingerprint['classes']} classes, "
        f"{fingerprint['fingerprint'][:8]}"
    )


def _read(path):
    try:
        saved = files.read_json(path)
        for fingerprint in saved.values():
            _text(fingerprint)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.UserError(
            f"{path} is damaged ({error!r}). Remove it to resume: the given records "
            f"are then taken as those of the run."
        ) from error
    return saved
