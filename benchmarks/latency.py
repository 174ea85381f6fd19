r"""Milliseconds a picture of the exported forms of a network, beside a peer.

python benchmarks/latency.py [--peer=SCRIPT --peer_python=PYTHON]

The network is DeepLab v3 with a ResNet-50 at output stride 16, random weights, one
picture of 321 x 321 pixels, exported as python -m kerasseg.export does it. Each form
runs in a process of its own with all cores, until its logits can be read. The peer is
any script that takes --size and --batch and prints a JSON line with "forward_s", its
seconds a picture of two at once. Both sides run in turn; medians in milliseconds, and
their ratios to the peer's (below 1 is faster), are printed as one JSON line.
"""

import functools
import json
import os
import tempfile

import cv2
import numpy as np
import sides
from absl import app, flags

from kerasseg.exporting import runtimes
from kerasseg.system import processes

flags.adopt_module_key_flags(sides)
_SIZE = flags.DEFINE_integer("size", 321, "Pixels of a side.")
_FORMATS = flags.DEFINE_list(
    "formats", ["saved_model", "tflite", "onnx", "keras"], "See kerasseg.export."
)
_ONLY_OURS = flags.DEFINE_list(
    "only_ours", None, "Exported forms to measure, name=path, and no more."
)

_NUM_CLASSES = 21


def picture() -> np.ndarray:
    """Draws noise, uint8 `[size, size, 3]`."""
    shape = _SIZE.value, _SIZE.value, 3
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def export(folder) -> dict[str, str]:
    """Exports the network; returns the path of each form."""
    from kerasseg import exporting, models

    path = exporting.export_model(
        models.build_model("deeplab_v3", _NUM_CLASSES, output_stride=16),
        folder,
        class_names=[str(i) for i in range(_NUM_CLASSES)],
        palette=np.zeros((_NUM_CLASSES, 3), np.uint8),
        format_names=_FORMATS.value,
        samples=[exporting.Sample(cv2.imencode(".png", picture())[1].tobytes())],
        calibration_images=[picture()],
        fresh_process=False,
    )
    names = exporting.expand_formats(_FORMATS.value)
    return {name: exporting.file_of(path, name) for name in names}


def ours(forms) -> dict[str, float]:
    """Measures each form in a process of its own."""
    found = {}
    for form in forms:
        name, _, path = form.partition("=")
        function = functools.partial(runtimes.seconds, path)
        with processes.Processes(function, 1) as seconds:
            found[f"{name}_s"] = seconds(picture())
    return found


def main(argv):
    """Runs both sides in turn."""
    del argv
    if _ONLY_OURS.value:
        print(json.dumps(ours(_ONLY_OURS.value)))
        return
    size = f"--size={_SIZE.value}"
    with tempfile.TemporaryDirectory() as folder:
        paths = export(os.path.join(folder, "export"))
        forms = ",".join(f"{name}={path}" for name, path in paths.items())
        command = [f"--only_ours={forms}", size]
        found = sides.measure(__file__, command, [size, "--batch=2"])
    report: dict = {name: {"ms": 1e3 * found[f"ours_{name}_s"]} for name in paths}
    if "peer_forward_s" in found:
        peer = report["peer"] = {"ms": 1e3 * found["peer_forward_s"]}
        for each in report.values():
            each["ratio_to_peer"] = each["ms"] / peer["ms"]
    rounded = {
        name: {key: round(value, 3) for key, value in each.items()}
        for name, each in report.items()
    }
    print(json.dumps(rounded))


if __name__ == "__main__":
    app.run(main)
