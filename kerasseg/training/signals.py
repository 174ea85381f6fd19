"""Signals that ask to end: the first is remembered, the second leaves at once."""

import os
import signal
import threading

import tensorflow as tf

from kerasseg.system.signals import Received, asked_by


class Interrupted(Exception):  # noqa: N818 - not an error.
    """A signal ended the run; a checkpoint of its last step was written.

    Attributes:
        status: Exit status, 128 and the signal's number.
    """

    def __init__(self, number, step):
        super().__init__(f"Stopped by a signal after step {step}; its state is saved.")
        self.status = 128 + number


class Signals:
    """Listens between `with` and its end, in the main thread only.

    Where several workers train, all of them stop after the same step: each sends what
    it received along with a step, and hears what all of them sent.

    Args:
        alone: Whether there is one worker.
    """

    def __init__(self, *, alone: bool):
        self.alone = alone
        self._received = Received()
        self._heard = False
        self._handlers: dict = {}

    @property
    def stop(self) -> bool:
        """Whether to stop now."""
        return self._heard or (self.alone and self._received.number is not None)

    @property
    def number(self) -> int:
        """Number of the signal; SIGTERM where another worker received it."""
        return self._received.number or signal.SIGTERM

    def sent(self) -> tf.Tensor:
        """Returns what a step is to carry to the other workers."""
        return tf.constant(0.0 if self._received.number is None else 1.0)

    def hear(self, total: float) -> None:
        """Takes the sum of what all workers sent with a step."""
        self._heard = self._heard or (total > 0 and not self.alone)

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in asked_by():
                self._handlers[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _receive(self, number, _):
        if self._received.insists(number):
            os._exit(128 + number)
