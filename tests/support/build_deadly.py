"""Runs tfrecords_tools.build with pairs that crash the process that reads them.

The names in $KERASSEG_TEST_DEADLY always do, those in $KERASSEG_TEST_ONCE once: each
leaves a file of its name in $KERASSEG_TEST_DEATHS. The read of those in
$KERASSEG_TEST_STALLED never ends.
"""

import os
import pathlib
import signal
import time

from kerasseg import cli
from tfrecords_tools import build
from tfrecords_tools.converters import pairs
from tfrecords_tools.writing import planning

_read = pairs.read_files


def read_files(pair):
    """Reads a pair, kills the process, or waits."""
    if pair.name in os.environ.get("KERASSEG_TEST_STALLED", "").split(","):
        time.sleep(600)
    deaths = pathlib.Path(os.environ.get("KERASSEG_TEST_DEATHS", "."), pair.name)
    once = pair.name in os.environ.get("KERASSEG_TEST_ONCE", "").split(",")
    deadly = pair.name in os.environ.get("KERASSEG_TEST_DEADLY", "").split(",")
    if deadly or (once and not deaths.exists()):
        with deaths.open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return _read(pair)


pairs.read_files = read_files  # In each worker too, which loads this program.

if __name__ == "__main__":
    planning.SHARD_IMAGES = 2
    cli.run(build.main)
