"""The flags of a program as a flag file."""

import sys
from collections.abc import Iterable

from absl import app, flags

SHARED = "kerasseg.cli"  # The module that defines the shared flags.


def as_flagfile() -> list[str]:
    """Returns the program's own flags as lines of a flag file: `--name=value`.

    The lines of a repeated flag keep their order: the last one counts.
    """
    return [line for flag in _own_flags() for line in _lines(flag)]


def default_lines() -> set[str]:
    """Returns the lines of `as_flagfile` whose flags have their default value."""
    return {
        line
        for flag in _own_flags()
        if flag.value == flag.default
        for line in _lines(flag)
    }


def check_flag_names(flag: str, names: Iterable[str]) -> None:
    """Raises `app.UsageError` if a name in the list of a flag is not a flag's name."""
    unknown = [name for name in names if name not in flags.FLAGS]
    if unknown:
        raise app.UsageError(
            f"--{flag}={','.join(names)}: {', '.join(unknown)} is not the name of a "
            f"flag. Give names without -- and values."
        )


def _own_flags():
    modules = flags.FLAGS.flags_by_module_dict()
    own = [flag for m in (SHARED, sys.argv[0]) for flag in modules.get(m, [])]
    return sorted(own, key=lambda flag: flag.name)


def _lines(flag):
    return [] if flag.value is None else flag.serialize().splitlines()
