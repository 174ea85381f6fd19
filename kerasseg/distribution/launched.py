"""What a launched command says about its run: the program, and the workdir."""

import itertools
import os
import pathlib
import shlex
import shutil
from collections.abc import Iterator, Sequence

from kerasseg import errors
from kerasseg.system import files
from kerasseg.workdir import layout

_MAX_DEPTH = 8  # Of flag files in flag files.


def check_program(command: Sequence[str]) -> None:
    """Raises `errors.MissingFileError` if the program of a command does not exist."""
    if shutil.which(command[0]) is None:
        raise errors.MissingFileError(
            f"The command to start is {command[0]!r}, which is not a program. Give the "
            f"path of a program, or one in a folder of the variable PATH."
        )


def has_checkpoint(command: Sequence[str]) -> bool:
    """Returns whether the workdir of a command holds a checkpoint.

    Args:
        command: Program and arguments, of which --workdir or a flag file names the
            workdir, also in the text of a shell. False without one.
    """
    workdir = None
    for name, value in _flags(_words(command)):
        workdir = value if name == "workdir" else workdir
    if workdir is None:
        return False
    folder = pathlib.Path(os.path.expandvars(workdir), layout.CHECKPOINTS)
    return any(folder.glob("ckpt-*.index"))


def _words(command) -> Iterator[str]:
    """Yields the arguments, and the words of those that are the text of a shell."""
    for argument in command:
        if len(argument.split()) < 2:
            yield argument
            continue
        try:
            yield from shlex.split(argument)
        except ValueError:  # An open quote.
            yield from argument.split()


def _flags(words, depth=0) -> Iterator[tuple[str, str]]:
    """Yields name and value of the flags, in order, with those of flag files."""
    for word, following in itertools.pairwise([*words, ""]):
        if not word.startswith("-"):
            continue
        name, equals, value = word.lstrip("-").partition("=")
        value = value if equals else following
        if name != "flagfile":
            yield name, value
        elif depth < _MAX_DEPTH:
            try:
                text = files.read_text(os.path.expanduser(value))
            except (OSError, errors.UserError):  # The command reports it.
                continue
            yield from _flags(map(str.strip, text.splitlines()), depth + 1)
