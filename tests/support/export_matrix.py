r"""The matrix of docs/export.md: networks by format, each cell measured.

python -m tests.support.export_matrix [NAME ...]

Each network is built as in its flag file under experiments/camvid, with random weights,
and run on an image of 360 x 480 pixels. The row of docs/export.md is printed for it:
the largest difference of the logits relative to the largest logit, the size, and the
milliseconds with their ratio to those of the Keras model. Each format is timed in a
separate process.
"""

import contextlib
import functools
import pathlib
import sys
import tempfile

import numpy as np

from kerasseg import cli, exporting, models
from kerasseg.exporting import runtimes
from kerasseg.system import processes
from tests.support import reference, tiny

ROOT = pathlib.Path(__file__).parents[2]
FLAGFILES = {path.stem: path for path in ROOT.glob("experiments/camvid/*.flags")}
NUM_CLASSES = 11
SIZE = 360, 480
# The columns of the table.
NAMES = (
    *("keras", "saved_model", "tflite_float32", "tflite_float16", "tflite_int8"),
    "onnx",
)
ROUNDS = 7


def build(name):
    """Builds the network of a flag file, with weights like those of a trained one."""
    lines = FLAGFILES[name].read_text().splitlines()
    values = [line.removeprefix("--").partition("=")[::2] for line in lines]
    model = next(value for key, value in values if key == "model")
    given = [value for key, value in values if key == "model_option"]
    options = cli.model_options(models.metadata(model).builder, given)
    options.pop("backbone_weights", None)
    return reference.shake(models.build_model(model, NUM_CLASSES, **options))


def export(model, name, folder) -> dict:
    """Exports a network in one format, in this process.

    Returns:
        "works"; where it does "path", "difference" and "bytes", else "reason".
    """
    image, _ = tiny.image_and_label(0, *SIZE)
    try:
        version = exporting.export_model(
            model,
            folder,
            class_names=[str(i) for i in range(NUM_CLASSES)],
            palette=np.zeros((NUM_CLASSES, 3), np.uint8),
            format_names=[name],
            samples=[exporting.Sample(tiny.png(image))],
            calibration_images=[image, tiny.image_and_label(1, *SIZE)[0]],
            fresh_process=False,
        )
    except ValueError as error:
        return {"works": False, "reason": str(error)}
    entry = exporting.read_metadata(version)["formats"][name]
    return {
        "works": True,
        "path": exporting.file_of(version, name),
        "difference": entry["largest_difference"],
        "bytes": entry["bytes"],
    }


def measure(cells) -> None:
    """Adds "seconds" to each cell that works: in turns, so that load affects all."""
    image, _ = tiny.image_and_label(0, *SIZE)
    times = {name: [] for name, cell in cells.items() if cell["works"]}
    with contextlib.ExitStack() as stack:
        functions = {
            name: stack.enter_context(
                processes.Processes(
                    functools.partial(runtimes.seconds, cells[name]["path"]), 1
                )
            )
            for name in times
        }
        for _ in range(ROUNDS):
            for name, seconds in functions.items():
                times[name].append(seconds(image, 1))
    for name, seconds in times.items():
        cells[name]["seconds"] = float(np.median(seconds))


def exports(name, folder) -> dict:
    """Exports a network in all formats; see `export`."""
    model = build(name)
    return {each: export(model, each, f"{folder}/{each}") for each in NAMES}


def row(name) -> dict:
    """Exports and measures all formats of a network."""
    with tempfile.TemporaryDirectory() as folder:
        # In another process, whose memory is free again when they are timed.
        with processes.Processes(functools.partial(exports, name), 1) as export_into:
            cells = export_into(folder)
        measure(cells)
    return cells


def text(name, cells) -> str:
    """Returns the row of a table in Markdown."""
    shown = [f"`{name}`"]
    for cell in cells.values():
        if not cell["works"]:
            shown.append("no")
            continue
        ratio = cell["seconds"] / cells["keras"]["seconds"]
        shown.append(
            f"{cell['difference']:.0e}, {cell['bytes'] / 1e6:.1f} MB, "
            f"{1e3 * cell['seconds']:.0f} ms ({ratio:.2f})"
        )
    return f"| {' | '.join(shown)} |"


if __name__ == "__main__":
    from tests import export_matrix  # The name under which other processes import it.

    for name in sys.argv[1:] or sorted(FLAGFILES):
        cells = export_matrix.row(name)
        print(text(name, cells), flush=True)
        for key, cell in cells.items():
            if not cell["works"]:
                print(f"{name} {key}: {cell['reason']}", file=sys.stderr)
