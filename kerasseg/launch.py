r"""Starts a training as several workers on this machine and restarts failed workers.

python -m kerasseg.launch --workers=2 -- \
    python -m kerasseg.train --flagfile=FILE --records_dir=DIR --workdir=DIR

A restart resumes from the last checkpoint. With --parameter_servers=1 the workers do
not wait for each other, and a chief sends them the batches; see docs/distributed.md.
"""

import sys
from collections.abc import Sequence

from absl import app, flags

from kerasseg import cli
from kerasseg.distribution import supervisor

_MAX_RESTARTS = flags.DEFINE_integer(
    "max_restarts", 10, "Maximum number of restarts.", lower_bound=0
)
_KILL_AFTER_SECONDS = flags.DEFINE_float(
    "kill_after_seconds",
    60.0,
    "Seconds from SIGTERM to SIGKILL, when one worker failed and the others must end.",
    lower_bound=0.0,
)
_PARAMETER_SERVERS = flags.DEFINE_integer(
    "parameter_servers",
    0,
    "Number of processes that hold the weights of asynchronous workers; 0: the workers "
    "are synchronous and hold the weights themselves.",
    lower_bound=0,
)
flags.declare_key_flag("workers")


def main(argv: Sequence[str]) -> None:
    """Turns flags into arguments of `supervisor.Supervisor`."""
    command = argv[1:]
    if not command:
        raise app.UsageError(
            "The command to start is missing. Give it after --, as in python -m "
            "kerasseg.launch --workers=2 -- python -m kerasseg.train --flagfile=FILE."
        )
    tasks = supervisor.Supervisor(
        command,
        cli.WORKERS.value or 2,
        _MAX_RESTARTS.value,
        _KILL_AFTER_SECONDS.value,
        _PARAMETER_SERVERS.value,
    )
    sys.exit(tasks.run())


if __name__ == "__main__":
    cli.run(main, accepts_arguments=True)
