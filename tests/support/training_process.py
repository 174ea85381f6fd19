"""Real training processes: started, stopped by signals, and resumed."""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def start(module, *arguments):
    """Starts a module of `tests.support` that prints the lines of `train_tiny`."""
    command = [sys.executable, "-m", f"tests.support.{module}", *arguments]
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, *, timeout=300):
    """Waits for the end of a run that must succeed; returns its output."""
    output, errors = process.communicate(timeout=timeout)
    assert process.returncode == 0, errors
    return output


def interrupt(process, number, step, *, timeout=30):
    """Sends a signal after a step; returns the exit status.

    The run must save and end within `timeout` seconds.
    """
    for line in process.stdout:
        if line.startswith(f"step {step} "):
            os.kill(process.pid, number)
            break
    process.communicate(timeout=timeout)
    return process.returncode


def digest(output):
    """Returns the digest of all variables at the end of a run."""
    return re.search("digest (.*)", output)[1]


def written(workdir):
    """Returns the scores of a run, and the metadata of its best model."""
    names = "scores.csv", "best/model.json"
    return [(workdir / name).read_text() for name in names]
