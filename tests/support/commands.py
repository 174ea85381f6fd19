"""Runs commands in the process of the tests, which has imported TensorFlow."""

import signal
import sys
from unittest import mock

from absl.testing import flagsaver

from kerasseg import cli


def run(main, *arguments, **options) -> int:
    """Runs the `main` of a command; returns its exit status.

    Flags are restored afterwards. `tests/cli/test_cli.py` tests what needs a process of
    its own: signals and tracebacks.
    """
    handler = signal.getsignal(signal.SIGTERM)
    argv = ["command", *map(str, arguments)]
    try:
        with flagsaver.flagsaver(), mock.patch.object(sys, "argv", argv):
            cli.run(main, **options)
    except SystemExit as end:
        return end.code
    finally:
        signal.signal(signal.SIGTERM, handler)
    raise RuntimeError("cli.run returned.")
