"""What the dense CRF may take: memory by an estimate, time by counting iterations."""

import pathlib
import re

_LIMITS = (  # Of the group of processes that this one belongs to, and what it uses.
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)
# A pixel's bytes, and those of each of its chances, on noise, where each pixel has
# corners of the lattice of its own; of real pictures it is less. Measured were, of 2,
# 5, 10, 21 and 42 classes, 559, 743, 1309, 2198 and 3755 by pydensecrf, and of 1, 2, 5,
# 11, 21 and 42 classes 1049, 1141, 1430, 2031, 2975 and 5442 by Keras on TensorFlow.
_BYTES = {"pydensecrf": (500, 82), "keras": (1000, 110)}


def check_memory(height, width, num_classes, max_gigabytes, *, engine) -> None:
    """Raises `ValueError` where a picture needs more memory than there is.

    Args:
        height: In pixels.
        width: In pixels.
        num_classes: How many are likely.
        max_gigabytes: What may be taken; None for what is free.
        engine: Its name.
    """
    of_pixel, of_chance = _BYTES[engine]
    needed = height * width * (of_pixel + num_classes * of_chance) / 1e9
    room, given = available() / 1e9, max_gigabytes
    if needed <= (room if given is None else given):
        return
    limit = f"{room:.3g} GB are free" if given is None else f"{given:g} are allowed"
    raise ValueError(
        f"A dense CRF of {height} x {width} pixels and {num_classes} likely classes "
        f"can take {needed:.3g} GB of memory, {limit}. Refine it smaller or in parts, "
        "or give a larger max_gigabytes."
    )


def available() -> int:
    """Tells how many bytes of memory this process may still take, at least 0."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", _read("/proc/meminfo"))
    free = int(found.group(1)) * 1024 if found else 4 * 2**30
    for limit_path, usage_path in _LIMITS:
        limit, usage = _read(limit_path).strip(), _read(usage_path).strip()
        if limit.isdecimal() and usage.isdecimal():
            free = min(free, int(limit) - int(usage))
    return max(free, 0)


def _read(path):
    try:
        return pathlib.Path(path).read_text("ascii")
    except OSError:
        return ""
