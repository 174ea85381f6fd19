"""Flags from environment variables: KERASSEG_PORT=8502 stands for --port=8502."""

import difflib
import os
import shlex
import sys
from collections.abc import Iterable

from absl import app, flags

_SIMILARITY = 0.8  # From which a name is a misspelled one, see `difflib`.
_SERVICE_LINK = "tcp://"


def apply(names: Iterable[str], prefix: str) -> dict[str, str]:
    """Sets flags that the command line did not set from variables of the environment.

    The variable of a flag is the prefix and the name of the flag in upper case. An
    empty one is not used. Variables with the prefix that are no flag are listed in a
    warning, because others may own them.

    Args:
        names: Names of the flags that variables set.
        prefix: Prefix of the variables.

    Returns:
        Name of the variable by the name of each flag that it has set.

    Raises:
        app.UsageError: A value is wrong, or a name resembles that of a flag.
    """
    known = {f"{prefix}{name.upper()}": name for name in names}
    given = {
        variable: value
        for variable, value in sorted(os.environ.items())
        if variable.startswith(prefix)
    }
    _check_names(given, known)
    used = {}
    for variable in given.keys() & known.keys():
        name, value = known[variable], given[variable]
        if value and not flags.FLAGS[name].present:
            _set(name, variable, value)
            used[name] = variable
    return used


def _check_names(given, known):
    unknown = sorted(given.keys() - known.keys())
    for variable in unknown:
        similar = difflib.get_close_matches(
            variable.upper(), known, n=1, cutoff=_SIMILARITY
        )
        if similar:
            raise app.UsageError(
                f"The environment variable {variable} sets no flag: write "
                f"{similar[0]}, or unset it."
            )
    if unknown:
        print(
            f"Warning: these environment variables set no flag: {', '.join(unknown)}. "
            f"Unset them if they are meant for this program.",
            file=sys.stderr,
        )


def _set(name, variable, value):
    flag = flags.FLAGS[name]
    try:
        flag.parser.parse(value)
    except (ValueError, TypeError) as error:
        reason = " ".join(map(str, error.args))
        remedy = f"Correct it, or unset it: the default is {flag.default}."
        if value.startswith(_SERVICE_LINK):
            remedy = (
                "Kubernetes sets it for a Service of this name: set "
                "enableServiceLinks: false in the pod, or rename the Service."
            )
        raise app.UsageError(
            f"{variable}={shlex.quote(value)}: {reason}. {remedy}"
        ) from error
    flags.FLAGS.set_default(name, value)
