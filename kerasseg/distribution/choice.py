"""The strategy of a run: which devices and machines it uses."""

import tensorflow as tf

from kerasseg import errors
from kerasseg.distribution.cluster import from_environment, gather
from kerasseg.distribution.names import STRATEGIES
from kerasseg.distribution.parameter_servers import SERVERS, connect, serve


def strategy(
    name: str = "auto", *, cluster_timeout: float = 300.0
) -> tf.distribute.Strategy:
    """Creates a strategy; must be called before any other use of TensorFlow.

    Args:
        name: "one" (one device), "mirrored" (all GPUs, or all CPU devices if there is
            no GPU), "multi_worker" (all devices of the machines of TF_CONFIG),
            "parameter_server" (the workers of TF_CONFIG, which do not wait for each
            other), or "auto": "parameter_server" if TF_CONFIG has the job "ps",
            "multi_worker" if it has several workers, "mirrored" if there are several
            GPUs, else "one".
        cluster_timeout: Seconds to wait for the other machines.

    Raises:
        errors.UserError: The name is unknown, or TF_CONFIG is wrong or missing.
        OSError: Another program uses the port that TF_CONFIG assigns to this process.
        WorkerLostError: Some machines do not answer; the message names them.
    """
    if name not in STRATEGIES:
        raise errors.UserError(
            f"Unknown strategy '{name}'. Choose one of: {', '.join(STRATEGIES)}."
        )
    name, cluster = _choose(name)
    if name == "multi_worker":
        gather(cluster, cluster_timeout)
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "parameter_server":
        return connect(cluster, cluster_timeout)
    gpus = tf.config.list_logical_devices("GPU")
    if name == "auto":
        name = "mirrored" if len(gpus) > 1 else "one"
    if name == "one":
        return tf.distribute.get_strategy()
    devices = gpus or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def serve_if_assigned(name: str = "auto", *, cluster_timeout: float = 300.0) -> bool:
    """Serves the chief if TF_CONFIG makes this process its worker or parameter server.

    Args:
        name: See `strategy`, also for the errors.
        cluster_timeout: Seconds to wait for the chief.

    Returns:
        True when the chief has ended; False, at once, if this process trains.
    """
    name, cluster = _choose(name)
    if name != "parameter_server" or cluster.job not in SERVERS:
        return False
    serve(cluster, cluster_timeout)
    return True


def _choose(name):
    """Returns the strategy that TF_CONFIG decides, or `name`, and the cluster."""
    cluster = from_environment()
    if name == "auto" and cluster and cluster.jobs.get("ps"):
        name = "parameter_server"
    elif name == "auto" and cluster and len(cluster.workers) > 1:
        name = "multi_worker"
    if name in ("multi_worker", "parameter_server") and cluster is None:
        raise errors.UserError(
            f"`strategy={name}` needs the environment variable TF_CONFIG, which lists "
            f"the machines. See docs/distributed.md, or start several workers on this "
            f"machine with python -m kerasseg.launch."
        )
    jobs = {
        "multi_worker": ("chief", "worker"),
        "parameter_server": ("chief", *SERVERS),
    }
    if cluster and cluster.job not in jobs.get(name, (cluster.job,)):
        raise errors.UserError(
            f"TF_CONFIG makes this process a task of the job '{cluster.job}', and the "
            f"jobs of `strategy={name}` are {', '.join(jobs[name])}. The chief "
            f"validates. Do not start this task."
        )
    return name, cluster
