"""Which records a run is trained on: it does not go on with others unasked."""

import json
import os
import pathlib
import zlib

from kerasseg import errors
from kerasseg.system import files

FILE = "records.json"


def check(workdir, readers, *, allow_others=False) -> None:
    """Compares the records with those that the run began with, or notes them.

    Records are the same where their classes and the lengths of all of them are, in
    order; where they lie does not count.

    Args:
        workdir: Folder of the run.
        readers: `pipeline.ImageReader` of each split.
        allow_others: Notes the records whatever was noted before.

    Raises:
        ValueError: They are others, or the note is damaged.
    """
    path = os.path.join(workdir, FILE)
    found = {reader.split.name: _facts(reader.split) for reader in readers}
    if os.path.exists(path) and not allow_others:
        before = _read(path)
        changed = [name for name in found if before.get(name) != found[name]]
        if changed:
            said = "; ".join(
                f"{name}: {_said(before.get(name))} there, {_said(found[name])} here"
                for name in changed
            )
            raise errors.UserError(
                f"{workdir} was trained on other records ({said}). Give the "
                f"`records_dir` of the run, or `change_flags=records_dir` to go on "
                f"with these."
            )
        found = {**before, **found}
    os.makedirs(workdir, exist_ok=True)
    files.write_bytes(path, (json.dumps(found, indent=2) + "\n").encode())


def check_apart(workdir, records_dir) -> None:
    """Raises ValueError where a run would write over the list of its own records."""
    if os.path.realpath(records_dir) == os.path.realpath(workdir):
        raise errors.UserError(
            f"{workdir} is given as `workdir` and as `records_dir`, and each has a "
            f"dataset.json of its own. Give the run a folder of its own."
        )


def checksum(workdir) -> int:
    """Returns a number of what is noted in a workdir, 0 where nothing is."""
    path = pathlib.Path(workdir, FILE)
    return zlib.crc32(path.read_bytes()) if path.exists() else 0


def _facts(split):
    return {
        "records": len(split),
        "classes": split.spec.num_classes,
        "fingerprint": split.fingerprint,
    }


def _said(facts):
    if facts is None:
        return "none"
    return (
        f"{facts['records']} of {facts['classes']} classes, {facts['fingerprint'][:8]}"
    )


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        for facts in found.values():
            _said(facts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.UserError(
            f"{path} is damaged ({error!r}). Remove it to go on: the records are then "
            f"taken for those of the run."
        ) from error
    return found
