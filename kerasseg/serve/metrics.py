"""What the server tells Prometheus."""

import prometheus_client


class Metrics:
    """Counts what happens, in a registry of its own.

    Args:
        admission: An `admission.Admission`; how many are inside is asked when needed.
    """

    def __init__(self, admission):
        self._registry = prometheus_client.CollectorRegistry()
        self._requests = prometheus_client.Counter(
            "kerasseg_requests",
            "Requests answered; status 499: the client hung up before.",
            ["route", "status"],
            registry=self._registry,
        )
        self._seconds = prometheus_client.Histogram(
            "kerasseg_request_seconds",
            "Time from the head of a request to its answer.",
            ["route"],
            registry=self._registry,
        )
        self._batches = prometheus_client.Histogram(
            "kerasseg_batch_pictures",
            "Pictures that the network computed at once.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self._registry,
        )
        self._version = prometheus_client.Gauge(
            "kerasseg_version", "Version that answers.", registry=self._registry
        )
        inside = prometheus_client.Gauge(
            "kerasseg_requests_inside",
            "Requests being worked on.",
            registry=self._registry,
        )
        inside.set_function(lambda: admission.num_inside)

    def count(self, route: str, status: int, seconds: float) -> None:
        """Counts a request; `route` is one of a few, never what the client sent."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_batch(self, num_pictures: int) -> None:
        """Counts a call of the network."""
        self._batches.observe(num_pictures)

    def text(self, version: int) -> tuple[bytes, str]:
        """Returns what Prometheus reads, and its content type.

        Args:
            version: That answers; 0 for none.
        """
        self._version.set(version)
        content_type = prometheus_client.CONTENT_TYPE_LATEST
        return prometheus_client.generate_latest(self._registry), content_type
