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
        strategy: `tf.distribute.Strategy`.

    Attributes:
        size: How many they are.
        index: Number of this one.
        is_chief: Whether this is the one that writes.
        local_replicas: Devices of this one.
        is_asynchronous: Whether this one, alone, hands batches to workers that do not
            wait for each other.
        served_by: How many workers that are, 0 where there are none.
        io_device: This one's own, where other machines hold the variables; else None.
    """

    def __init__(self, strategy):
        self._strategy = strategy
        self.is_asynchronous = isinstance(
            strategy, tf.distribute.ParameterServerStrategy
        )
        self.io_device = _CHIEF_DEVICE if self.is_asynchronous else None
        cluster = from_environment() if self.is_asynchronous else None
        self.served_by = len(cluster.jobs["worker"]) if cluster else 0
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

    def check_agreed(self, number: int, name: str) -> None:
        """Raises `ValueError` where workers hold different numbers of something."""
        if self.size == 1:
            return

        @tf.function
        def total():
            return self._strategy.run(_sum, (tf.constant(number, tf.int64),))

        found = self._strategy.experimental_local_results(total())[0].numpy()
        if found != number * self._strategy.num_replicas_in_sync:
            raise errors.UserError(
                f"The {name} is {number} for worker {self.index}, and another one for "
                f"others: `workdir` must be the same folder on all machines."
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
