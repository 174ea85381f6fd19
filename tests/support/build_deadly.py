"""Runs tfrecords_tools.build with pairs that crash the process that reads them.

The names in $KERASSEG_TEST_DEADLY always do, those in $KERASSEG_TEST_ONCE once: each
leaves a file of its name in $KERASSEG_TEST_DEATHS. The read of those in
$KERASSEG_TEST_STALLED never ends, those in $KERASSEG_TEST_BUSY compute for ever, and
those in $KERASSEG_TEST_HUNGRY take all memory.
"""

import hashlib
import os
import pathlib
import signal
import time

import numpy as np

from kerasseg import cli
from tfrecords_tools import build
from tfrecords_tools.converters import pairs
from tfrecords_tools.writing import planning, tasks

_read = pairs.read_files


def _is_listed(pair, kind):
    return pair.name in os.environ.get(f"KERASSEG_TEST_{kind}", "").split(",")


def read_files(pair):
    """Reads a pair, kills the process, or waits."""
    if _is_listed(pair, "STALLED"):
        time.sleep(600)
    if _is_listed(pair, "BUSY"):
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # Hours, in compiled code.
    if _is_listed(pair, "HUNGRY"):
        np.ones(1 << 40)
    deaths = pathlib.Path(os.environ.get("KERASSEG_TEST_DEATHS", "."), pair.name)
    once = _is_listed(pair, "ONCE")
    deadly = _is_listed(pair, "DEADLY")
    if deadly or (once and not deaths.exists()):
        with deaths.open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return _read(pair)


tasks._BASE_SECONDS, tasks._SECONDS_PER_PIXEL = 1.0, 0.0
pairs.read_files = read_files  # In each worker too, which loads this program.

if __name__ == "__main__":
    planning.SHARD_IMAGES = 2
    cli.run(build.main)
