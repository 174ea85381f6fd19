"""Whether a step is compiled by XLA: on a GPU where it is measured to help."""

import logging
import time

import tensorflow as tf

from kerasseg import errors
from kerasseg.system import progress

_SETTLING = 3  # Steps of each way that are not timed: tracing, compiling, choosing.
_TIMED = 10  # Steps of each way that are.
_WORTH = 0.95  # Of the plain time, that the compiled one must stay below.


def trial(run):
    """Returns what is called as the step of a run.

    Args:
        run: `run.Run`, with its step function.

    Raises:
        ValueError: The recipe wants XLA and there are several devices, whose sums it
            cannot compile.
    """
    wanted, alone = run.recipe.jit_compile, run.strategy.num_replicas_in_sync == 1
    if wanted == "on" and (not alone or run.team.is_asynchronous):
        raise errors.UserError(
            "`jit_compile=on` compiles the step of one device, and there are several: "
            "leave it out, or give `strategy=one`."
        )
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    if wanted != "auto" or not on_gpu or not alone or run.team.is_asynchronous:
        return run.step_function
    return Trial(run.step_function)


class Trial:
    """Trains plainly for some steps, compiled for some more, then the faster way.

    Every step is one of the run: nothing is done twice, and both ways differ by
    rounding only. What XLA cannot compile goes on plainly.

    Args:
        step: `step.TrainingStep`.
        clock: Returns seconds.
    """

    def __init__(self, step, clock=time.perf_counter):
        self._step, self._clock = step, clock
        self._steps = 0
        self._compiled = False
        self._began = 0.0
        self._plain_seconds: float | None = None
        self._decided = False

    def __call__(self, batch, number, signal=0.0):
        """Runs one step, see `step.TrainingStep`."""
        try:
            result = self._step(batch, number, signal)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if self._decided or not self._compiled:
                raise
            logging.warning("XLA cannot compile this step: %s", error.message[:300])
            self._decide(compiled=False)
            return self._step(batch, number, signal)
        if not self._decided:
            self._measure(result)
        return result

    def _measure(self, result):
        self._steps += 1
        if self._steps == _SETTLING:
            self._began = self._finished(result)
        elif self._steps == _SETTLING + _TIMED:
            seconds = (self._finished(result) - self._began) / _TIMED
            self._next(seconds)

    def _next(self, seconds):
        if self._plain_seconds is None:
            self._plain_seconds, self._steps = seconds, 0
            self._set(compiled=True)
            return
        compiled = seconds < _WORTH * self._plain_seconds
        progress.log(
            f"A step takes {1000 * self._plain_seconds:.0f} ms, and "
            f"{1000 * seconds:.0f} ms compiled by XLA: it goes on "
            f"{'compiled' if compiled else 'plainly'}."
        )
        self._decide(compiled)

    def _decide(self, compiled):
        self._decided = True
        if compiled != self._compiled:
            self._set(compiled)

    def _set(self, compiled):
        self._compiled = compiled
        self._step.rebuild(compiled=compiled)

    def _finished(self, result):
        """Waits for a step, since a GPU runs ahead; returns the time then."""
        float(result[0])
        return self._clock()
