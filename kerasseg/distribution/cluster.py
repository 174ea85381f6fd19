"""The machines of a run, as the environment variable TF_CONFIG names them."""

import dataclasses
import json
import os
import socket
import socketserver
import threading
import time
from collections.abc import Mapping

from kerasseg import errors

VARIABLE = "TF_CONFIG"
_JOBS = ("chief", "worker", "ps", "evaluator")
_EXAMPLE = (
    '{"cluster": {"worker": ["one:2222", "two:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
_HERE, _ALL_HERE = b"0", b"1"  # What a worker says of itself, and of all.
_ANSWER_SECONDS = 2.0  # For a connection.
_PAUSE_SECONDS = 0.1


class WorkerLostError(RuntimeError):
    """Another worker ended or failed, and this one cannot go on."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """What TF_CONFIG says.

    Attributes:
        jobs: Addresses, "host:port", by job: "chief", "worker", "ps", "evaluator".
        job: That of this process.
        index: Its number within the job.
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
        text: The variable, None or empty where it is not set.

    Raises:
        ValueError: It is no JSON, or names a task that is not in its cluster.
    """
    if not text:
        return None
    try:
        found = json.loads(text)
        jobs = {job: tuple(found["cluster"][job]) for job in found["cluster"]}
        job, index = found["task"]["type"], found["task"]["index"]
    except (ValueError, KeyError, TypeError) as error:
        raise _wrong(f"cannot be read ({error!r})") from error
    _check(jobs, job, index)
    return Cluster(jobs, job, index)


def _check(jobs, job, index):
    unknown = [name for name in jobs if name not in _JOBS]
    if unknown:
        raise _wrong(f"names the jobs {unknown}; known are {', '.join(_JOBS)}")
    if not isinstance(index, int) or not 0 <= index < len(jobs.get(job, ())):
        raise _wrong(f"says task {index!r} of job '{job}', which its cluster lacks")
    addresses = [address for group in jobs.values() for address in group]
    for address in addresses:
        _, _, port = str(address).rpartition(":")
        if not port.isdigit() or not 0 < int(port) < 2**16:
            raise _wrong(f"holds {address!r}; host:port is wanted")
    if len(set(addresses)) < len(addresses):
        raise _wrong("names an address twice")


def _wrong(what):
    return errors.UserError(f"{VARIABLE} {what}. It looks like this: {_EXAMPLE}")


def from_environment() -> Cluster | None:
    """Reads TF_CONFIG from the environment; see `read_cluster`."""
    return read_cluster(os.environ.get(VARIABLE))


def gather(cluster: Cluster, seconds: float) -> None:
    """Waits until all workers are there; TensorFlow would wait without end.

    Each answers at its address until it knows that all of them have seen all others.

    Args:
        cluster: Of which this process is a worker.
        seconds: To wait at most.

    Raises:
        OSError: Another program has this worker's port; it may be free later.
        WorkerLostError: Some do not answer; they are named.
    """
    port = int(cluster.address.rpartition(":")[2])
    others = [address for address in cluster.workers if address != cluster.address]
    try:
        greeter = _Greeter(("", port), socketserver.BaseRequestHandler)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{VARIABLE} gives this {cluster.job} {cluster.address}, and port {port} "
            f"cannot be had: {error.strerror}. End the program that has it, or give "
            f"another port on all machines.",
        ) from error
    with greeter:
        threading.Thread(target=greeter.serve_forever, daemon=True).start()
        try:
            _call_the_roll(greeter, others, seconds)
        finally:
            greeter.shutdown()


class _Greeter(socketserver.TCPServer):
    """Says to whoever calls whether this worker has seen all others."""

    allow_reuse_address = True

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.said = _HERE

    def finish_request(self, request, _):
        request.sendall(self.said)


def _call_the_roll(greeter, others, seconds):
    deadline = time.monotonic() + seconds
    heard: dict[str, bytes] = dict.fromkeys(others, b"")
    while True:
        for address in others:
            # Who is gone after an answer has seen all, this worker too.
            gone = _ALL_HERE if heard[address] else b""
            heard[address] = _ask(address) or gone
        if all(heard.values()):
            greeter.said = _ALL_HERE
        if all(said == _ALL_HERE for said in heard.values()):
            return
        if time.monotonic() > deadline:
            missing = [address for address, said in heard.items() if not said]
            raise missing_tasks(seconds, missing)
        time.sleep(_PAUSE_SECONDS)


def missing_tasks(seconds: float, addresses) -> WorkerLostError:
    """Describes tasks that did not come in so many seconds."""
    return WorkerLostError(
        f"After {seconds:g} s these tasks of {VARIABLE} do not answer: "
        f"{', '.join(addresses)}. Start them, mend their addresses, or wait longer "
        f"with `cluster_timeout`."
    )


def connection(address: str) -> socket.socket:
    """Connects to "host:port"; raises `OSError` where nobody answers."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), _ANSWER_SECONDS)


def _ask(address):
    try:
        with connection(address) as opened:
            return opened.recv(len(_ALL_HERE))
    except OSError:
        return b""
