"""Several workers on this machine: all of them run, or all are started again."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from kerasseg.distribution.cluster import VARIABLE

HOPELESS = 2  # Exit status of wrong flags or input: it would come again.
_LOOK_SECONDS = 0.2
_LAST_WORDS_SECONDS = 5.0  # For a worker to say why it ends, when another ended first.
_LONGEST_PAUSE = 60.0


class Supervisor:
    """Starts a command as several workers, and again where one is lost.

    Args:
        command: Program and arguments; each worker finds its place in TF_CONFIG.
        num_workers: How many.
        max_restarts: How often all of them are started again, at most.
        grace_seconds: From SIGTERM to SIGKILL, when the others have to end.
    """

    def __init__(
        self, command: Sequence[str], num_workers, max_restarts, grace_seconds
    ):
        self._command = list(command)
        self._num_workers = num_workers
        self._max_restarts = max_restarts
        self._grace_seconds = grace_seconds
        self._processes: list[subprocess.Popen] = []
        self._signal: int | None = None

    def run(self) -> int:
        """Runs until all workers have ended well, or there is no hope.

        Returns:
            0; 128 and the number of a signal that came here; else the status of the
            worker that failed first.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)
        for tried in range(self._max_restarts + 1):
            if tried:
                self._pause(tried)
            failed = self._run_once()
            if self._signal is not None:
                return 128 + self._signal
            if failed is None:
                return 0
            worker, status = failed
            said = f"Worker {worker} ended with status {status}"
            if status == HOPELESS:
                _say(f"{said}: flags or data are wrong, nothing is started again.")
                return status
            left = self._max_restarts - tried
            _say(f"{said}; {left} of {self._max_restarts} restarts are left.")
        return status if status > 0 else 128 - status

    def _pause(self, tried):
        """Waits longer from time to time; a signal ends it."""
        deadline = time.monotonic() + min(2.0 ** (tried - 1), _LONGEST_PAUSE)
        while time.monotonic() < deadline and self._signal is None:
            time.sleep(_LOOK_SECONDS)

    def _run_once(self):
        """Returns number and status of the worker that failed first, or None."""
        if self._signal is not None:
            return None
        addresses = [f"localhost:{port}" for port in _free_ports(self._num_workers)]
        self._processes = [self._start(i, addresses) for i in range(len(addresses))]
        readers = [
            threading.Thread(target=_pass_on, args=(i, process.stdout))
            for i, process in enumerate(self._processes)
        ]
        for reader in readers:
            reader.start()
        failed = self._wait()
        for process in self._processes:
            process.wait()
        for reader in readers:
            reader.join()
        return failed

    def _start(self, worker, addresses):
        task = {"type": "worker", "index": worker}
        config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        environment = {**os.environ, VARIABLE: config, "PYTHONUNBUFFERED": "1"}
        if self._num_workers == 1:
            del environment[VARIABLE]
        return subprocess.Popen(
            self._command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C comes here, and is passed on once.
        )

    def _wait(self):
        failed, stop, kill = None, math.inf, math.inf
        while any(process.poll() is None for process in self._processes):
            time.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            if failed is None and (failed := self._failed()):
                stop = now + _LAST_WORDS_SECONDS
            if now > stop or (self._signal is not None and kill == math.inf):
                self._send(self._signal or signal.SIGTERM)
                stop, kill = math.inf, now + self._grace_seconds
            if now > kill:
                self._send(signal.SIGKILL)
        statuses = [process.returncode for process in self._processes]
        # A worker that says what is wrong counts before those that miss it.
        if HOPELESS in statuses:
            return statuses.index(HOPELESS), HOPELESS
        return failed or self._failed()

    def _failed(self):
        """Returns number and status of a worker that failed, or None."""
        found = ((i, process.poll()) for i, process in enumerate(self._processes))
        return next(((i, status) for i, status in found if status), None)

    def _send(self, number):
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(number)

    def _receive(self, number, _):
        if self._signal is not None:
            self._send(signal.SIGKILL)
        self._signal = number


def _free_ports(count):
    """Finds ports that nobody listens at; all are held until all are found."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _pass_on(worker, lines):
    for line in lines:
        sys.stdout.buffer.write(f"[{worker}] ".encode() + line)
        sys.stdout.buffer.flush()


def _say(text):
    print(text, file=sys.stderr, flush=True)
