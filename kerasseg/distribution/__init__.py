"""Devices and machines of a run, and the processes of `kerasseg.launch`."""

from kerasseg.system import lazy

__all__ = [
    "Cluster",
    "WorkerGroup",
    "WorkerLostError",
    "read_cluster",
    "serve_if_assigned",
    "strategy",
]

__getattr__ = lazy.attributes(
    __name__,
    {
        "cluster": "Cluster WorkerLostError read_cluster",
        "choice": "serve_if_assigned strategy",
        "worker_group": "WorkerGroup",
    },
)
