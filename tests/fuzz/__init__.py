"""Generators of hostile and odd files for every reader, and tests that draw from them.

`make test` draws for about two seconds per reader, `pytest -m slow tests/fuzz` for
$KERASSEG_FUZZ_SECONDS, by default ten minutes.
"""

import os
import time

SECONDS = float(os.environ.get("KERASSEG_FUZZ_SECONDS", "600"))


def repeat(test, seconds=SECONDS):
    """Runs a test that draws examples again and again, with other seeds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        test()
