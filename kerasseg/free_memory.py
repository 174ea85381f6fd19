"""How much memory this process may still take."""

import pathlib
import re
import resource

_UNKNOWN = 4 * 2**30  # Where the system does not say.
_LIMITS = (  # Of the group of processes that this one belongs to, and what it uses.
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def available() -> int:
    """Tells how many bytes are left, at least 0: of the machine, container, process."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", _read("/proc/meminfo"))
    free = int(found.group(1)) * 1024 if found else _UNKNOWN
    for limit_path, usage_path in _LIMITS:
        limit, usage = _read(limit_path).strip(), _read(usage_path).strip()
        if limit.isdecimal() and usage.isdecimal():
            free = min(free, int(limit) - int(usage))
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        pages = int(_read("/proc/self/statm").partition(" ")[0] or 0)
        free = min(free, most - pages * resource.getpagesize())
    return max(free, 0)


def _read(path):
    try:
        return pathlib.Path(path).read_text("ascii")
    except OSError:
        return ""
