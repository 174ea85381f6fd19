"""Errors of the user, distinguished by their type from bugs of the program.

A message names arguments and options in backticks, alone or with a value: `workdir`,
`train_batch_size=15`. Commands print them as flags.
"""

import contextlib
import re
import shlex
from collections.abc import Callable, Iterator

_NAME = re.compile(r"`([a-z][a-z0-9_]*)(=[^`]*)?`")


class UserError(ValueError):
    """Wrong input: an argument, an option, a file, or data.

    Commands print it in one line and exit with status 2.
    """

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the arguments and options in the message."""
        return tuple(dict.fromkeys(match[1] for match in _NAME.finditer(str(self))))

    def replace_names(self, replace: Callable[[str], str]) -> None:
        """Replaces the names of options in the message.

        Args:
            replace: Function from a name to its new name.
        """
        self.args = (_NAME.sub(lambda m: f"`{replace(m[1])}{m[2] or ''}`", str(self)),)


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that an argument names, or that a command needs, is missing."""


class MissingPackageError(UserError, ImportError):
    """A package that an optional feature needs is not installed."""


@contextlib.contextmanager
def renamed(names: dict[str, str]) -> Iterator[None]:
    """Renames the options in errors of a block.

    Args:
        names: New names by the names that the block's errors use.
    """
    try:
        yield
    except UserError as error:
        error.replace_names(lambda name: names.get(name, name))
        raise


def with_flags(message: str, flag_of: Callable[[str], str | None]) -> str:
    """Replaces options in backticks by flags: `workdir` becomes --workdir.

    Values are quoted for a shell.

    Args:
        message: Message of a `UserError`.
        flag_of: Returns the flag that sets an option, or None.
    """

    def as_flag(match):
        flag = flag_of(match[1])
        if flag is None:
            return match[0]
        value = f"={shlex.quote(match[2][1:])}" if match[2] else ""
        return f"{flag}{value}"

    return _NAME.sub(as_flag, message)
