"""The workers of a run: who writes, and what happens when one is lost."""

import contextlib
import re
import time

import tensorflow as tf
from tensorflow.python.eager import context

from kerasseg import errors
from kerasseg.distribution.cluster import WorkerLostError, from_environment

_CHIEF_DEVICE = "/job:chief/task:0/device:CPU:0"
_SPREADING_SECONDS = 2.0  # For an error to reach the others before its process ends.


class WorkerGroup:
    """The workers that train together.

    Args:
        strategy: The strategy of the run.

    Attributes:
        size: Number of workers.
        index: Index of this worker.
        is_chief: Whether this worker writes the files of the run.
        local_replicas: Number of devices of this worker.
        is_asynchronous: Whether this process, alone, sends batches to workers that do
            not wait for each other.
        num_served: Number of these workers, 0 where there are none.
        io_device: CPU of this process, where other machines hold the variables; None
            elsewhere.
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
        """Sums a number over the replicas of all workers, int64 scalar.

        Every worker calls it, as often and in the same order as the others.
        """
        replicas = self._total(tf.constant(number, tf.int64))
        return self._strategy.experimental_local_results(replicas)[0]

    def local_values(self, value) -> tuple:
        """Returns a per-replica value as a tuple of this worker's replicas."""
        return self._strategy.experimental_local_results(value)

    def check_agreed(self, number: int, name: str) -> None:
        """Raises `errors.UserError` where workers have different values of a number."""
        if self.size == 1:
            return
        if int(self.sum(number)) != number * self._strategy.num_replicas_in_sync:
            raise errors.UserError(
                f"The {name} is {number} on worker {self.index} and differs on another "
                f"one: `workdir` must be the same folder on all machines."
            )

    def report(self, error) -> None:
        """Tells the other workers why this one ends."""
        if self.size == 1:
            return
        text = f"worker {self.index}: {type(error).__name__}: {error}"
        with contextlib.suppress(tf.errors.OpError):  # Another was first.
            context.context().report_error_to_cluster(tf.errors.ABORTED, text)
        time.sleep(_SPREADING_SECONDS)

    def lost(self, error) -> WorkerLostError | None:
        """Describes an error that comes from the loss of another task, else None."""
        if self.is_asynchronous:
            return _lost_server(error)
        if self.size == 1:
            return None
        reason = re.search(
            r"aborted by: (.*?)(?:\nThe error could be|$)", str(error), re.S
        )
        lines = (reason[1] if reason else str(error)).strip().splitlines()
        return WorkerLostError(
            f"Worker {self.index} of {self.size} cannot go on without the others: "
            f"{' '.join(lines)[:600]}. The last checkpoint is whole: start all workers "
            f"again with the same flags, or let python -m kerasseg.launch do so."
        )


def _lost_server(error):
    """Describes the loss of a parameter server; that of a worker is no error."""
    kinds = tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError
    if not isinstance(error, kinds):
        return None
    found = re.search(r"/job:ps/replica:0/task:(\d+)", str(error))
    which = f"Parameter server {found[1]}" if found else "A parameter server"
    return WorkerLostError(
        f"{which} is lost, and with it its part of the weights: "
        f"{str(error).strip().splitlines()[0][:300]}. The last checkpoint is whole: "
        f"start all tasks again with the same flags, or let python -m kerasseg.launch "
        f"do so."
    )


def _sum(number):
    number = tf.identity(number)  # On the replica's device.
    return tf.distribute.get_replica_context().all_reduce("sum", number)
