r"""Milliseconds a picture of the exported forms of a network, beside a peer.

python benchmarks/latency.py [--peer=SCRIPT --peer_python=PYTHON]

The network is DeepLab v3 with a ResNet-50 at output stride 16, random weights, one
picture of 321 x 321 pixels, exported as python -m kerasseg.export does it. Each form
runs in a process of its own with all cores, and counts its logits. The peer is any
script that takes --size and --batch and prints a JSON line with "forward_s". All run in
turn; the medians, and their ratios to the peer's (below 1 is faster), are printed as
one JSON line.
"""

import json
import os
import tempfile

import numpy as np
import sides
from absl import app, flags

from kerasseg import artefacts

flags.adopt_module_key_flags(sides)
_SIZE = flags.DEFINE_integer("size", 321, "Pixels of a side.")
_FORMATS = flags.DEFINE_list(
    "formats", ["saved_model", "tflite", "onnx", "keras"], "See kerasseg.export."
)
_ONLY_OURS = flags.DEFINE_string(
    "only_ours", None, "Exported forms to measure, name=path, and no more."
)

_NUM_CLASSES = 21


def pictures(count) -> list[np.ndarray]:
    """Draws noise, uint8 `[size, size, 3]`."""
    shape = count, _SIZE.value, _SIZE.value, 3
    return list(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def export(folder) -> dict[str, str]:
    """Exports the network; returns the path of each form."""
    from kerasseg import exporting, models

    path = exporting.export_model(
        models.build_model("deeplab_v3", _NUM_CLASSES, output_stride=16),
        folder,
        class_names=[str(i) for i in range(_NUM_CLASSES)],
        palette=np.zeros((_NUM_CLASSES, 3), np.uint8),
        format_names=_FORMATS.value,
        calibration_images=pictures(2),
        fresh_process=False,
    )
    names = exporting.expand_formats(_FORMATS.value)
    return {name: exporting.file_of(path, name) for name in names}


def main(argv):
    """Runs both sides in turn."""
    del argv
    if _ONLY_OURS.value:
        name, _, path = _ONLY_OURS.value.partition("=")
        print(json.dumps({f"{name}_s": artefacts.seconds(path, pictures(1)[0])}))
        return
    size = f"--size={_SIZE.value}"
    report: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in export(os.path.join(folder, "export")).items():
            ours = [f"--only_ours={name}={path}", size]
            found = sides.measure(__file__, ours, [size, "--batch=1"])
            report[name] = {"ms": round(1e3 * found[f"ours_{name}_s"], 1)}
            if "peer_forward_s" in found:
                ratio = found[f"ours_{name}_s"] / found["peer_forward_s"]
                report[name]["peer_ms"] = round(1e3 * found["peer_forward_s"], 1)
                report[name]["ratio_to_peer"] = round(ratio, 3)
    print(json.dumps(report))


if __name__ == "__main__":
    app.run(main)
