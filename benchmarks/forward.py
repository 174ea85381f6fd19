r"""Seconds per image of an exported model, compared with a peer.

python benchmarks/forward.py [--peer=SCRIPT --peer_python=PYTHON]

The network is DeepLab v3 with a ResNet-50 at output stride 16 on batches of two images
of 321 x 321 pixels, exported as python -m kerasseg.export does it and loaded by plain
TensorFlow. "forward_s" is the time of the logits, as in the peer; "signature_s" that of
all outputs of the signature `tensor`. The peer is any script that takes --size and
--batch and prints a JSON line with "forward_s". Both sides run alternately, each in its
own process. Prints the medians and their ratios to the peer's (below 1: ours is faster)
as one JSON line.
"""

import functools
import json
import os
import tempfile
import time

import numpy as np
import sides
import tensorflow as tf
from absl import app, flags

from kerasseg import exporting, models

flags.adopt_module_key_flags(sides)
_SIZE = flags.DEFINE_integer("size", 321, "Height and width of the images in pixels.")
_BATCH = flags.DEFINE_integer("batch", 2, "Images per batch.")
_ONLY_OURS = flags.DEFINE_string(
    "only_ours", None, "Path of an export to measure, in this process."
)

_RUNS = 5  # After one to warm up, as in the peer.
_NUM_CLASSES = 21


def export(folder) -> str:
    """Exports the network with random weights; returns the path of the version."""
    return exporting.export_saved_model(
        models.build_model("deeplab_v3", _NUM_CLASSES, output_stride=16),
        folder,
        class_names=[str(i) for i in range(_NUM_CLASSES)],
        palette=np.zeros((_NUM_CLASSES, 3), np.uint8),
    )


def ours(path, size, batch) -> dict:
    """Measures an exported model in this process."""
    loaded = tf.saved_model.load(path)
    signature = loaded.signatures["tensor"]
    image = tf.random.stateless_uniform([batch, size, size, 3], [1, 2], 0.0, 255.0)
    logits = tf.function(lambda x: signature(image=x)["logits"])
    return {
        "forward_s": seconds(functools.partial(logits, image)) / batch,
        "signature_s": seconds(functools.partial(signature, image=image)) / batch,
    }


def seconds(function) -> float:
    """Returns the mean time of a few calls, after one to warm up."""
    function()
    start = time.perf_counter()
    for _ in range(_RUNS):
        function()
    return (time.perf_counter() - start) / _RUNS


def main(argv):
    """Runs both sides alternately."""
    del argv
    if _ONLY_OURS.value:
        print(json.dumps(ours(_ONLY_OURS.value, _SIZE.value, _BATCH.value)))
        return
    setting = [f"--size={_SIZE.value}", f"--batch={_BATCH.value}"]
    with tempfile.TemporaryDirectory() as folder:
        path = export(os.path.join(folder, "export"))
        report = sides.measure(__file__, [f"--only_ours={path}", *setting], setting)
    if "peer_forward_s" in report:
        peer = report["peer_forward_s"]
        report["ratio_to_peer"] = report["ours_forward_s"] / peer
        report["signature_ratio_to_peer"] = report["ours_signature_s"] / peer
    print(json.dumps(report))


if __name__ == "__main__":
    app.run(main)
