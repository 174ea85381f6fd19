"""Limits of a worker process that reads untrusted files.

Both hold in compiled code too, which Python cannot interrupt.
"""

import contextlib
import pathlib
import resource
import signal
from collections.abc import Iterator

_STATM = pathlib.Path("/proc/self/statm")  # Linux: its first number is mapped pages.


def limit_memory(num_bytes: int) -> None:
    """Limits the memory beyond what the process has mapped; more is a MemoryError.

    A lower limit that is set already stays. Does nothing where the system does not
    report the mapped memory.
    """
    if not _STATM.exists():
        return
    limit = int(_STATM.read_text().split()[0]) * resource.getpagesize() + num_bytes
    present, most = resource.getrlimit(resource.RLIMIT_AS)
    if present == resource.RLIM_INFINITY or limit < present:
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))


@contextlib.contextmanager
def limit_seconds(seconds: float) -> Iterator[None]:
    """Kills the process, with SIGPROF, if a block takes more processor time.

    Waiting for a disk takes none. With several threads, the time of all counts.
    """
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
