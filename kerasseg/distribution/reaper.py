"""Runs one command and ends with it and with all processes that it has started.

Shells and programs such as `uv run` and `conda run` start the training as a process of
their own and end without it, or keep signals from it. The supervisor therefore starts
this file instead of the command, with Python alone, which takes 20 ms:

    python -I -S reaper.py GRACE_SECONDS COMMAND...

SIGTERM, SIGINT and SIGHUP are sent on to all processes. What has not ended after
GRACE_SECONDS is killed, as everything is at once after SIGUSR1 (`KILL`). What is left
when the command ends by itself gets SIGTERM. The exit status is that of the command.
"""

import contextlib
import ctypes
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

KILL = signal.SIGUSR1
_POLL_SECONDS = 0.05
_REST_SECONDS = 1.0  # For what ends by itself after the command, such as its helpers.
_KILLED_SECONDS = 5.0  # After which a process that cannot be killed is left behind.
_PROC = pathlib.Path("/proc")
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_WRONG_INPUT = 2


def end_with_parent() -> None:
    """Asks Linux to send SIGTERM to this process when its parent is killed."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Reaper:
    """A command and its descendants.

    Args:
        grace_seconds: Seconds from a signal until what is left is killed.
        command: Program and arguments.
    """

    def __init__(self, grace_seconds: float, command: list[str]):
        self._grace_seconds = grace_seconds
        self._received: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, KILL):
            if signal.getsignal(number) is not signal.SIG_IGN:  # As under `nohup`.
                signal.signal(number, lambda number, _: self._received.append(number))
        if _PRCTL is not None:  # Descendants whose parent has ended become children.
            _PRCTL(_PR_SET_CHILD_SUBREAPER, 1)
        # Kept: when it is deleted, it waits for a command that has ended.
        self._process = subprocess.Popen(
            command, start_new_session=True, preexec_fn=end_with_parent
        )
        self._main = self._process.pid
        self._status: int | None = None  # Of the command, as `os.wait` returns it.
        self._signaled = False

    def run(self) -> int:
        """Returns the status of the command, as `os.wait` returns it."""
        term = kill = give_up = float("inf")
        while self._reap() and time.monotonic() < give_up:
            now = time.monotonic()
            while self._received:
                number = self._received.pop(0)
                if number == KILL:
                    kill = now
                else:
                    self._send(number)
                    self._signaled = True
                    kill = min(kill, now + self._grace_seconds)
            if self._status is not None and term == float("inf"):
                term = now + _REST_SECONDS
            if now > term and not self._signaled:  # A second signal would not save.
                self._send(signal.SIGTERM)
                self._signaled = True
                kill = min(kill, now + self._grace_seconds)
            if now >= kill:
                self._send(signal.SIGKILL)
                give_up = min(give_up, now + _KILLED_SECONDS)
            time.sleep(_POLL_SECONDS)
        return self._status if self._status is not None else int(signal.SIGKILL)

    def _reap(self):
        """Collects processes that have ended; returns whether any is left."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == self._main:
                    self._status = status
                if not pid:
                    return True
        return False

    def _send(self, number):
        """Sends a signal once to each process of the command."""
        # Without /proc: to the process group of the command.
        known = _PROC.joinpath("self/stat").exists()
        for pid in _descendants(os.getpid()) if known else [-self._main]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def _descendants(root):
    """Returns the ids of a process's descendants."""
    children: dict[int, list[int]] = {}
    for path in _PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name, which may hold any characters: state and parent.
            parent = int(path.read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found, pending = [], [root]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def main(argv: list[str]) -> None:
    """Runs the command, and ends as it has ended."""
    try:
        status = Reaper(float(argv[1]), argv[2:]).run()
    except OSError as error:
        print(f"Error: {argv[2]} cannot be started: {error}", file=sys.stderr)
        sys.exit(_WRONG_INPUT)
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(sys.argv)
