r"""Runs distributed training on this machine, and restarts it if a worker fails.

python -m kerasseg.launch --workers=2 -- \
    python -m kerasseg.train --flagfile=FILE --records_dir=DIR --workdir=DIR

Starts the command after -- once per worker, with the environment variable TF_CONFIG.
If a worker fails, all workers are restarted and resume from the last checkpoint; but
not after status 2 (wrong flags or data), and before the first checkpoint at most twice,
unless a signal has ended it. A signal reaches all processes of the command. With
--parameter_servers=1 training is asynchronous: a chief process sends batches to the
workers, and a worker that fails is restarted alone. See docs/distributed.md.
"""

import functools
import sys
from collections.abc import Sequence

from absl import app, flags

from kerasseg import cli
from kerasseg.distribution import launched, supervisor

_MAX_RESTARTS = flags.DEFINE_integer(
    "max_restarts",
    10,
    "Maximum number of restarts after a worker has failed.",
    lower_bound=0,
)
_KILL_AFTER_SECONDS = flags.DEFINE_float(
    "kill_after_seconds",
    60.0,
    "After a worker has failed, the others receive SIGTERM, and SIGKILL if they have "
    "not ended after this number of seconds.",
    lower_bound=0.0,
)
_PARAMETER_SERVERS = flags.DEFINE_integer(
    "parameter_servers",
    0,
    "Number of parameter servers, which hold the weights for asynchronous workers. "
    "With 0, the workers are synchronous and need no servers.",
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
    launched.check_program(command)
    tasks = supervisor.Supervisor(
        command,
        cli.WORKERS.value or 2,
        _MAX_RESTARTS.value,
        _KILL_AFTER_SECONDS.value,
        _PARAMETER_SERVERS.value,
        has_checkpoint=functools.partial(launched.has_checkpoint, command),
    )
    sys.exit(tasks.run())


if __name__ == "__main__":
    cli.run(main, accepts_arguments=True)
