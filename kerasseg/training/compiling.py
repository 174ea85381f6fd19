"""Whether XLA compiles the step: on a GPU if that is measured to be faster."""

import logging
import time
from collections.abc import Callable

import tensorflow as tf

from kerasseg import errors
from kerasseg.distribution import WorkerGroup
from kerasseg.system import progress, runtime
from kerasseg.training.step import StepFunction, StepResult

_WARM_UP = 3  # Steps of each way that are not timed: tracing, compiling, autotuning.
_TIMED = 10  # Steps of each way that are timed.
_MAX_RATIO = 0.95  # Of compiled to plain time, for the compiled step to be used.


def choose(
    step_function: StepFunction, jit_compile: str, group: WorkerGroup
) -> Callable:
    """Returns the function that takes the steps of a run.

    Args:
        step_function: The step.
        jit_compile: "auto", "on" or "off", see `Recipe`.
        group: The workers of the run.

    Raises:
        errors.UserError: XLA is demanded and there are several devices, whose
            all-reduce it cannot compile.
    """
    single = group.size * group.local_replicas == 1 and not group.is_asynchronous
    if jit_compile == "on" and not single:
        raise errors.UserError(
            "`jit_compile=on` compiles the step of one device, and there are several. "
            "Leave it out, or give `strategy=one`."
        )
    if jit_compile != "auto" or not single or not runtime.has_gpu():
        return step_function
    return Trial(step_function)


class Trial:
    """Takes some steps plainly, some compiled, and all others the faster way.

    Every step is a step of the run: nothing is done twice, and both ways differ by
    rounding only. A step that XLA cannot compile is taken plainly.

    Args:
        step_function: The step.
        clock: Returns seconds.
    """

    def __init__(
        self,
        step_function: StepFunction,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self._step_function, self._clock = step_function, clock
        self._steps = 0
        self._compiled = False
        self._start = 0.0
        self._plain_seconds: float | None = None
        self._decided = False

    def __call__(self, batch: dict, step: tf.Tensor) -> StepResult:
        """Takes one step, see `step.train_step`."""
        try:
            result = self._step_function(batch, step)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if self._decided or not self._compiled:
                raise
            logging.warning("XLA cannot compile this step: %s", error.message[:300])
            self._decide(compiled=False)
            return self._step_function(batch, step)
        if not self._decided:
            self._measure(result)
        return result

    def _measure(self, result):
        self._steps += 1
        if self._steps == _WARM_UP:
            self._start = self._finished(result)
        elif self._steps == _WARM_UP + _TIMED:
            seconds = (self._finished(result) - self._start) / _TIMED
            self._next(seconds)

    def _next(self, seconds):
        if self._plain_seconds is None:
            self._plain_seconds, self._steps = seconds, 0
            self._set(compiled=True)
            return
        compiled = seconds < _MAX_RATIO * self._plain_seconds
        progress.log(
            f"A step takes {1000 * self._plain_seconds:.0f} ms, and "
            f"{1000 * seconds:.0f} ms compiled by XLA: it is used "
            f"{'compiled' if compiled else 'plainly'}."
        )
        self._decide(compiled)

    def _decide(self, compiled):
        self._decided = True
        if compiled != self._compiled:
            self._set(compiled)

    def _set(self, compiled):
        self._compiled = compiled
        self._step_function.rebuild(compiled=compiled)

    def _finished(self, result):
        """Waits for a step, since a GPU runs ahead, and returns the time."""
        float(result[0])
        return self._clock()
