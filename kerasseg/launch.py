r"""Starts a training as several workers on this machine, and again where one is lost.

python -m kerasseg.launch --workers=2 -- \
    python -m kerasseg.train --flagfile=FILE --records_dir=DIR --workdir=DIR

Each restart goes on at the last checkpoint. With --parameter_servers=1 the workers go
at their own pace, led by a chief; see docs/distributed.md.
"""

import sys

from absl import app, flags

from kerasseg import cli
from kerasseg.distribution import supervisor

_MAX_RESTARTS = flags.DEFINE_integer(
    "max_restarts", 10, "Times that tasks are started again.", lower_bound=0
)
_KILL_AFTER_SECONDS = flags.DEFINE_float(
    "kill_after_seconds",
    60.0,
    "From SIGTERM to SIGKILL, when one worker was lost and the others have to end.",
    lower_bound=0.0,
)
_PARAMETER_SERVERS = flags.DEFINE_integer(
    "parameter_servers",
    0,
    "Processes that hold the weights, for workers that go at their own pace; 0: the "
    "workers hold them, and go in step.",
    lower_bound=0,
)
flags.declare_key_flag("workers")


def main(argv):
    """Turns flags into plain arguments, and nothing more."""
    command = argv[1:]
    if not command:
        raise app.UsageError(
            "Nothing to start: give the command after --, as in python -m "
            "kerasseg.launch --workers=2 -- python -m kerasseg.train --flagfile=FILE."
        )
    started = supervisor.Supervisor(
        command,
        cli.WORKERS.value or 2,
        _MAX_RESTARTS.value,
        _KILL_AFTER_SECONDS.value,
        _PARAMETER_SERVERS.value,
    )
    sys.exit(started.run())


if __name__ == "__main__":
    cli.run(main, takes_words=True)
