"""The strategy of a run: which devices and machines it uses."""

import tensorflow as tf

from kerasseg import errors
from kerasseg.distribution.cluster import from_environment, gather
from kerasseg.distribution.names import STRATEGIES
from kerasseg.distribution.parameter_servers import SERVERS, connect, serve


def strategy(name="auto", *, cluster_timeout=300.0) -> tf.distribute.Strategy:
    """Makes the strategy called `name`; the first that a program asks of TensorFlow.

    Args:
        name: "one", "mirrored" (all GPUs, or all CPU devices where there is none),
            "multi_worker" (the machines of TF_CONFIG, all devices of each),
            "parameter_server" (its workers, each at its own pace), or "auto":
            parameter_server where TF_CONFIG names such servers, multi_worker where it
            names several workers, mirrored where there are several GPUs.
        cluster_timeout: Seconds to wait for the other machines.

    Raises:
        ValueError: Unknown name, or TF_CONFIG is wrong or missing.
        OSError: Another program has the port that TF_CONFIG gives this one.
        WorkerLostError: Not all machines came; those that are missing are named.
    """
    if name not in STRATEGIES:
        raise errors.UserError(
            f"No strategy is called '{name}': {', '.join(STRATEGIES)} are known."
        )
    name, cluster = _of_cluster(name)
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


def serve_if_assigned(name="auto", *, cluster_timeout=300.0) -> bool:
    """Serves a chief, where TF_CONFIG makes this process a worker or server of one.

    Args:
        name: See `strategy`, also for what is raised.
        cluster_timeout: Seconds to wait for the chief.

    Returns:
        False at once where this process is to train; True when the chief has ended.
    """
    name, cluster = _of_cluster(name)
    if name != "parameter_server" or cluster.job not in SERVERS:
        return False
    serve(cluster, cluster_timeout)
    return True


def _of_cluster(name):
    """Returns the name of a strategy, decided where TF_CONFIG does, and the cluster."""
    cluster = from_environment()
    if name == "auto" and cluster and cluster.jobs.get("ps"):
        name = "parameter_server"
    elif name == "auto" and cluster and len(cluster.workers) > 1:
        name = "multi_worker"
    if name in ("multi_worker", "parameter_server") and cluster is None:
        raise errors.UserError(
            f"`strategy={name}` needs the environment variable TF_CONFIG, which names "
            f"the machines; see docs/distributed.md, or start all of them with python "
            f"-m kerasseg.launch."
        )
    jobs = {
        "multi_worker": ("chief", "worker"),
        "parameter_server": ("chief", *SERVERS),
    }
    if cluster and cluster.job not in jobs.get(name, (cluster.job,)):
        raise errors.UserError(
            f"TF_CONFIG makes this a task of the job '{cluster.job}', which has no "
            f"part in `strategy={name}`: {', '.join(jobs[name])} have. The chief "
            f"validates; leave this task out."
        )
    return name, cluster
