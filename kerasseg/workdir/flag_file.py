"""The flags that a run was started with, as a flag file, and the workdir's format."""

import json
import os
from collections.abc import Collection, Iterable, Sequence

from kerasseg import errors
from kerasseg.system import files
from kerasseg.workdir import layout

# 1: without run.json; endpoints of some backbones differ, see
# `backbones.of_workdir_format`. A later version of the code reads every earlier format.
FORMAT = 2


def read(workdir: str | os.PathLike) -> dict[str, str]:
    """Reads the flags of a run.

    Returns:
        Text by flag; the last one of a repeated flag. Boolean flags are left out.
        Empty where the workdir has no flag file.

    Raises:
        errors.UserError: The file is not text.
    """
    path = os.path.join(workdir, layout.FLAGS)
    if not os.path.exists(path):
        return {}
    parts = [line.partition("=") for line in files.read_text(path).splitlines()]
    return {name.removeprefix("--"): value for name, equals, value in parts if equals}


def keep(
    workdir: str | os.PathLike,
    lines: Sequence[str],
    *,
    defaults: Collection[str],
    may_change: Iterable[str],
    writes: bool = True,
) -> None:
    """Writes the flags of a run, or compares them with those of an earlier start.

    A run without a checkpoint may be started again with any flags.

    Args:
        workdir: Folder of the run.
        lines: The flags as a flag file lists them, one `--name=value` each.
        defaults: Those of `lines` that have their default value.
        may_change: Names of flags that may differ.
        writes: Whether to write the file, which one of several workers does.

    Raises:
        errors.UserError: The run in the workdir was started with other flags.
    """
    check_format(workdir)
    path = os.path.join(workdir, layout.FLAGS)
    if os.path.exists(path) and os.path.exists(
        os.path.join(workdir, layout.CHECKPOINTS)
    ):
        before = files.read_text(path).splitlines()
        _check_unchanged(workdir, before, lines, defaults, set(may_change))
    if writes:
        os.makedirs(workdir, exist_ok=True)
        files.write_bytes(path, "".join(f"{line}\n" for line in lines).encode())


def _check_unchanged(workdir, before, lines, defaults, may_change):
    # A flag that did not exist when the run was started did as its default does.
    known = {name for line in before for name in _names(line)}
    compared = {line for line in lines if line not in defaults or _names(line) & known}
    changed = [
        line
        for line in sorted(compared.symmetric_difference(before))
        if not _names(line) & may_change
    ]
    if changed:
        was = " ".join(line for line in changed if line in before)
        now = " ".join(line for line in changed if line in lines)
        raise errors.UserError(
            f"{workdir} holds a run that was started with other flags: {was or 'none'} "
            f"there, {now or 'none'} here. Give the same flags to resume it, another "
            f"`workdir` for a new run, or `change_flags={_changed_names(changed)}` to "
            f"resume it with these flags."
        )


def _changed_names(lines):
    """Returns the names of the flags that some lines set, separated by commas."""
    switches = {line for line in lines if "=" not in line}
    names = set()
    for line in lines:
        name = line.partition("=")[0].removeprefix("--")
        # --noflip is flip, except where both --noflip and --nonoflip occur.
        if line in switches and f"--no{name}" not in switches:
            name = name.removeprefix("no")
        names.add(name)
    return ",".join(sorted(names))


def _names(line):
    """Returns the flags that a line may set: --noise is noise, or disables ise."""
    name = line.partition("=")[0].removeprefix("--")
    return {name, name.removeprefix("no")}


def check_format(
    workdir: str | os.PathLike, initial_checkpoint: str | None = None
) -> int:
    """Returns the format of a workdir.

    Args:
        workdir: Folder of the run.
        initial_checkpoint: Where a new run gets its weights. If it is a workdir, the
            new one has its format, because the weights are those of its network.
            Otherwise a new workdir has the newest format.

    Raises:
        errors.UserError: It is of a later version of this package.
    """
    path = os.path.join(workdir, layout.RUN)
    if not os.path.exists(path):
        written = (layout.CHECKPOINTS, layout.BEST_MODEL)
        is_run = any(os.path.exists(os.path.join(workdir, name)) for name in written)
        if is_run:
            return 1
        if initial_checkpoint and os.path.isdir(initial_checkpoint):
            return check_format(initial_checkpoint)
        return FORMAT
    found = files.read_json(path)
    number = found.get("format") if isinstance(found, dict) else None
    if not isinstance(number, int) or number > FORMAT:
        raise errors.UserError(
            f"{path} has format {number}, and this version of kerasseg reads formats "
            f"up to {FORMAT}. Install the version that wrote it, or a later one."
        )
    return number


def keep_format(workdir: str | os.PathLike, number: int) -> None:
    """Writes the format of a run, unless it is there."""
    path = os.path.join(workdir, layout.RUN)
    if not os.path.exists(path):
        files.write_bytes(path, (json.dumps({"format": number}) + "\n").encode())
