r"""Seconds a picture of an exported model, beside a peer.

python benchmarks/forward.py [--peer=SCRIPT --peer_python=PYTHON]

The network is DeepLab v3 with a ResNet-50 at output stride 16, 321 x 321 pixels, two
pictures at once, exported as python -m kerasseg.export does it and loaded by plain
TensorFlow. "forward_s" counts logits alone, as the peer does; "signature_s" all that
the signature `tensor` gives. The peer is any script that takes --size and --batch and
prints a JSON line with "forward_s". Both run in turn, each in a process of its own.
The medians, and the ratios of their times to the peer's (below 1 is faster), are
printed as one JSON line.
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
_SIZE = flags.DEFINE_integer("size", 321, "Pixels of a side.")
_BATCH = flags.DEFINE_integer("batch", 2, "Pictures at once.")
_ONLY_OURS = flags.DEFINE_string(
    "only_ours", None, "An export to measure, and no more."
)

_RUNS = 5  # After one that does not count, as the peer does it.
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
    """Calls a function once, then measures the mean of some calls."""
    function()
    start = time.perf_counter()
    for _ in range(_RUNS):
        function()
    return (time.perf_counter() - start) / _RUNS


def main(argv):
    """Runs both sides in turn."""
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
