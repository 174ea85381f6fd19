"""The workers of a run: who writes, and what happens when one is lost."""

import contextlib
import re
import time

import tensorflow as tf
from tensorflow.python.eager import context

from kerasseg.distribution.cluster import WorkerLostError

_SPREADING_SECONDS = 2.0  # For an error to reach the others before its process ends.


class Team:
    """The workers that train together.

    Args:
        strategy: `tf.distribute.Strategy`.

    Attributes:
        size: How many they are.
        index: Number of this one.
        is_chief: Whether this is the one that writes.
        local_replicas: Devices of this one.
    """

    def __init__(self, strategy):
        self._strategy = strategy
        resolver = strategy.cluster_resolver
        jobs = resolver.cluster_spec().as_dict() if resolver else {}
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
            raise ValueError(
                f"The {name} is {number} for worker {self.index}, and another one for "
                f"others: --workdir must be the same folder on all machines."
            )

    def report(self, error) -> None:
        """Tells the other workers why this one ends."""
        if self.size == 1:
            return
        text = f"worker {self.index}: {type(error).__name__}: {error}"
        with contextlib.suppress(tf.errors.OpError):  # Another was first.
            context.context().report_error_to_cluster(tf.errors.ABORTED, text)
        time.sleep(_SPREADING_SECONDS)

    def lost(self, error) -> WorkerLostError:
        """Describes the error of a step that failed because of another worker."""
        reason = re.search(
            r"aborted by: (.*?)(?:\nThe error could be|$)", str(error), re.S
        )
        lines = (reason[1] if reason else str(error)).strip().splitlines()
        return WorkerLostError(
            f"Worker {self.index} of {self.size} cannot go on without the others: "
            f"{' '.join(lines)[:600]}. The last checkpoint is whole: start all workers "
            f"again with the same flags, or let python -m kerasseg.launch do so."
        )


def _sum(number):
    number = tf.identity(number)  # On the replica's device.
    return tf.distribute.get_replica_context().all_reduce("sum", number)
