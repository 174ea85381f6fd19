"""The workers of a run: which one writes files, and what happens when one is lost."""

import contextlib
import re
import time

import tensorflow as tf
from tensorflow.python.eager import context

from kerasseg import errors
from kerasseg.distribution.cluster import WorkerLostError, from_environment

_CHIEF_DEVICE = "/job:chief/task:0/device:CPU:0"
_REPORT_SECONDS = 2.0  # Until an error has reached the other workers.


class WorkerGroup:
    """The workers of a run, each a process with its own devices.

    Args:
        strategy: The strategy of the run.

    Attributes:
        size: Number of workers.
        index: Index of this worker.
        is_chief: Whether this worker writes the files of the run.
        local_replicas: Number of devices of this worker.
        is_asynchronous: Whether this process is the chief of parameter servers: it
            sends batches to workers that do not wait for each other. `size` is then 1.
        num_served: Number of these workers, else 0.
        io_device: CPU of this process if parameter servers hold the variables, else
            None.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy
        self.is_asynchronous = isinstance(
            strategy, tf.distribute.ParameterServerStrategy
        )
        self.io_device = _CHIEF_DEVICE if self.is_asynchronous else None
        cluster = from_environment() if self.is_asynchronous else None
        self.num_served = len(cluster.jobs["worker"]) if cluster else 0
        resolver = strategy.cluster_resolver
        alone = self.is_asynchronous or not resolver
        jobs = {} if alone else resolver.cluster_spec().as_dict()
        chiefs, workers = len(jobs.get("chief", ())), len(jobs.get("worker", ()))
        self.size = max(chiefs + workers, 1)
        self.index = 0
        if self.size > 1:
            self.index = resolver.task_id
            if resolver.task_type == "worker":
                self.index += chiefs
        self.is_chief = self.index == 0
        self.local_replicas = strategy.num_replicas_in_sync // self.size

        @tf.function
        def total(number):
            return strategy.run(_sum, (number,))

        self._total = total

    def sum(self, number: int) -> tf.Tensor:
        """Sums a number over the replicas of all workers; returns an int64 scalar.

        A collective operation: all workers must call it equally often, in the same
        order.
        """
        replicas = self._total(tf.constant(number, tf.int64))
        return self._strategy.experimental_local_results(replicas)[0]

    def local_values(self, value: tf.Tensor) -> tuple:
        """Returns a per-replica value as a tuple of this worker's replicas."""
        return self._strategy.experimental_local_results(value)

    def check_agreed(self, number: int, name: str) -> None:
        """Raises `errors.UserError` if a number is not the same on all workers."""
        if self.size == 1:
            return
        if int(self.sum(number)) != number * self._strategy.num_replicas_in_sync:
            raise errors.UserError(
                f"The {name} is {number} on worker {self.index} and differs on another "
                f"worker. Give the same folder as `workdir` on all machines."
            )

    def report(self, error: Exception) -> None:
        """Reports an error of this worker to the others, which then end."""
        if self.size == 1:
            return
        text = f"worker {self.index}: {type(error).__name__}: {error}"
        with contextlib.suppress(tf.errors.OpError):  # Another worker reported first.
            context.context().report_error_to_cluster(tf.errors.ABORTED, text)
        time.sleep(_REPORT_SECONDS)

    def lost(self, error: tf.errors.OpError) -> WorkerLostError | None:
        """Returns the error to raise if another task was lost, else None."""
        if self.is_asynchronous:
            return _lost_server(error)
        if self.size == 1:
            return None
        reason = re.search(
            r"aborted by: (.*?)(?:\nThe error could be|$)", str(error), re.S
        )
        lines = (reason[1] if reason else str(error)).strip().splitlines()
        return WorkerLostError(
            f"Worker {self.index} of {self.size} cannot continue without the others: "
            f"{' '.join(lines)[:600]}. The last checkpoint is whole. Start all workers "
            f"again with the same flags, or let python -m kerasseg.launch do so."
        )


def _lost_server(error):
    """Returns the error for a lost parameter server; a lost worker is replaced."""
    kinds = tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError
    if not isinstance(error, kinds):
        return None
    task = re.search(r"/job:ps/replica:0/task:(\d+)", str(error))
    name = f"Parameter server {task[1]}" if task else "A parameter server"
    return WorkerLostError(
        f"{name} is lost, and its part of the weights with it: "
        f"{str(error).strip().splitlines()[0][:300]}. The last checkpoint is whole. "
        f"Start all tasks again with the same flags, or let python -m kerasseg.launch "
        f"do so."
    )


def _sum(number):
    number = tf.identity(number)  # On the replica's device.
    return tf.distribute.get_replica_context().all_reduce("sum", number)
