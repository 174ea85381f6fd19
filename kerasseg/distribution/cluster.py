"""The cluster of a run, as the environment variable TF_CONFIG describes it."""

import dataclasses
import json
import os
import socket
import socketserver
import threading
import time
from collections.abc import Mapping, Sequence

from kerasseg import errors

VARIABLE = "TF_CONFIG"
_JOBS = ("chief", "worker", "ps", "evaluator")
_EXAMPLE = (
    '{"cluster": {"worker": ["one:2222", "two:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
_READY, _ALL_READY = b"0", b"1"  # Answers of a worker, the second once all answered.
_CONNECTION_SECONDS = 2.0
_PAUSE_SECONDS = 0.1


class WorkerLostError(RuntimeError):
    """Another worker ended or failed, and this one cannot continue."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The tasks of a cluster, and which of them this process is.

    Attributes:
        jobs: Addresses ("host:port") of the tasks of each job: "chief", "worker", "ps",
            "evaluator".
        job: Job of this process.
        index: Index of this process within its job.
    """

    jobs: Mapping[str, tuple[str, ...]]
    job: str
    index: int

    @property
    def workers(self) -> tuple[str, ...]:
        """Addresses of the tasks that train."""
        return self.jobs.get("chief", ()) + self.jobs.get("worker", ())

    @property
    def address(self) -> str:
        """Address of this process."""
        return self.jobs[self.job][self.index]


def read_cluster(text: str | None) -> Cluster | None:
    """Reads TF_CONFIG.

    Args:
        text: Value of the variable; None or empty if it is not set.

    Returns:
        The cluster; None if the variable is not set.

    Raises:
        errors.UserError: It is not JSON, or its task is not in its cluster.
    """
    if not text:
        return None
    try:
        config = json.loads(text)
        jobs = {job: tuple(config["cluster"][job]) for job in config["cluster"]}
        job, index = config["task"]["type"], config["task"]["index"]
    except (ValueError, KeyError, TypeError) as error:
        raise _invalid(f"cannot be read ({error!r})") from error
    _check(jobs, job, index)
    return Cluster(jobs, job, index)


def _check(jobs, job, index):
    unknown = [name for name in jobs if name not in _JOBS]
    if unknown:
        raise _invalid(f"has the jobs {unknown}, expected are {', '.join(_JOBS)}")
    if not isinstance(index, int) or not 0 <= index < len(jobs.get(job, ())):
        raise _invalid(
            f"has task {index!r} of job '{job}', which is not in its cluster"
        )
    addresses = [address for group in jobs.values() for address in group]
    for address in addresses:
        _, _, port = str(address).rpartition(":")
        if not port.isdigit() or not 0 < int(port) < 2**16:
            raise _invalid(f"has the address {address!r}, expected is host:port")
    if len(set(addresses)) < len(addresses):
        raise _invalid("has the same address twice")


def _invalid(problem):
    return errors.UserError(
        f"{VARIABLE} {problem}. Set it as in this example: {_EXAMPLE}"
    )


def from_environment() -> Cluster | None:
    """Reads TF_CONFIG from the environment; see `read_cluster`."""
    return read_cluster(os.environ.get(VARIABLE))


def gather(cluster: Cluster, seconds: float) -> None:
    """Waits until all workers have started; TensorFlow itself has no timeout.

    Each worker answers at its address until all workers have reached all others.

    Args:
        cluster: The cluster, with this process as a worker.
        seconds: Timeout.

    Raises:
        OSError: Another program uses this worker's port; it may be free later.
        WorkerLostError: Some workers do not answer; the message names them.
    """
    port = int(cluster.address.rpartition(":")[2])
    others = [address for address in cluster.workers if address != cluster.address]
    try:
        server = _ReadyServer(("", port), socketserver.BaseRequestHandler)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{VARIABLE} assigns {cluster.address} to this {cluster.job}, and port "
            f"{port} cannot be used: {error.strerror}. End the program that uses it, "
            f"or choose another port on all machines.",
        ) from error
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            _wait_for_all(server, others, seconds)
        finally:
            server.shutdown()


class _ReadyServer(socketserver.TCPServer):
    """Answers each connection with whether this worker has reached all others."""

    allow_reuse_address = True

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.answer = _READY

    def finish_request(self, request, _):
        request.sendall(self.answer)


def _wait_for_all(server, others, seconds):
    deadline = time.monotonic() + seconds
    answers: dict[str, bytes] = dict.fromkeys(others, b"")
    while True:
        for address in others:
            # A worker that answered and is gone has reached all others.
            gone = _ALL_READY if answers[address] else b""
            answers[address] = _ask(address) or gone
        if all(answers.values()):
            server.answer = _ALL_READY
        if all(answer == _ALL_READY for answer in answers.values()):
            return
        if time.monotonic() > deadline:
            missing = [address for address, answer in answers.items() if not answer]
            raise tasks_missing_error(seconds, missing)
        time.sleep(_PAUSE_SECONDS)


def tasks_missing_error(seconds: float, addresses: Sequence[str]) -> WorkerLostError:
    """Returns the error of tasks that did not answer within a timeout."""
    return WorkerLostError(
        f"After {seconds:g} s these tasks of {VARIABLE} do not answer: "
        f"{', '.join(addresses)}. Start them, correct their addresses, or wait longer "
        f"with `cluster_timeout`."
    )


def connect_to(address: str) -> socket.socket:
    """Connects to "host:port"; raises `OSError` if nothing listens there."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), _CONNECTION_SECONDS)


def _ask(address):
    try:
        with connect_to(address) as connection:
            return connection.recv(len(_ALL_READY))
    except OSError:
        return b""
