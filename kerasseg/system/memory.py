"""How much memory this process may still take."""

import pathlib
import re
import resource

_UNKNOWN = 4 * 2**30  # Where the system does not say.
# Of the group of processes that this one belongs to: its limit, what it uses, and what
# of that are files that were read, which make room for what is needed.
_LIMITS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)


def available() -> int:
    """Tells how many bytes are left, at least 0: of the machine, container, process."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", _read("/proc/meminfo"))
    free = int(found.group(1)) * 1024 if found else _UNKNOWN
    for *names, files in _LIMITS:
        limit, usage, stat = (_read(f"/sys/fs/cgroup/{name}").strip() for name in names)
        if limit.isdecimal() and usage.isdecimal():
            cached = re.search(rf"^{files} (\d+)$", stat, re.MULTILINE)
            used = int(usage) - int(cached.group(1) if cached else 0)
            free = min(free, int(limit) - used)
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
