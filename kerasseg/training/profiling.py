"""A profile of some steps for TensorBoard: where their time goes."""

import contextlib
import logging

import tensorflow as tf

_SKIPPED = 5  # Steps after the start: tracing and filling of buffers.
_PROFILED = 10


class Profile:
    """Profiles some steps of a loop.

    Args:
        folder: That TensorBoard reads; the profile goes to `plugins/profile` there.
        wanted: Whether to profile at all.
    """

    def __init__(self, folder, *, wanted: bool):
        self._folder = folder
        self._steps = 0 if wanted else _SKIPPED + _PROFILED
        self._running = False

    @contextlib.contextmanager
    def step(self, number):
        """Surrounds a step; the profile ends with the last one that it holds."""
        if self._steps == _SKIPPED:
            self._try(tf.profiler.experimental.start, self._folder)
        if self._running:
            with tf.profiler.experimental.Trace("train", step_num=number, _r=1):
                yield
        else:
            yield
        self._steps += 1
        if self._steps == _SKIPPED + _PROFILED:
            self.close()

    def close(self) -> None:
        """Writes a profile that runs; what cannot be written costs a warning."""
        if self._running:
            self._try(tf.profiler.experimental.stop)

    def _try(self, act, *arguments):
        self._running = not self._running
        try:
            act(*arguments)
        except (OSError, tf.errors.OpError) as error:
            self._running = False
            logging.warning(
                "There is no profile in %s, training goes on: %s", self._folder, error
            )
