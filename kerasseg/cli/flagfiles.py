"""A run's flags as a file, written and read."""

import sys

from absl import flags

SHARED = "kerasseg.cli"  # The module that defines the shared flags.


def as_flagfile() -> list[str]:
    """Lists the program's own flags as a flagfile has them, one `--name=value` each.

    The lines of a flag that is repeated keep their order: the last one counts.
    """
    return [line for flag in _own_flags() for line in _lines(flag)]


def missing_defaults(lines) -> list[str]:
    """Lists the lines of flags that `lines` lack and that have their defaults.

    What was listed before a flag existed lacks it, and did as its default does.

    Args:
        lines: What `as_flagfile` listed.
    """
    there = {line.partition("=")[0] for line in lines}
    missing = [
        flag
        for flag in _own_flags()
        if flag.value == flag.default
        and there.isdisjoint({f"--{flag.name}", f"--no{flag.name}"})
    ]
    return [line for flag in missing for line in _lines(flag)]


def _own_flags():
    modules = flags.FLAGS.flags_by_module_dict()
    own = [flag for m in (SHARED, sys.argv[0]) for flag in modules.get(m, [])]
    return sorted(own, key=lambda flag: flag.name)


def _lines(flag):
    return [] if flag.value is None else flag.serialize().splitlines()


def read_flagfile(path) -> dict[str, str]:
    """Reads the values that `as_flagfile` listed, without setting any flag.

    Returns:
        Text by flag, the last one of a repeated flag; switches are left out.

    Raises:
        FileNotFoundError: There is no such file.
    """
    with open(path, encoding="utf-8") as file:
        parts = [line.partition("=") for line in file.read().splitlines()]
    return {name.removeprefix("--"): value for name, mark, value in parts if mark}
