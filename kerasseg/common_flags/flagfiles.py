"""A run's flags as a file, written and read."""

import sys

from absl import flags

_SHARED = "kerasseg.common_flags"  # The module that defines the shared flags.


def as_flagfile() -> list[str]:
    """Lists the program's own flags as a flagfile has them, one `--name=value` each.

    The lines of a flag that is repeated keep their order: the last one counts.
    """
    modules = flags.FLAGS.flags_by_module_dict()
    own = {
        flag.name: flag for m in (_SHARED, sys.argv[0]) for flag in modules.get(m, [])
    }
    texts = [
        own[name].serialize() for name in sorted(own) if own[name].value is not None
    ]
    return [line for text in texts for line in text.splitlines() if line]


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
