"""Several tasks on this machine, started again where one is lost."""

import contextlib
import ctypes
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

from kerasseg.system.signals import Received, asked_by

_VARIABLE = "TF_CONFIG"  # Tells a task what cluster it is of, and its place there.
HOPELESS = 2  # Exit status of wrong flags or input: it would come again.
_LOOK_SECONDS = 0.2
_LAST_WORDS_SECONDS = 5.0  # For a worker to say why it ends, when another ended first.
_LONGEST_PAUSE = 60.0
_SET_DEATH_SIGNAL = getattr(ctypes.CDLL(None), "prctl", None)


class Supervisor:
    """Starts a command as several tasks, and again where one is lost.

    Without parameter servers all tasks are workers that need each other. With them a
    chief hands out the work: a worker that is lost is started again by itself, and all
    of them are where another task is.

    Args:
        command: Program and arguments; each task finds its place in TF_CONFIG.
        num_workers: How many.
        max_restarts: How often tasks are started again, at most.
        grace_seconds: From SIGTERM to SIGKILL, when the others have to end.
        num_servers: Parameter servers.
    """

    def __init__(
        self,
        command: Sequence[str],
        num_workers,
        max_restarts,
        grace_seconds,
        num_servers=0,
    ):
        self._command = list(command)
        self._jobs = {"worker": num_workers}
        if num_servers:
            self._jobs = {"chief": 1, "worker": num_workers, "ps": num_servers}
        self._max_restarts = self._left = max_restarts
        self._grace_seconds = grace_seconds
        self._tasks: list[_Task] = []
        self._received = Received()

    def run(self) -> int:
        """Runs until all tasks have ended well, or there is no hope.

        Returns:
            0; 128 and the number of a signal that came here; else the status of the
            task that failed first.
        """
        for number in asked_by():
            signal.signal(number, self._receive)
        tried = 0
        while True:
            failed = self._run_once()
            if self._signal is not None:
                return 128 + self._signal
            if failed is None:
                return 0
            if failed.status == HOPELESS:
                _say(f"{failed}: flags or data are wrong, nothing is started again.")
                return HOPELESS
            _say(f"{failed}; {self._left} of {self._max_restarts} restarts are left.")
            if not self._left:
                return failed.status if failed.status > 0 else 128 - failed.status
            self._left -= 1
            tried += 1
            self._pause(tried)

    def _pause(self, tried):
        """Waits longer from time to time; a signal ends it."""
        deadline = time.monotonic() + min(2.0 ** (tried - 1), _LONGEST_PAUSE)
        while time.monotonic() < deadline and self._signal is None:
            time.sleep(_LOOK_SECONDS)

    def _run_once(self):
        """Returns the task that failed first, or None."""
        if self._signal is not None:
            return None
        ports = iter(_free_ports(sum(self._jobs.values())))
        cluster = {
            job: [f"localhost:{next(ports)}" for _ in range(count)]
            for job, count in self._jobs.items()
        }
        self._tasks = [
            _Task(self._command, cluster, job, index)
            for job, count in self._jobs.items()
            for index in range(count)
        ]
        failed = self._wait()
        for task in self._tasks:
            task.finish()
        return failed

    def _wait(self):
        failed, stop, kill = None, math.inf, math.inf
        while any(task.status is None for task in self._tasks):
            time.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            if failed is None and kill == math.inf:
                self._replace_workers()
            # Who was told to end is not told twice: that would be to leave at once.
            if failed is None and (failed := self._failed()) and kill == math.inf:
                stop = now + _LAST_WORDS_SECONDS
            if now > stop or (self._signal is not None and kill == math.inf):
                self._send(self._signal or signal.SIGTERM)
                stop, kill = math.inf, now + self._grace_seconds
            if now > kill:
                self._send(signal.SIGKILL)
        # A task that says what is wrong counts before those that miss it.
        hopeless = (task for task in self._tasks if task.status == HOPELESS)
        return next(hopeless, failed or self._failed())

    def _replace_workers(self):
        """Starts workers again that their chief can do without for a while."""
        chief = self._tasks[0]
        if chief.job != "chief" or chief.status is not None:
            return
        for task in self._tasks:
            if task.job == "worker" and task.status not in (None, HOPELESS):
                if not self._left:
                    return
                _say(f"{task}; it alone is started again.")
                self._left -= 1
                task.start()

    def _failed(self):
        """Returns a task that failed, or None."""
        return next((task for task in self._tasks if task.status), None)

    def _send(self, number):
        for task in self._tasks:
            if task.status is None:
                task.process.send_signal(number)

    def _receive(self, number, _):
        if self._received.insists(number):
            self._send(signal.SIGKILL)

    @property
    def _signal(self):
        return self._received.number


class _Task:
    """One process, and a thread that passes its lines on."""

    def __init__(self, command, cluster, job, index):
        self.job, self._index = job, index
        self._command = command
        alone = len(cluster) == 1
        self._name = f"{index}" if alone else f"{job} {index}"
        task = {"type": job, "index": index}
        config = json.dumps({"cluster": cluster, "task": task})
        self._environment = {**os.environ, _VARIABLE: config, "PYTHONUNBUFFERED": "1"}
        if alone and len(cluster[job]) == 1:
            del self._environment[_VARIABLE]
        self.start()

    def start(self):
        """Starts the process, again where it has ended."""
        self.process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C comes here, and is passed on once.
            preexec_fn=_end_with_parent,
        )
        arguments = f"[{self._name}] ".encode(), self.process.stdout
        self._reader = threading.Thread(target=_pass_on, args=arguments)
        self._reader.start()

    @property
    def status(self) -> int | None:
        """Exit status, None while the process runs."""
        return self.process.poll()

    def finish(self):
        """Waits for the process and its last lines."""
        self.process.wait()
        self._reader.join()

    def __str__(self):
        what = {"worker": "Worker", "ps": "Parameter server"}.get(self.job)
        name = f"{what} {self._index}" if what else "The chief"
        return f"{name} ended with status {self.status}"


def _end_with_parent():
    """Asks Linux for SIGTERM where the supervisor is killed: a task then saves."""
    if _SET_DEATH_SIGNAL is not None:
        _SET_DEATH_SIGNAL(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


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


def _pass_on(prefix, lines):
    for line in lines:  # Nobody may take them; unread ones would hold the task up.
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), prefix + line)


def _say(text):
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)
