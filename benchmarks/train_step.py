r"""Seconds a picture of one training step, beside a peer.

python benchmarks/train_step.py [--peer=SCRIPT --peer_python=PYTHON]

DeepLab v3 on ResNet-50, output stride 16, 321x321, two pictures, SGD with momentum, the
step function that `kerasseg.train` runs. The peer is any script that prints a JSON line
with "train_s". Both run in turn, each in a process of its own; the medians and their
ratio are printed as one JSON line.
"""

import json
import statistics
import subprocess
import sys
import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from kerasseg import models, training
from kerasseg.training import optimizers
from kerasseg.training.step import TrainingStep

_PEER = flags.DEFINE_string("peer", None, "The peer's script.")
_PEER_PYTHON = flags.DEFINE_string("peer_python", sys.executable, "Runs the peer.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Runs of each side.")
_ONLY = flags.DEFINE_bool("only_ours", False, "One run of our side, in this process.")

_SIZE, _BATCH, _STEPS = 321, 2, 5


def ours() -> dict:
    """Measures the mean of a few steps after the first."""
    recipe = training.Recipe(batch_size=_BATCH, base_learning_rate=0.01)
    model = models.build_model("deeplab_v3", 21, backbone="resnet50")
    optimizer = optimizers.GroupedOptimizer(model, recipe)
    step = TrainingStep(tf.distribute.get_strategy(), model, optimizer, recipe)
    rng = np.random.default_rng(0)
    shape = (_BATCH, _SIZE, _SIZE)
    batch = {
        "image": tf.constant(rng.integers(0, 256, (*shape, 3)), tf.uint8),
        "label": tf.constant(rng.integers(0, 21, shape), tf.uint8),
    }
    number = tf.constant(0, tf.int64)
    float(step(batch, number)[0])
    start = time.perf_counter()
    for _ in range(_STEPS):
        float(step(batch, number)[0])
    return {"train_s": (time.perf_counter() - start) / _STEPS / _BATCH}


def run(command) -> dict:
    """Runs one side and reads the JSON line that it prints last."""
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(output.stdout.strip().splitlines()[-1])


def main(argv):
    """Runs both sides in turn."""
    del argv
    if _ONLY.value:
        print(json.dumps(ours()))
        return
    sides = {"ours": [sys.executable, __file__, "--only_ours"]}
    if _PEER.value:
        sides["peer"] = [_PEER_PYTHON.value, _PEER.value, f"--size={_SIZE}"]
    results = {side: [] for side in sides}
    for _ in range(_ROUNDS.value):
        for side, command in sides.items():
            results[side].append(run(command)["train_s"])
    report = {f"{side}_train_s": statistics.median(t) for side, t in results.items()}
    if _PEER.value:
        report["ratio_to_peer"] = report["ours_train_s"] / report["peer_train_s"]
    print(json.dumps(report))


if __name__ == "__main__":
    app.run(main)
