r"""Seconds per image of a training step, compared with a peer.

python benchmarks/train_step.py [--peer=SCRIPT --peer_python=PYTHON]

The network is DeepLab v3 with a ResNet-50 at output stride 16, trained on batches of
two images of 321x321 pixels by SGD with momentum, with the step function of
`kerasseg.train`. The peer is any script that prints a JSON line with "train_s". Both
sides run alternately, each in its own process. Prints the medians and their ratio as
one JSON line.
"""

import json
import time

import numpy as np
import sides
import tensorflow as tf
from absl import app, flags

from kerasseg import models, training
from kerasseg.training import objective, optimizers
from kerasseg.training.step import TrainingStep

flags.adopt_module_key_flags(sides)
_ONLY = flags.DEFINE_bool("only_ours", False, "Run our side once, in this process.")

_SIZE, _BATCH, _STEPS = 321, 2, 5


def ours() -> dict:
    """Measures the mean time of a few steps after the first."""
    recipe = training.Recipe(batch_size=_BATCH, base_learning_rate=0.01)
    model = models.build_model("deeplab_v3", 21, backbone="resnet50")
    goal = objective.Objective(model, recipe)
    optimizer = optimizers.GroupedOptimizer(goal.model, recipe)
    step = TrainingStep(tf.distribute.get_strategy(), model, goal, optimizer, recipe)
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


def main(argv):
    """Runs both sides alternately."""
    del argv
    if _ONLY.value:
        print(json.dumps(ours()))
        return
    report = sides.measure(__file__, ["--only_ours"], [f"--size={_SIZE}"])
    if "peer_train_s" in report:
        report["ratio_to_peer"] = report["ours_train_s"] / report["peer_train_s"]
    print(json.dumps(report))


if __name__ == "__main__":
    app.run(main)
