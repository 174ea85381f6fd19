"""A progress bar with rate and time left; without a terminal, a line a while."""

import contextlib
import io
import sys

import tqdm

_SECONDS_BETWEEN_LINES = 30


class _Lines(tqdm.tqdm):
    """Prints a whole line each time, for logs."""

    def display(self, msg=None, pos=None):  # noqa: ARG002 - the signature of tqdm.
        with contextlib.suppress(OSError):  # A full disk is no reason to end the work.
            print(msg or str(self), file=sys.stderr, flush=True)


def track(total, *, unit, text="", initial=0) -> tqdm.tqdm:
    """Starts a progress bar on standard error.

    Args:
        total: Number of units in all.
        unit: Its name in the singular, such as "step".
        text: What stands before the bar.
        initial: Units that were done before.

    Returns:
        A `tqdm`: `update()` counts one unit, `set_postfix` shows values, `close()`
        ends it; also a context manager.
    """
    on_terminal = sys.stderr.isatty()
    kind = tqdm.tqdm if on_terminal else _Lines
    return kind(
        total=total,
        initial=initial,
        file=sys.stderr if on_terminal else io.StringIO(),  # Lines are printed.
        unit=unit,
        desc=text,
        mininterval=0.5 if on_terminal else _SECONDS_BETWEEN_LINES,
        maxinterval=_SECONDS_BETWEEN_LINES,
        dynamic_ncols=on_terminal,
        bar_format=None
        if on_terminal
        else "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
    )


def log(text) -> None:
    """Prints a line on standard output without breaking a running bar."""
    with contextlib.suppress(OSError):  # As above.
        tqdm.tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()
