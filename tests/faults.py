"""Faults that tests put into running programs: kills at system calls, full disks."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
RENAMES = "rename,renameat,renameat2"
# Compiled files are renamed into place too, and are none of the program's business.
ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
_MAX_KILLS = 60


def run(arguments, **options):
    """Runs Python with these arguments; returns the finished process with its texts."""
    options = {"cwd": ROOT, "env": ENVIRONMENT, "timeout": 300, **options}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        **options,
    )


def kill_at(arguments, calls, number):
    """Runs Python with these arguments, and kills it at a system call.

    Args:
        arguments: What follows "python", as a list.
        calls: Names of system calls, with commas between.
        number: Which of them kills, from 1; each process counts its own.

    Returns:
        Whether it was killed; False if it ended well before that call.
    """
    strace = shutil.which("strace")
    if not strace:
        pytest.skip("strace is not installed")
    traced = [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"]
    traced += ["-e", f"inject={calls}:signal=SIGKILL:when={number}"]
    traced += [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        traced, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    if "ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    if done.returncode not in (0, -signal.SIGKILL):
        pytest.fail(f"exit status {done.returncode}: {done.stderr}")
    return done.returncode != 0


def crashpoints(arguments, check, calls=RENAMES):
    """Runs a program again and again, killed at its 1st, 2nd, ... system call.

    Ends when the program got through. Each run finds what the one before left.

    Args:
        arguments: What follows "python", as a list; or a function that makes it, called
            before each run, so that each can have a folder of its own.
        check: Called after each kill, with its number.
        calls: See `kill_at`.

    Returns:
        Number of kills.
    """
    for number in range(1, _MAX_KILLS + 1):
        given = arguments() if callable(arguments) else arguments
        if not kill_at(given, calls, number):
            return number - 1
        check(number)
    raise AssertionError(f"still not through after {_MAX_KILLS} kills")


@contextlib.contextmanager
def small_disk(folder, size="2m"):
    """Makes a folder that holds `size` bytes only; skips where that is not allowed."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if (
        not shutil.which("mount")
        or subprocess.run(mount, capture_output=True).returncode
    ):
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def flip_bit(path, position):
    """Turns one bit of a file, at a byte from the start or, negative, from the end."""
    data = bytearray(pathlib.Path(path).read_bytes())
    data[position] ^= 1
    pathlib.Path(path).write_bytes(data)


def cut(path, num_bytes):
    """Takes bytes from the end of a file."""
    os.truncate(path, os.path.getsize(path) - num_bytes)
