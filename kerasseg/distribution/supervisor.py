"""Runs several tasks on this machine and restarts them when one fails."""

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from kerasseg.distribution import reaper
from kerasseg.system.signals import ReceivedSignals, termination_signals

_VARIABLE = "TF_CONFIG"  # Describes the cluster to a task, and which task it is.
_WRONG_INPUT = 2  # Exit status of wrong flags or input: a restart would not help.
_PREEMPTED = 42  # Exit status of a task that its machine has ended: restart it.
# Exit status of a shell whose command was ended by signal n: 128 + n.
_SIGNALED = range(129, 193)
_EARLY_RESTARTS = 2  # Before the first checkpoint, after a failure without a signal.
_POLL_SECONDS = 0.2
# After the first failure: the task that causes it may print its error last.
_LAST_OUTPUT_SECONDS = 5.0
_MAX_PAUSE_SECONDS = 60.0
_REAPER_SECONDS = 10.0  # For a reaper to kill the processes of its task.
_READ_SECONDS = 5.0  # For output that is left when all processes of a task ended.


class Supervisor:
    """Runs a command as several tasks and restarts them when one fails.

    Without parameter servers all tasks are workers, which need each other: if one
    fails, all are restarted. With parameter servers a chief sends batches to the
    workers: a worker that fails is restarted alone, and all tasks are restarted if the
    chief or a parameter server fails.

    A task that a signal has ended, or with status 42, is restarted; one with status 2
    never. After any other failure before the first checkpoint, tasks are restarted at
    most twice: it is likely to occur again.

    Args:
        command: Program and arguments; TF_CONFIG tells each task which one it is.
        num_workers: Number of workers.
        max_restarts: Maximum number of restarts.
        grace_seconds: Seconds from SIGTERM to SIGKILL when the other tasks must end.
        num_servers: Number of parameter servers.
        has_checkpoint: Returns whether the run has saved a checkpoint.
    """

    def __init__(
        self,
        command: Sequence[str],
        num_workers: int,
        max_restarts: int,
        grace_seconds: float,
        num_servers: int = 0,
        *,
        has_checkpoint: Callable[[], bool] = lambda: False,
    ):
        self._command = list(command)
        self._jobs = {"worker": num_workers}
        if num_servers:
            self._jobs = {"chief": 1, "worker": num_workers, "ps": num_servers}
        self._max_restarts = self._restarts_left = max_restarts
        self._early_restarts_left = _EARLY_RESTARTS
        self._has_checkpoint = has_checkpoint
        self._grace_seconds = grace_seconds
        self._tasks: list[_Task] = []
        self._received = ReceivedSignals()

    def run(self) -> int:
        """Runs until all tasks have succeeded, or no restart is left.

        Returns:
            The exit status: 0; 128 plus the number of a signal that this process
            received; else the status of the task that failed first.
        """
        for number in termination_signals():
            signal.signal(number, self._receive)
        restarts = 0
        while True:
            failed = self._run_once()
            if self._signal is not None:
                return 128 + self._signal
            if failed is None:
                return 0
            if failed.status == _WRONG_INPUT:
                _log(f"{failed}: flags or data are wrong, nothing is restarted.")
                return _WRONG_INPUT
            _log(
                f"{failed}; {self._restarts_left} of {self._max_restarts} restarts are "
                f"left."
            )
            if not self._take_restart(failed):
                return failed.status if failed.status > 0 else 128 - failed.status
            restarts += 1
            self._pause(restarts)

    def _take_restart(self, failed):
        """Returns whether there is a restart left for a failure, and takes it."""
        if not self._restarts_left:
            return False
        if not failed.was_ended and not self._has_checkpoint():
            if not self._early_restarts_left:
                _log(
                    f"{failed} before the first checkpoint, after {_EARLY_RESTARTS} "
                    f"restarts: nothing is restarted. Correct what it reports above."
                )
                return False
            self._early_restarts_left -= 1
        self._restarts_left -= 1
        return True

    def _pause(self, restarts):
        """Waits before a restart, each time longer; a signal ends the wait."""
        deadline = time.monotonic() + min(2.0 ** (restarts - 1), _MAX_PAUSE_SECONDS)
        while time.monotonic() < deadline and self._signal is None:
            time.sleep(_POLL_SECONDS)

    def _run_once(self):
        """Runs all tasks once; returns the task that failed first, or None."""
        if self._signal is not None:
            return None
        ports = iter(_free_ports(sum(self._jobs.values())))
        cluster = {
            job: [f"localhost:{next(ports)}" for _ in range(count)]
            for job, count in self._jobs.items()
        }
        self._tasks = [
            _Task(self._command, cluster, job, index, self._grace_seconds)
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
            time.sleep(_POLL_SECONDS)
            now = time.monotonic()
            if failed is None and kill == math.inf:
                self._replace_workers()
            # A second signal would end a task at once, so each task gets only one.
            if failed is None and (failed := self._failed()) and kill == math.inf:
                stop = now + _LAST_OUTPUT_SECONDS
            if now > stop or (self._signal is not None and kill == math.inf):
                self._send(self._signal or signal.SIGTERM)
                stop, kill = math.inf, now + self._grace_seconds
            if now > kill:
                self._kill(now - kill)
        # Wrong input is the cause where other tasks failed for the lack of this one.
        wrong_input = (task for task in self._tasks if task.status == _WRONG_INPUT)
        return next(wrong_input, failed or self._failed())

    def _replace_workers(self):
        """Restarts failed workers alone; the chief does not need them meanwhile."""
        chief = self._tasks[0]
        if chief.job != "chief" or chief.status is not None:
            return
        for task in self._tasks:
            if task.job == "worker" and task.status not in (None, _WRONG_INPUT):
                if not self._take_restart(task):
                    return
                _log(f"{task}; only this task is restarted.")
                task.start()

    def _failed(self):
        """Returns a task that failed, or None; if possible, one that was ended.

        The others failed for the lack of it.
        """
        failed = [task for task in self._tasks if task.status]
        return next((t for t in failed if t.was_ended), failed[0] if failed else None)

    def _send(self, number):
        for task in self._tasks:
            if task.status is None:
                task.process.send_signal(number)

    def _kill(self, late=0.0):
        """Kills all processes of all tasks; if late, also what should kill them."""
        self._send(reaper.KILL if late < _REAPER_SECONDS else signal.SIGKILL)

    def _receive(self, number, _):
        if self._received.add(number):
            self._kill()

    @property
    def _signal(self):
        return self._received.first


class _Task:
    """A command with all its processes, and a thread that forwards its output."""

    def __init__(self, command, cluster, job, index, grace_seconds):
        self.job, self._index = job, index
        # Not with the modules of this program: `-I -S` starts in 20 ms.
        start = [sys.executable, "-I", "-S", reaper.__file__, str(grace_seconds)]
        self._command = [*start, *command]
        alone = len(cluster) == 1
        self._name = f"{index}" if alone else f"{job} {index}"
        task = {"type": job, "index": index}
        config = json.dumps({"cluster": cluster, "task": task})
        self._environment = {**os.environ, _VARIABLE: config, "PYTHONUNBUFFERED": "1"}
        if alone and len(cluster[job]) == 1:
            del self._environment[_VARIABLE]
        self.start()

    def start(self):
        """Starts the process, or restarts it after it has ended."""
        self.process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the supervisor only.
            preexec_fn=reaper.end_with_parent,  # The task then saves and ends.
        )
        self._output = _Output(f"[{self._name}] ".encode(), self.process.stdout)

    @property
    def status(self) -> int | None:
        """Exit status; None while the process runs."""
        return self.process.poll()

    @property
    def was_ended(self) -> bool:
        """Whether a signal or its machine ended the task, which may be repeated."""
        status = self.status
        return status is not None and (
            status < 0 or status == _PREEMPTED or status in _SIGNALED
        )

    def finish(self):
        """Waits for the process and the end of its output."""
        self.process.wait()
        self._output.finish()

    def __str__(self):
        kind = {"worker": "Worker", "ps": "Parameter server"}.get(self.job)
        name = f"{kind} {self._index}" if kind else "The chief"
        return f"{name} ended with status {self.status}"


class _Output:
    """Forwards lines to standard output, each with a prefix, in a thread."""

    def __init__(self, prefix, lines):
        self._prefix, self._lines = prefix, lines
        self._writing = False
        self._thread = threading.Thread(target=self._forward, daemon=True)
        self._thread.start()

    def _forward(self):
        # Read even if none can be printed: a full pipe blocks the task.
        for line in self._lines:
            self._writing = True
            with contextlib.suppress(OSError):
                os.write(sys.stdout.fileno(), self._prefix + line)
            self._writing = False

    def finish(self):
        """Waits for the end of the output, or until no more of it comes.

        A process that cannot be killed keeps the pipe open.
        """
        idle = 0.0
        while self._thread.is_alive() and idle < _READ_SECONDS:
            self._thread.join(_POLL_SECONDS)
            idle = 0.0 if self._writing else idle + _POLL_SECONDS
        if not self._thread.is_alive():
            self._lines.close()


def _free_ports(count):
    """Returns free ports; all are bound until all are found."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _log(text):
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)
