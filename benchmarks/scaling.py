r"""How the cost of a step grows with the replicas, and what follows for N machines.

python benchmarks/scaling.py [--model=NAME --crop_size=N --batch_size=N]

For 1, 2 and 4 replicas, each a device of its own on this machine's CPU and each run in
a process of its own: seconds a step, where each replica has the same batch, and the
bytes that are all-reduced, counted in the graph: gradients, statistics of batch norm
and the sums of the loss. The replicas share the cores, so the step of N replicas takes
N times the work; `overhead` is what it takes beyond N steps of one.

The model: on N machines with a device each, T(N) = T(1) + 2 (N - 1) / N * bytes /
bandwidth + 2 (N - 1) * latency * messages, as a ring all-reduce has it
(https://arxiv.org/abs/1802.05799). Nothing in it overlaps, so it is an upper bound.
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
_CROP = flags.DEFINE_integer("crop_size", 240, "Height and width.")
_BATCH = flags.DEFINE_integer("batch_size", 2, "Pictures of each replica.")
_STEPS = flags.DEFINE_integer("steps", 7, "Timed steps of each process.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Processes of each number of replicas.")
_REPLICAS = flags.DEFINE_integer(
    "replicas", None, "One process of so many, and no more."
)
_CLASSES = 11
# Bytes a second and seconds a message; what networks promise, not what was measured.
NETWORKS = {"1 Gbit/s": (125e6, 1e-4), "25 Gbit/s": (3.1e9, 2e-5)}


def count_reduced(reduced, num_gradients) -> None:
    """Notes the bytes of all-reduces that are traced from now on, of all replicas."""
    context = tf.distribute.ReplicaContext
    all_reduce = context.all_reduce

    def counting(self, op, value, options=None):
        flat = tf.nest.flatten(value)
        kind = "statistics" if flat[0].shape.rank else "sums"
        kind = "gradients" if len(flat) == num_gradients else kind
        reduced[kind] += [x.shape.num_elements() * x.dtype.size for x in flat]
        return all_reduce(self, op, value, options)

    context.all_reduce = counting


def ours(replicas) -> dict:
    """Measures the median step of so many replicas."""
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
    number = tf.constant(0, tf.int64)
    for _ in range(2):
        float(step(batch, number)[0])
    seconds = []
    for _ in range(_STEPS.value):
        began = time.perf_counter()
        float(step(batch, number)[0])
        seconds.append(time.perf_counter() - began)
    result = {"seconds": statistics.median(seconds), "bytes": {}, "messages": {}}
    for kind, found in reduced.items() if replicas > 1 else ():
        result["bytes"][kind] = sum(found) // replicas  # All of them noted the same.
        result["messages"][kind] = len(found) // replicas
    return result


def predicted(one, several, machines) -> dict:
    """Returns the seconds of a step on so many machines, by network."""
    size, messages = sum(several["bytes"].values()), sum(several["messages"].values())
    moved = 2 * (machines - 1) / machines * size
    return {
        name: one["seconds"] + moved / rate + 2 * (machines - 1) * latency * messages
        for name, (rate, latency) in NETWORKS.items()
    }


def main(argv):
    """Runs all numbers of replicas in turn, several times, and prints the medians."""
    if _REPLICAS.value:
        print(json.dumps(ours(_REPLICAS.value)))
        return
    found: dict = {1: [], 2: [], 4: []}
    for _ in range(_ROUNDS.value):
        for replicas, results in found.items():
            command = [sys.executable, *argv[:1], *_given(), f"--replicas={replicas}"]
            done = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True
            )
            line = done.stdout.strip().splitlines()[-1]
            print(f"{replicas} replicas: {line}", file=sys.stderr, flush=True)
            results.append(json.loads(line))
    middle = {
        replicas: sorted(results, key=lambda r: r["seconds"])[len(results) // 2]
        for replicas, results in found.items()
    }
    one = middle[1]
    for replicas, result in middle.items():
        result["overhead"] = result["seconds"] / (replicas * one["seconds"]) - 1
        print(json.dumps({"replicas": replicas, **result}))
    for machines in (2, 4, 8, 32):
        times = predicted(one, middle[4], machines)
        said = {name: round(value, 4) for name, value in times.items()}
        print(json.dumps({"machines": machines, "predicted_seconds": said}))


def _given():
    flag_values = (_MODEL, _CROP, _BATCH, _STEPS)
    return [f"--{flag.name}={flag.value}" for flag in flag_values]


if __name__ == "__main__":
    app.run(main)
