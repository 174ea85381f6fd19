"""Runs tfrecords_tools.build with two images per file, so that few make many files.

With --workers=1, all is written by this process, whose system calls tests count.
"""

from kerasseg import cli
from tfrecords_tools import build
from tfrecords_tools.writing import planning, quarantine

_run = quarantine.run


def run(to_do, *, num_workers, advance):
    """Runs the tasks in this process instead of a single other one."""
    yield from _run(
        to_do, num_workers=0 if num_workers == 1 else num_workers, advance=advance
    )


if __name__ == "__main__":
    planning.SHARD_IMAGES = 2
    quarantine.run = run
    cli.run(build.main)
