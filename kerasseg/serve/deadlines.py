"""Calls with a time limit, of functions that a hung disk can block forever."""

import threading
from collections.abc import Callable, Hashable


class Deadlines:
    """Calls functions in threads, and abandons those that take too long.

    Python cannot interrupt a blocked thread: it stays until its function returns.
    """

    def __init__(self):
        self._abandoned: dict[Hashable, threading.Thread] = {}

    def call(self, key: Hashable, function: Callable, seconds: float):
        """Calls a function without arguments and returns its result.

        Args:
            key: Identifies what may block. It is not called again while an earlier call
                is blocked.
            function: The function. Its result is dropped after the time limit.
            seconds: Time limit.

        Raises:
            TimeoutError: The call takes longer, or an earlier one is still blocked.
            Exception: The function raised it.
        """
        if key in self._abandoned and self._abandoned[key].is_alive():
            raise TimeoutError("An earlier attempt is still blocked, as by a hung disk")
        self._abandoned.pop(key, None)
        results: list = []
        thread = threading.Thread(
            target=_run, args=(function, results), name="versions", daemon=True
        )
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            self._abandoned[key] = thread
            raise TimeoutError(f"It took more than {seconds:g} seconds")
        succeeded, value = results.pop()
        if not succeeded:
            raise value
        return value


def _run(function, results):
    try:
        results.append((True, function()))
    except BaseException as error:
        results.append((False, error))
