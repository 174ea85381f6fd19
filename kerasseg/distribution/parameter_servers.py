"""Asynchronous replicas: workers compute, parameter servers hold the weights.

The task "chief" runs the program: it reads the pictures, hands each batch to a worker
that is free, and writes the workdir. Workers and servers do as they are told.
"""

import contextlib
import errno
import os
import signal
import time

import tensorflow as tf

from kerasseg import errors
from kerasseg.distribution.cluster import (
    VARIABLE,
    Cluster,
    connection,
    missing_tasks,
)
from kerasseg.system.signals import Received, asked_by

SERVERS = ("worker", "ps")  # Jobs of the processes that only serve.
_PAUSE_SECONDS = 0.5
_GONE = 4  # Times that the chief does not answer, one after the other.


def connect(cluster: Cluster, seconds: float) -> tf.distribute.Strategy:
    """Makes the strategy of the chief.

    Args:
        cluster: Of which this process is the chief.
        seconds: To wait at most for the others.

    Raises:
        ValueError: The cluster lacks a job, or a worker has several devices.
        WorkerLostError: Some do not answer; they are named.
    """
    _check(cluster)
    _wait_for(cluster, seconds)
    # Without it a task that is gone is waited for, and its loss not seen.
    os.environ.setdefault("GRPC_FAIL_FAST", "use_caller")
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver(rpc_layer="grpc")
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    if strategy.num_replicas_in_sync > 1:
        raise errors.UserError(
            f"Each worker shows {strategy.num_replicas_in_sync} GPUs, and an "
            f"asynchronous one takes one: start a worker for each of them, with "
            f"CUDA_VISIBLE_DEVICES."
        )
    return strategy


def serve(cluster: Cluster, seconds: float) -> None:
    """Serves as worker or parameter server until the chief has ended.

    The first signal that asks it to end changes nothing: the chief may need this task
    to save what is learnt. The second one ends the process at once.

    Args:
        cluster: Of which this process is a worker or a parameter server.
        seconds: To wait at most for the chief.

    Raises:
        ValueError: The cluster lacks a job.
        OSError: Another program has the port; it may be free later.
        WorkerLostError: The chief does not come.
    """
    _check(cluster)
    server = _server(cluster)
    _patient()
    chief = cluster.jobs["chief"][0]
    deadline, missed = time.monotonic() + seconds, None
    while missed is None or missed < _GONE:
        time.sleep(_PAUSE_SECONDS)
        if _answers(chief):
            missed = 0
        elif missed is not None:
            missed += 1
        elif time.monotonic() > deadline:
            raise missing_tasks(seconds, [chief])
    del server  # Until here it has to live.


def _check(cluster):
    missing = [job for job in ("chief", *SERVERS) if not cluster.jobs.get(job)]
    if missing:
        raise errors.UserError(
            f"`strategy=parameter_server` needs the jobs chief, worker and ps in "
            f"{VARIABLE}, which lacks {', '.join(missing)}; see docs/distributed.md, "
            f"or let python -m kerasseg.launch start all of them, with parameter "
            f"servers."
        )


def _wait_for(cluster, seconds):
    missing = [address for job in SERVERS for address in cluster.jobs[job]]
    deadline = time.monotonic() + seconds
    while missing := [address for address in missing if not _answers(address)]:
        if time.monotonic() > deadline:
            raise missing_tasks(seconds, missing)
        time.sleep(_PAUSE_SECONDS)


def _answers(address):
    try:
        connection(address).close()
    except OSError:
        return False
    return True


def _server(cluster):
    config = tf.compat.v1.ConfigProto()
    # Each other task may hold a thread; with as few as cores they wait without end.
    config.inter_op_parallelism_threads = max(
        os.cpu_count() or 1, len(cluster.jobs["worker"]) + 1
    )
    jobs = {job: list(cluster.jobs[job]) for job in ("chief", *SERVERS)}
    try:
        return tf.distribute.Server(
            tf.train.ClusterSpec(jobs),
            job_name=cluster.job,
            task_index=cluster.index,
            protocol="grpc",
            config=config,
        )
    except tf.errors.OpError as error:
        raise OSError(
            errno.EADDRINUSE,
            f"{VARIABLE} gives this {cluster.job} {cluster.address}, where it cannot "
            f"listen: {error.message} End the program that has the port, or give "
            f"another one on all machines.",
        ) from error


def _patient():
    received = Received()

    def receive(number, _):
        if received.insists(number):
            os._exit(128 + number)
        with contextlib.suppress(OSError):  # The terminal may be gone.
            print("Serving until the chief has ended; a second signal ends it now.")

    for number in asked_by():
        signal.signal(number, receive)
