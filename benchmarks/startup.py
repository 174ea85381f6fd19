r"""Processor time until a command has started, and until it has predicted one image.

python benchmarks/startup.py [--image=IMAGE] [--rounds=3] \
    [--peer_python=PYTHON --yolo=PROGRAM]

Each row is a separate process, with the processes that it starts; the median of the
rounds counts, in seconds of user and system time, which other programs on the machine
hardly change. The network is a U-Net on EfficientNet-Lite0 with random weights and 21
classes, exported as python -m kerasseg.export does it. The image is IMAGE, or noise of
500 x 375 pixels.

The rows of other packages are `yolo --help` of ultralytics and the import of
segmentation_models_pytorch, with the interpreter --peer_python; where they are not
installed, the row is null and a line says so. Prints one line of JSON.
"""

import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import cv2
import numpy as np
from absl import app, flags

_IMAGE = flags.DEFINE_string("image", None, "JPEG or PNG file. Default: noise.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Number of runs of each row.")
_PEER_PYTHON = flags.DEFINE_string(
    "peer_python", sys.executable, "Interpreter with segmentation_models_pytorch."
)
_YOLO = flags.DEFINE_string("yolo", "yolo", "Program of ultralytics.")

_SIZE = 375, 500
_NUM_CLASSES = 21
_PEER_PACKAGE = "segmentation_models_pytorch"


def export(folder: str) -> str:
    """Exports a network as SavedModel and TFLite; returns the folder of the version."""
    from kerasseg import exporting, models

    return exporting.export_model(
        models.build_model("unet", _NUM_CLASSES, backbone="efficientnet_lite0"),
        os.path.join(folder, "export"),
        class_names=[str(i) for i in range(_NUM_CLASSES)],
        palette=np.zeros((_NUM_CLASSES, 3), np.uint8),
        format_names=["saved_model", "tflite_float32"],
    )


def image_file(folder: str) -> str:
    """Returns the path of the image."""
    if _IMAGE.value:
        return _IMAGE.value
    path = os.path.join(folder, "image.jpg")
    noise = np.random.default_rng(0).integers(0, 256, (*_SIZE, 3), np.uint8)
    cv2.imwrite(path, noise)
    return path


def commands(folder: str) -> dict[str, list[str] | None]:
    """Returns the command of each row; None where a package is not installed."""
    version, image = export(folder), image_file(folder)
    python = sys.executable

    def predict(network):
        output = os.path.join(folder, "masks")
        return [
            *(python, "-m", "kerasseg.predict", f"--export_dir={network}"),
            *(f"--input={image}", f"--output_dir={output}", "--overwrite"),
        ]

    return {
        "kerasseg --help": [python, "-m", "kerasseg", "--help"],
        "kerasseg predict --help": [python, "-m", "kerasseg.predict", "--help"],
        "import kerasseg": [python, "-c", "import kerasseg"],
        "import tensorflow": [python, "-c", "import tensorflow"],
        "predict TFLite": predict(os.path.join(version, "model_float32.tflite")),
        "predict SavedModel": predict(version),
        "yolo --help": _yolo(),
        f"import {_PEER_PACKAGE}": _peer_import(),
    }


def _yolo():
    path = shutil.which(_YOLO.value)
    return path and [path, "--help"]


def _peer_import():
    python = _PEER_PYTHON.value
    program = f"import importlib.util as u; print(u.find_spec('{_PEER_PACKAGE}'))"
    if python == sys.executable:
        installed = importlib.util.find_spec(_PEER_PACKAGE) is not None
    else:
        found = subprocess.run([python, "-c", program], capture_output=True, text=True)
        installed = found.returncode == 0 and found.stdout.strip() != "None"
    return [python, "-c", f"import {_PEER_PACKAGE}"] if installed else None


def cpu_seconds(command: list[str]) -> float:
    """Runs a command; returns its user and system time, with that of its children."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} failed:\n{message}")
    return usage.ru_utime + usage.ru_stime


def main(argv):
    """Measures every row in turn, round by round."""
    del argv
    with tempfile.TemporaryDirectory() as folder:
        rows = commands(folder)
        times: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(_ROUNDS.value):
            for name, command in rows.items():
                if command:
                    times[name].append(cpu_seconds(command))
    for name, command in rows.items():
        if not command:
            print(f"{name}: not installed.")
    report = {
        k: round(statistics.median(v), 2) if v else None for k, v in times.items()
    }
    print(json.dumps(report))


if __name__ == "__main__":
    app.run(main)
