r"""Milliseconds per image of the export formats, compared with a peer.

python benchmarks/latency.py [--peer=SCRIPT --peer_python=PYTHON]

The network is DeepLab v3 with a ResNet-50 at output stride 16 and random weights, on
single images of 321 x 321 pixels, exported as python -m kerasseg.export does it. Each
format runs in its own process on all cores, until its logits can be read. The peer is
any script that takes --size and --batch and prints a JSON line with "forward_s", its
seconds per image in batches of two. Both sides run alternately. Prints the medians in
milliseconds and their ratios to the peer's (below 1: ours is faster) as one JSON line.
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
_SIZE = flags.DEFINE_integer("size", 321, "Height and width of the images in pixels.")
_FORMATS = flags.DEFINE_list(
    "formats", ["saved_model", "tflite", "onnx", "keras"], "Formats of kerasseg.export."
)
_ONLY_OURS = flags.DEFINE_list(
    "only_ours", None, "Exports to measure, in this process, as name=path."
)

_NUM_CLASSES = 21


def noise_image() -> np.ndarray:
    """Returns random pixels, uint8 `[size, size, 3]`."""
    shape = _SIZE.value, _SIZE.value, 3
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def export(folder) -> dict[str, str]:
    """Exports the network; returns the path of each format."""
    from kerasseg import exporting, models

    path = exporting.export_model(
        models.build_model("deeplab_v3", _NUM_CLASSES, output_stride=16),
        folder,
        class_names=[str(i) for i in range(_NUM_CLASSES)],
        palette=np.zeros((_NUM_CLASSES, 3), np.uint8),
        format_names=_FORMATS.value,
        samples=[exporting.Sample(cv2.imencode(".png", noise_image())[1].tobytes())],
        calibration_images=[noise_image()],
        fresh_process=False,
    )
    names = exporting.expand_formats(_FORMATS.value)
    return {name: exporting.file_of(path, name) for name in names}


def ours(exports: list[str]) -> dict[str, float]:
    """Measures each format in its own process."""
    results = {}
    for export_ in exports:
        name, _, path = export_.partition("=")
        function = functools.partial(runtimes.seconds, path)
        with processes.Processes(function, 1) as seconds:
            results[f"{name}_s"] = seconds(noise_image())
    return results


def main(argv):
    """Runs both sides alternately."""
    del argv
    if _ONLY_OURS.value:
        print(json.dumps(ours(_ONLY_OURS.value)))
        return
    size = f"--size={_SIZE.value}"
    with tempfile.TemporaryDirectory() as folder:
        paths = export(os.path.join(folder, "export"))
        exports = ",".join(f"{name}={path}" for name, path in paths.items())
        arguments = [f"--only_ours={exports}", size]
        medians = sides.measure(__file__, arguments, [size, "--batch=2"])
    report: dict = {name: {"ms": 1e3 * medians[f"ours_{name}_s"]} for name in paths}
    if "peer_forward_s" in medians:
        peer = report["peer"] = {"ms": 1e3 * medians["peer_forward_s"]}
        for each in report.values():
            each["ratio_to_peer"] = each["ms"] / peer["ms"]
    rounded = {
        name: {key: round(value, 3) for key, value in each.items()}
        for name, each in report.items()
    }
    print(json.dumps(rounded))


if __name__ == "__main__":
    app.run(main)
