"""Faults for running programs: kills at system calls, full disks, damaged files."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
RENAMES = "rename,renameat,renameat2"
# Python also renames the compiled files that it writes.
ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
_MAX_KILLS = 60


def run(arguments, **options):
    """Runs Python with these arguments; returns the process with its output."""
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
        arguments: Arguments of Python, as a list.
        calls: Names of system calls, with commas between.
        number: Number of the call that kills, from 1, in each process.

    Returns:
        Whether it was killed; False if it ended before that call.
    """
    strace = shutil.which("strace")
    if not strace:
        pytest.skip("strace is not installed")
    # Without --seccomp-bpf, which is faster: strace 6.1 then sends no signal.
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

    Ends when the program is completed. Each run finds the files of the one before.

    Args:
        arguments: Arguments of Python, as a list; or a function that returns them,
            called before each run, so that each can have its own folder.
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
    raise AssertionError(f"not completed after {_MAX_KILLS} kills")


@contextlib.contextmanager
def small_disk(folder, size="2m"):
    """Mounts a folder of `size` bytes; skips the test if that is not allowed."""
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
    """Flips a bit of a file, at a byte from the start or, if negative, the end."""
    data = bytearray(pathlib.Path(path).read_bytes())
    data[position] ^= 1
    pathlib.Path(path).write_bytes(data)


def cut(path, num_bytes):
    """Cuts bytes off the end of a file."""
    os.truncate(path, os.path.getsize(path) - num_bytes)
