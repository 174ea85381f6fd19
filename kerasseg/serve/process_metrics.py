"""Metrics of the server's processes, and of its log, read when they are requested."""

import resource
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import metrics_core, process_collector, registry

_PREFIX = "kerasseg_decoders_process"
_SUMMED = ("resident_memory_bytes", "open_fds")


class Decoders(registry.Collector):
    """Sums of the standard metrics of processes over those that decode images.

    Their CPU time includes that of processes that have ended, so that it never
    decreases.

    Args:
        pids: Function that returns the ids of the running processes.
    """

    def __init__(self, pids: Callable[[], Iterable[int]]):
        self._pids = pids

    def collect(self) -> Iterator[metrics_core.Metric]:
        """Yields the metrics."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = ended.ru_utime + ended.ru_stime
        sums = dict.fromkeys(_SUMMED, 0.0)
        count = 0
        for pid in self._pids():
            values = _values(pid)
            count += bool(values)
            seconds += values.get("process_cpu_seconds_total", 0.0)
            for name in sums:
                sums[name] += values.get(f"process_{name}", 0.0)
        yield metrics_core.GaugeMetricFamily(
            "kerasseg_decoders", "Processes that decode images, spares included.", count
        )
        yield metrics_core.CounterMetricFamily(
            f"{_PREFIX}_cpu_seconds",
            "CPU time of the processes that decode images, ended ones included.",
            seconds,
        )
        for name, value in sums.items():
            yield metrics_core.GaugeMetricFamily(
                f"{_PREFIX}_{name}",
                f"Sum of process_{name} over the processes that decode images.",
                value,
            )


def _values(pid):
    """Returns the standard metrics of a process by name; none if it has ended."""
    try:
        families = process_collector.ProcessCollector(
            pid=lambda: pid, registry=None
        ).collect()
        return {s.name: s.value for family in families for s in family.samples}
    except (OSError, LookupError, ValueError):  # It is ending.
        return {}


class DroppedLines(registry.Collector):
    """The number of lines that the log has lost.

    Args:
        count: Function that returns it.
    """

    def __init__(self, count: Callable[[], int]):
        self._count = count

    def collect(self) -> Iterator[metrics_core.Metric]:
        """Yields the metric."""
        yield metrics_core.CounterMetricFamily(
            "kerasseg_log_lines_dropped",
            "Lines of the log that could not be written, or would have had to wait.",
            self._count(),
        )
