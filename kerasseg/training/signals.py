"""Ctrl-C and SIGTERM: the first is remembered, the second leaves at once."""

import os
import signal
import threading


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

    Attributes:
        received: Number of the signal that came, or None.
    """

    def __init__(self):
        self.received: int | None = None
        self._handlers = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _receive(self, number, _):
        if self.received is not None:
            os._exit(128 + number)
        self.received = number
