"""Metrics for Prometheus."""

from collections.abc import Callable, Iterable

import prometheus_client

from kerasseg.serve import process_metrics
from kerasseg.serve.admission import Admission


class Metrics:
    """The server's metrics, in a separate registry.

    Args:
        admission: An `admission.Admission`, which knows the current requests.
    """

    def __init__(self, admission: Admission):
        self._registry = prometheus_client.CollectorRegistry()
        self._requests = prometheus_client.Counter(
            "kerasseg_requests",
            "Finished requests; status 499: the client closed the connection.",
            ["route", "status"],
            registry=self._registry,
        )
        self._seconds = prometheus_client.Histogram(
            "kerasseg_request_seconds",
            "Time from the head of a request to its response.",
            ["route"],
            registry=self._registry,
        )
        self._batches = prometheus_client.Histogram(
            "kerasseg_batch_pictures",
            "Images per batch of the network.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self._registry,
        )
        self._version = prometheus_client.Gauge(
            "kerasseg_version", "Current version of the model.", registry=self._registry
        )
        self._messages = prometheus_client.Counter(
            "kerasseg_decoder_messages",
            "Lines that decoders of images printed, such as warnings of libpng.",
            registry=self._registry,
        )
        self._scan = prometheus_client.Gauge(
            "kerasseg_seconds_since_last_model_scan",
            "Seconds since the last complete check for new versions.",
            registry=self._registry,
        )
        inside = prometheus_client.Gauge(
            "kerasseg_requests_inside",
            "Requests in progress.",
            registry=self._registry,
        )
        inside.set_function(lambda: admission.num_inside)
        prometheus_client.ProcessCollector(registry=self._registry)

    def count(self, route: str, status: int, seconds: float) -> None:
        """Counts a request; `route` is one of a few names, never a client's path."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def watch_scans(self, seconds: Callable[[], float]) -> None:
        """Reports the result of a function as the seconds since the last scan."""
        self._scan.set_function(seconds)

    def watch_decoders(self, pids: Callable[[], Iterable[int]]) -> None:
        """Reports memory and CPU time of the processes whose ids a function returns."""
        self._registry.register(process_metrics.Decoders(pids))

    def watch_log(self, num_dropped: Callable[[], int]) -> None:
        """Reports the result of a function as the number of dropped lines."""
        self._registry.register(process_metrics.DroppedLines(num_dropped))

    def count_batch(self, num_images: int) -> None:
        """Counts a batch of the network."""
        self._batches.observe(num_images)

    def count_messages(self, output: bytes) -> None:
        """Counts the lines of a decoder's output."""
        self._messages.inc(output.count(b"\n"))

    def text(self, version: int) -> tuple[bytes, str]:
        """Returns the metrics in Prometheus' format, and their content type.

        Args:
            version: Current version of the model; 0 for none.
        """
        self._version.set(version)
        content_type = prometheus_client.CONTENT_TYPE_LATEST
        return prometheus_client.generate_latest(self._registry), content_type
