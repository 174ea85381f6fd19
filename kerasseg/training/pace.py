"""How much of a step is spent waiting for its batch."""

import contextlib
import time

_MEMORY = 0.9  # Of the mean, from one step to the next.


class Pace:
    """Measures steps, each from the end of the one before."""

    def __init__(self):
        self._began = time.perf_counter()
        self._waited = 0.0
        self._share: float | None = None

    @contextlib.contextmanager
    def waiting(self):
        """Measures a block that waits for pictures."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - began

    def step(self) -> str:
        """Ends a step; says which share of the last ten or so went into waiting."""
        now = time.perf_counter()
        share = self._waited / max(now - self._began, 1e-9)
        before = share if self._share is None else self._share
        self._share = _MEMORY * before + (1 - _MEMORY) * share
        self._began, self._waited = now, 0.0
        return f"input {self._share:.0%}"
