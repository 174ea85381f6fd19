"""The memory that is available to this process."""

import pathlib
import re
import resource

_UNKNOWN = 4 * 2**30  # If the system does not report it.
# Files of the control group: limit, usage, and the statistic of inactive cached files,
# which are part of the usage but are freed when memory is needed.
_CONTROL_GROUPS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)


def available() -> int:
    """Returns the available memory in bytes, at least 0.

    The machine, the container and the process may each limit it.
    """
    match = re.search(r"MemAvailable:\s+(\d+) kB", _read("/proc/meminfo"))
    free = int(match.group(1)) * 1024 if match else _UNKNOWN
    for *names, files in _CONTROL_GROUPS:
        most, usage, stat = (_read(f"/sys/fs/cgroup/{name}").strip() for name in names)
        if most.isdecimal() and usage.isdecimal():
            cached = re.search(rf"^{files} (\d+)$", stat, re.MULTILINE)
            used = int(usage) - int(cached.group(1) if cached else 0)
            free = min(free, int(most) - used)
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        pages = int(_read("/proc/self/statm").partition(" ")[0] or 0)
        free = min(free, limit - pages * resource.getpagesize())
    return max(free, 0)


def _read(path):
    try:
        return pathlib.Path(path).read_text("ascii")
    except OSError:
        return ""
