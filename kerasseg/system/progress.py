"""Progress bars with rate and remaining time; without a terminal, lines of text."""

import contextlib
import io
import sys

import tqdm

_SECONDS_BETWEEN_LINES = 30


class _Lines(tqdm.tqdm):
    """Prints a line for each update, for log files."""

    def display(self, msg=None, pos=None):  # noqa: ARG002 - signature of tqdm.
        with contextlib.suppress(OSError):  # A full disk must not stop the program.
            print(msg or str(self), file=sys.stderr, flush=True)


def track(
    total: int | None,
    *,
    unit: str,
    text: str = "",
    initial: int = 0,
    scale: bool = False,
) -> tqdm.tqdm:
    """Starts a progress bar on standard error.

    Args:
        total: Total number of units; None if it is not known.
        unit: Name of a unit in the singular, such as "step".
        text: Text before the bar.
        initial: Number of units that are done already.
        scale: Whether numbers are shown as 1.5k or 1.5M.

    Returns:
        A `tqdm`: `update()` adds one unit, `set_postfix` shows values, `close()` ends
        the bar. Also a context manager.
    """
    on_terminal = sys.stderr.isatty()
    kind = tqdm.tqdm if on_terminal else _Lines
    return kind(
        total=total,
        initial=initial,
        file=sys.stderr if on_terminal else io.StringIO(),  # `_Lines` prints itself.
        unit=unit,
        desc=text,
        unit_scale=scale,
        mininterval=0.5 if on_terminal else _SECONDS_BETWEEN_LINES,
        maxinterval=_SECONDS_BETWEEN_LINES,
        dynamic_ncols=on_terminal,
        bar_format=None
        if on_terminal
        else "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
    )


def log(text: str) -> None:
    """Prints a line on standard output without breaking a running progress bar."""
    with contextlib.suppress(OSError):  # As above.
        tqdm.tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()
