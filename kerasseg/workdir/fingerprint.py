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
    unlabeled: "pipeline.ImageReader | None" = None,
    *,
    allow_others: bool = False,
) -> None:
    """Compares the records with those that the run was started on, or saves them.

    Splits are the same if they have the same classes, records of the same lengths in
    the same order, wherever the files are, and the same list of labeled images, if any.

    Args:
        workdir: Folder of the run.
        readers: Reader of each split.
        unlabeled: Reader of other records, whose labels are not used; None for none.
        allow_others: Whether to save the fingerprint even if the records differ.

    Raises:
        errors.UserError: The records differ, or the saved fingerprint is damaged.
    """
    path = os.path.join(workdir, layout.RECORDS)
    current = {reader.split.name: _fingerprint(reader.split) for reader in readers}
    if unlabeled is not None:
        split = unlabeled.split
        current[f"unlabeled {split.name}"] = _fingerprint(split, with_list=False)
    if os.path.exists(path) and not allow_others:
        before = _read(path)
        changed = [name for name in current if before.get(name) != current[name]]
        if changed:
            _check_lists(workdir, before, current, changed)
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


def _check_lists(workdir, before, current, changed):
    """Raises if only the lists of labeled images differ."""
    for name in changed:
        lists = [dict(each[name]) for each in (before, current) if name in each]
        found = [each.pop("labeled_checksum", None) for each in lists]
        for each in lists:
            each.pop("labeled_images", None)
        if len(lists) == 2 and lists[0] == lists[1]:
            there, here = (each[:8] if each else "no list" for each in found)
            raise errors.UserError(
                f"{workdir} was trained with another list of labeled images ({name}: "
                f"checksum {there} there, {here} here). Give the list of the run with "
                f"`labeled_list`, or another `workdir` for this list."
            )


def labeled_list(workdir: str | os.PathLike) -> dict:
    """Returns the list of labeled images that a run was trained with, for its scores.

    Returns:
        Dict of "labeled_images", their number, and "labeled_checksum", the SHA-256 of
        their names; empty if the labels of all images were used.

    Raises:
        errors.UserError: The saved fingerprint is damaged.
    """
    path = os.path.join(workdir, layout.RECORDS)
    for saved in (_read(path) if os.path.exists(path) else {}).values():
        if "labeled_checksum" in saved:
            return {key: saved[key] for key in ("labeled_images", "labeled_checksum")}
    return {}


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


def _fingerprint(split, *, with_list=True):
    saved = {
        "records": len(split),
        "classes": split.spec.num_classes,
        "fingerprint": split.fingerprint,
    }
    if with_list and split.labeled_list is not None:
        saved["labeled_images"] = len(split.labeled_list)
        saved["labeled_checksum"] = split.labeled_checksum
    return saved


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
