"""Which devices and machines a run uses."""

import tensorflow as tf

from kerasseg.distribution.cluster import (
    Cluster,
    WorkerLostError,
    from_environment,
    gather,
    read_cluster,
)
from kerasseg.distribution.team import Team

__all__ = [
    "STRATEGIES",
    "Cluster",
    "Team",
    "WorkerLostError",
    "read_cluster",
    "strategy",
]

STRATEGIES = ("auto", "one", "mirrored", "multi_worker")


def strategy(name="auto", *, cluster_timeout=300.0) -> tf.distribute.Strategy:
    """Makes the strategy called `name`; the first that a program asks of TensorFlow.

    Args:
        name: "one", "mirrored" (all GPUs, or all CPU devices where there is none),
            "multi_worker" (the machines of TF_CONFIG, all devices of each), or "auto":
            multi_worker where TF_CONFIG names several workers, mirrored where there are
            several GPUs.
        cluster_timeout: Seconds to wait for the other machines.

    Raises:
        ValueError: Unknown name, or TF_CONFIG is wrong or missing.
        WorkerLostError: Not all machines came; those that are missing are named.
    """
    if name not in STRATEGIES:
        raise ValueError(
            f"No strategy is called '{name}': {', '.join(STRATEGIES)} are known."
        )
    cluster = from_environment()
    if name == "auto" and cluster and len(cluster.workers) > 1:
        name = "multi_worker"
    if name == "multi_worker":
        return _multi_worker(cluster, cluster_timeout)
    gpus = tf.config.list_logical_devices("GPU")
    if name == "auto":
        name = "mirrored" if len(gpus) > 1 else "one"
    if name == "one":
        return tf.distribute.get_strategy()
    devices = gpus or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _multi_worker(cluster, cluster_timeout):
    if cluster is None:
        raise ValueError(
            "--strategy=multi_worker needs the environment variable TF_CONFIG, which "
            "names the machines; see docs/distributed.md, or start all of them with "
            "python -m kerasseg.launch."
        )
    gather(cluster, cluster_timeout)
    return tf.distribute.MultiWorkerMirroredStrategy()
