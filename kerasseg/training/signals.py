"""Signals that stop a run: it saves after the first, and ends at once on a second."""

import os
import signal
import threading

import tensorflow as tf

from kerasseg.distribution import WorkerGroup
from kerasseg.system.signals import ReceivedSignals, termination_signals


class Interrupted(Exception):  # noqa: N818 - not an error.
    """A signal stopped the run; a checkpoint of its last step was written.

    Attributes:
        status: Exit status, 128 and the signal's number.
    """

    def __init__(self, number: int, step: int):
        super().__init__(f"Stopped by a signal after step {step}; its state is saved.")
        self.status = 128 + number


class Signals:
    """Context manager that handles signals, in the main thread only.

    Several workers stop after the same step: after each step they sum up how many of
    them received a signal.

    Args:
        group: The workers of the run.
    """

    def __init__(self, group: WorkerGroup):
        self._group = group
        self._received = ReceivedSignals()
        self._agreed = False
        self._handlers: dict = {}

    @property
    def stop(self) -> bool:
        """Whether to stop now."""
        alone = self._group.size == 1
        return self._agreed or (alone and self._received.first is not None)

    @property
    def number(self) -> int:
        """Number of the signal; SIGTERM if another worker received it."""
        return self._received.first or signal.SIGTERM

    def exchange(self) -> tf.Tensor | None:
        """Returns how many workers received a signal; None if there is one worker.

        Every worker calls it once after each step.
        """
        if self._group.size == 1:
            return None
        return self._group.sum(0 if self._received.first is None else 1)

    def agree(self, total: tf.Tensor | None) -> None:
        """Stops the run if a worker had received a signal; see `exchange`."""
        if total is not None and int(total) > 0:
            self._agreed = True

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in termination_signals():
                self._handlers[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _receive(self, number, _):
        if self._received.add(number):
            os._exit(128 + number)
