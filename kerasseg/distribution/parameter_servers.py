"""Asynchronous training: workers compute, parameter servers hold the weights.

The task "chief" runs the program: it reads the images, sends each batch to a free
worker, and writes the workdir. Workers and parameter servers only serve it.
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
    connect_to,
    tasks_missing_error,
)
from kerasseg.system.signals import ReceivedSignals, termination_signals

SERVERS = ("worker", "ps")  # Jobs of the processes that only serve.
_PAUSE_SECONDS = 0.5
_MAX_FAILURES = 4  # Failed connections in a row after which the chief has ended.


def connect(cluster: Cluster, seconds: float) -> tf.distribute.Strategy:
    """Waits for the other tasks and creates the strategy of the chief.

    Args:
        cluster: The cluster, with this process as its chief.
        seconds: Timeout of the wait.

    Raises:
        errors.UserError: The cluster lacks a job, or a worker has several devices.
        WorkerLostError: Some tasks do not answer; the message names them.
    """
    _check_jobs(cluster)
    _wait_for_servers(cluster, seconds)
    # Without it TensorFlow waits for a lost task and does not report it.
    os.environ.setdefault("GRPC_FAIL_FAST", "use_caller")
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver(rpc_layer="grpc")
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    if strategy.num_replicas_in_sync > 1:
        raise errors.UserError(
            f"Each worker has {strategy.num_replicas_in_sync} GPUs, and an "
            f"asynchronous worker uses one. Start a worker for each GPU, with "
            f"CUDA_VISIBLE_DEVICES."
        )
    return strategy


def serve(cluster: Cluster, seconds: float) -> None:
    """Serves as a worker or parameter server until the chief has ended.

    The first signal that asks this process to end is ignored: the chief may need it to
    save its state. A second one ends the process at once.

    Args:
        cluster: The cluster, with this process as a worker or a parameter server.
        seconds: Timeout of the wait for the chief.

    Raises:
        errors.UserError: The cluster lacks a job.
        OSError: Another program uses the port; it may be free later.
        WorkerLostError: The chief does not start.
    """
    _check_jobs(cluster)
    server = _start_server(cluster)
    _ignore_first_signal()
    chief = cluster.jobs["chief"][0]
    deadline = time.monotonic() + seconds
    failures: int | None = None  # In a row; None before the chief has started.
    while failures is None or failures < _MAX_FAILURES:
        time.sleep(_PAUSE_SECONDS)
        if _answers(chief):
            failures = 0
        elif failures is not None:
            failures += 1
        elif time.monotonic() > deadline:
            raise tasks_missing_error(seconds, [chief])
    del server  # It must not be collected before.


def _check_jobs(cluster):
    missing = [job for job in ("chief", *SERVERS) if not cluster.jobs.get(job)]
    if missing:
        raise errors.UserError(
            f"`strategy=parameter_server` needs the jobs chief, worker and ps in "
            f"{VARIABLE}, which lacks {', '.join(missing)}. See docs/distributed.md, "
            f"or let python -m kerasseg.launch start all tasks, with parameter servers."
        )


def _wait_for_servers(cluster, seconds):
    missing = [address for job in SERVERS for address in cluster.jobs[job]]
    deadline = time.monotonic() + seconds
    while missing := [address for address in missing if not _answers(address)]:
        if time.monotonic() > deadline:
            raise tasks_missing_error(seconds, missing)
        time.sleep(_PAUSE_SECONDS)


def _answers(address):
    try:
        connect_to(address).close()
    except OSError:
        return False
    return True


def _start_server(cluster):
    config = tf.compat.v1.ConfigProto()
    # Each other task may block a thread: with one per core they deadlock.
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
            f"{VARIABLE} assigns {cluster.address} to this {cluster.job}, which cannot "
            f"listen there: {error.message} End the program that uses the port, or "
            f"choose another port on all machines.",
        ) from error


def _ignore_first_signal():
    received = ReceivedSignals()

    def receive(number, _):
        if received.add(number):
            os._exit(128 + number)
        with contextlib.suppress(OSError):  # The terminal may be closed.
            print("Serving until the chief has ended. A second signal ends this task.")

    for number in termination_signals():
        signal.signal(number, receive)
