"""Steps that workers take at their own pace, on the weights as they find them.

As the appendix of DeepLab v3 has it (https://arxiv.org/abs/1706.05587): each replica
reads the weights, finds the gradient of its own batch and adds it, while others did the
same. Replicas start one after the other, so that the first steps, which are the
largest, are taken by few.
"""

import tensorflow as tf

_AHEAD = 2  # Batches that wait or are worked on, for each worker.


class AsynchronousStep:
    """Hands each batch to a worker that is free.

    Where a worker is lost its batch goes to another one, so every batch counts; one
    may count twice, when its worker is lost between update and answer.

    Args:
        strategy: `tf.distribute.ParameterServerStrategy`.
        step: `step.TrainingStep`.
        optimizer: `optimizers.GroupedOptimizer` of the step.
        workers: How many there are.
        startup_delay_steps: Steps from the start of one worker to that of the next.
    """

    def __init__(self, strategy, step, optimizer, workers, startup_delay_steps):
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
        self._step, self._optimizer = step, optimizer
        self._workers = workers
        self._startup_delay_steps = startup_delay_steps
        self._taken = 0

    def __call__(self, batch, number, signal, rate):
        """Schedules a step at a learning rate; returns what `fetch` takes.

        See `step.TrainingStep` for the others.
        """
        self._taken += 1
        arguments = batch, number, signal, tf.constant(rate, tf.float32)
        return self._coordinator.schedule(self._take, args=arguments)

    @tf.function(reduce_retracing=True)
    def _take(self, batch, number, signal, rate):
        self._optimizer.set_learning_rate(rate)
        return self._step(batch, number, signal)

    @property
    def unfinished(self) -> int:
        """How many steps may be under way before the next is scheduled."""
        return in_flight(self._taken, self._workers, self._startup_delay_steps) - 1


def in_flight(taken, workers, startup_delay_steps) -> int:
    """Tells how many steps may be under way at once.

    Args:
        taken: Steps since the start of the program.
        workers: See `AsynchronousStep`.
        startup_delay_steps: Likewise.
    """
    started = 1 + taken // startup_delay_steps if startup_delay_steps else workers
    return started if started < workers else _AHEAD * workers


def fetch(result) -> list | None:
    """Waits for what a step returned, here or elsewhere.

    Returns:
        Plain numbers; None where the worker that held them was lost after its update.
    """
    if not isinstance(result, tf.distribute.coordinator.RemoteValue):
        return [value.numpy().item() for value in result]
    try:
        return [value.item() for value in result.fetch()]
    except tf.errors.OpError as error:
        if "/job:ps" in str(error) or "/job:worker" not in str(error):
            raise
        return None
