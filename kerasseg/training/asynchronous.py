"""Training steps of workers that do not wait for each other.

As in the appendix of DeepLab v3 (https://arxiv.org/abs/1706.05587): each replica reads
the weights, computes the gradient of one batch and applies it, while others do the
same. Replicas start one after the other, so that few take the first, largest steps.
"""

import tensorflow as tf

from kerasseg.training.state import TrainState
from kerasseg.training.step import StepFunction, StepResult

_STEPS_PER_WORKER = 2  # Scheduled at once: one is computed, one waits.


class AsynchronousStep:
    """Sends each batch to a free worker.

    If a worker is lost, another one gets its batch. So each batch is used, and a batch
    is used twice if its worker is lost after the update and before its result arrives.

    Args:
        strategy: A parameter server strategy.
        step_function: The step, created in its scope.
        state: The training state.
        workers: Number of workers.
        startup_delay_steps: Steps between the starts of two workers.
    """

    def __init__(
        self,
        strategy: tf.distribute.ParameterServerStrategy,
        step_function: StepFunction,
        state: TrainState,
        workers: int,
        startup_delay_steps: int,
    ):
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
        self._step_function, self._state = step_function, state
        self._workers = workers
        self._startup_delay_steps = startup_delay_steps
        self._taken = 0

    def __call__(
        self, batch: dict, step: int, rate: float
    ) -> tf.distribute.coordinator.RemoteValue:
        """Schedules a step.

        Args:
            batch: See `step.train_step`.
            step: Number of updates so far.
            rate: Learning rate of this step; steps computed meanwhile have others.

        Returns:
            The result, for `fetch`.
        """
        self._taken += 1
        arguments = batch, tf.constant(step, tf.int64), tf.constant(rate, tf.float32)
        with self._step_function.plain_refusals():  # The first call traces the step.
            return self._coordinator.schedule(self._take, args=arguments)

    @tf.function(reduce_retracing=True)
    def _take(self, batch, step, rate):
        self._state.optimizer.set_learning_rate(rate)
        return self._step_function(batch, step)

    def num_ahead(self) -> int:
        """Returns how many results may be pending before the next step is scheduled."""
        return max_scheduled(self._taken, self._workers, self._startup_delay_steps) - 1


def max_scheduled(taken: int, workers: int, startup_delay_steps: int) -> int:
    """Returns how many steps may be scheduled at once.

    Args:
        taken: Number of steps since the start of the program.
        workers: Number of workers.
        startup_delay_steps: Steps between the starts of two workers; 0 starts all at
            once.
    """
    started = 1 + taken // startup_delay_steps if startup_delay_steps else workers
    return started if started < workers else _STEPS_PER_WORKER * workers


def fetch(
    result: StepResult | tf.distribute.coordinator.RemoteValue,
) -> StepResult | None:
    """Waits for the result of a step, computed here or on a worker.

    Returns:
        The result as Python numbers; None if its worker was lost after the update.
    """
    if not isinstance(result, tf.distribute.coordinator.RemoteValue):
        return tf.nest.map_structure(lambda value: value.numpy().item(), result)
    try:
        return tf.nest.map_structure(lambda value: value.item(), result.fetch())
    except tf.errors.OpError as error:
        if "/job:ps" in str(error) or "/job:worker" not in str(error):
            raise
        return None
