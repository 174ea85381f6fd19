r"""Seconds per image of one training step, compared with a peer.

python benchmarks/train_step.py [--peer=SCRIPT --peer_python=PYTHON]

DeepLab v3 on ResNet-50, output stride 16, 321x321, two images, SGD with momentum, the
step function that `kerasseg.train` runs. The peer is any script that prints a JSON line
with "train_s". Both run in turn, each in its own process; the medians and their
ratio are printed as one JSON line.
"""

import json
import time

import numpy as np
import sides
import tensorflow as tf
from absl import app, flags

from kerasseg import training
from kerasseg.training.network import Network
from kerasseg.training.run import create_state
from kerasseg.training.step import StepFunction

flags.adopt_module_key_flags(sides)
_ONLY = flags.DEFINE_bool("only_ours", False, "One run of our side, in this process.")

_SIZE, _BATCH, _STEPS = 321, 2, 5


def ours() -> dict:
    """Measures the mean of a few steps after the first."""
    recipe = training.Recipe(train_batch_size=_BATCH, base_learning_rate=0.01)
    builder = training.Builder("deeplab_v3", {"backbone": "resnet50"})
    state, objective = create_state(Network(builder, 21), recipe, None)
    step = StepFunction(state, objective, recipe, tf.distribute.get_strategy())
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
    """Runs both sides in turn."""
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
