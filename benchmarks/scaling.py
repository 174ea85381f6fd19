r"""The time of a training step by number of replicas, and a model for N machines.

python benchmarks/scaling.py [--model=NAME --crop_size=N --batch_size=N]

Measures 1, 2 and 4 replicas, each a logical device of the CPU, in separate processes:
the seconds per step with the same batch size per replica, and the all-reduced bytes,
counted in the graph: gradients, statistics of batch norm and sums of the loss. The
replicas share the cores, so a step of N replicas does N times the work; `overhead` is
its additional time, relative to N steps of one replica.

The model for N machines with one device each is that of a ring all-reduce
(https://arxiv.org/abs/1802.05799): T(N) = T(1) + 2 (N - 1) / N * bytes / bandwidth +
2 (N - 1) * latency * messages. It is an upper bound, since it assumes that computation
and communication do not overlap.
"""

import collections
import json
import statistics
import subprocess
import sys
import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from kerasseg import distribution, training
from kerasseg.training.network import Network
from kerasseg.training.run import create_state
from kerasseg.training.step import StepFunction

_MODEL = flags.DEFINE_string("model", "enet", "Architecture.")
_CROP = flags.DEFINE_integer(
    "crop_size", 240, "Height and width of the crop in pixels."
)
_BATCH = flags.DEFINE_integer("batch_size", 2, "Images per replica.")
_STEPS = flags.DEFINE_integer("steps", 7, "Measured steps per process.")
_ROUNDS = flags.DEFINE_integer(
    "rounds", 3, "Number of processes for each number of replicas."
)
_REPLICAS = flags.DEFINE_integer(
    "replicas", None, "Measure this number of replicas, in this process."
)
_CLASSES = 11
# Bytes per second and seconds per message: nominal values, not measurements.
NETWORKS = {"1 Gbit/s": (125e6, 1e-4), "25 Gbit/s": (3.1e9, 2e-5)}


def count_reduced(reduced: dict, num_gradients: int) -> None:
    """Records the bytes of all-reduces that are traced later, of all replicas."""
    context = tf.distribute.ReplicaContext
    all_reduce = context.all_reduce

    def counting(self, op, value, options=None):
        flat = tf.nest.flatten(value)
        kind = "statistics" if flat[0].shape.rank else "sums"
        kind = "gradients" if len(flat) == num_gradients else kind
        reduced[kind] += [x.shape.num_elements() * x.dtype.size for x in flat]
        return all_reduce(self, op, value, options)

    context.all_reduce = counting


def ours(replicas: int) -> dict:
    """Measures the median time of a step."""
    devices = [tf.config.LogicalDeviceConfiguration()] * replicas
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, devices)
    strategy = distribution.strategy("mirrored" if replicas > 1 else "one")
    recipe = training.Recipe(
        train_batch_size=_BATCH.value * replicas, base_learning_rate=0.01
    )
    network = Network(training.Builder(_MODEL.value), _CLASSES)
    with strategy.scope():
        state, objective = create_state(network, recipe, None)
    reduced: dict = collections.defaultdict(list)
    count_reduced(reduced, len(state.optimizer.trainable_variables))
    step = StepFunction(state, objective, recipe, strategy)
    rng = np.random.default_rng(0)
    shape = (_BATCH.value * replicas, _CROP.value, _CROP.value)
    arrays = {
        "image": rng.integers(0, 256, (*shape, 3)).astype(np.uint8),
        "label": rng.integers(0, _CLASSES, shape).astype(np.uint8),
    }
    dataset = tf.data.Dataset.from_tensors(arrays).repeat()
    batch = next(iter(strategy.experimental_distribute_dataset(dataset)))
    step_number = tf.constant(0, tf.int64)
    for _ in range(2):
        float(step(batch, step_number)[0])
    seconds = []
    for _ in range(_STEPS.value):
        start = time.perf_counter()
        float(step(batch, step_number)[0])
        seconds.append(time.perf_counter() - start)
    result = {"seconds": statistics.median(seconds), "bytes": {}, "messages": {}}
    for kind, sizes in reduced.items() if replicas > 1 else ():
        result["bytes"][kind] = sum(sizes) // replicas  # Each replica recorded them.
        result["messages"][kind] = len(sizes) // replicas
    return result


def predicted(one: dict, several: dict, machines: int) -> dict:
    """Returns the predicted seconds of a step by network."""
    size, messages = sum(several["bytes"].values()), sum(several["messages"].values())
    moved = 2 * (machines - 1) / machines * size
    return {
        name: one["seconds"] + moved / rate + 2 * (machines - 1) * latency * messages
        for name, (rate, latency) in NETWORKS.items()
    }


def main(argv):
    """Runs all numbers of replicas alternately, and prints the medians."""
    if _REPLICAS.value:
        print(json.dumps(ours(_REPLICAS.value)))
        return
    runs: dict = {1: [], 2: [], 4: []}
    for _ in range(_ROUNDS.value):
        for replicas, results in runs.items():
            command = [
                sys.executable,
                *argv[:1],
                *_arguments(),
                f"--replicas={replicas}",
            ]
            done = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True
            )
            line = done.stdout.strip().splitlines()[-1]
            print(f"{replicas} replicas: {line}", file=sys.stderr, flush=True)
            results.append(json.loads(line))
    medians = {
        replicas: sorted(results, key=lambda r: r["seconds"])[len(results) // 2]
        for replicas, results in runs.items()
    }
    one = medians[1]
    for replicas, result in medians.items():
        result["overhead"] = result["seconds"] / (replicas * one["seconds"]) - 1
        print(json.dumps({"replicas": replicas, **result}))
    for machines in (2, 4, 8, 32):
        times = predicted(one, medians[4], machines)
        rounded = {name: round(value, 4) for name, value in times.items()}
        print(json.dumps({"machines": machines, "predicted_seconds": rounded}))


def _arguments():
    flag_values = (_MODEL, _CROP, _BATCH, _STEPS)
    return [f"--{flag.name}={flag.value}" for flag in flag_values]


if __name__ == "__main__":
    app.run(main)
