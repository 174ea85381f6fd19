r"""Time and memory of a data set that does not fit into memory.

python benchmarks/large_set.py --folder=DIR [--num_drawn=100000]

Builds records of --num_drawn synthetic images of 320x240, checks them with
tfrecords_tools.inspect, and reads an epoch of crops of 257, each in its own process.
Prints one line of JSON: the seconds of each, and the peak memory of the process and its
workers, as the proportional set size in GiB, sampled every half second. Records that
exist already are not built again.
"""

import contextlib
import json
import pathlib
import re
import subprocess
import sys
import time

from absl import flags

from kerasseg import cli, pipeline, records
from kerasseg.pipeline import augment

_FOLDER = flags.DEFINE_string("folder", None, "Folder of the records.")
_NUM_DRAWN = flags.DEFINE_integer("num_drawn", 100_000, "Number of images.")
_ONLY = flags.DEFINE_bool("only_read", False, "Only read an epoch, in this process.")
_BATCH = 16


def read(folder: str) -> None:
    """Reads an epoch as training does."""
    reader = pipeline.ImageReader(records.open_split(folder, "train"))
    augmentation = augment.Augmentation(crop_size=(257, 257))
    dataset = pipeline.training_dataset(reader, augmentation, batch_size=_BATCH, seed=1)
    for _ in dataset.take(len(reader.split) // _BATCH):
        pass


def measure(arguments: list[str]) -> tuple[float, float]:
    """Runs a command; returns its seconds and peak memory in GiB."""
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, sum(map(_set_size, _process_tree(process.pid))))
        time.sleep(0.5)
    if process.returncode:
        sys.exit(f"{' '.join(arguments)} ended with {process.returncode}.")
    return time.perf_counter() - start, peak / 2**20


def _process_tree(pid):
    """Yields the ids of a process and of its descendants."""
    yield pid
    with contextlib.suppress(OSError):
        for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
            for child in path.read_text().split():
                yield from _process_tree(int(child))


def _set_size(pid):
    """Returns the proportional set size in kB, which divides shared pages."""
    with contextlib.suppress(OSError):
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss: +(\d+) kB", text, re.M)[1])
    return 0


def main(argv):
    """Measures building, inspecting and reading."""
    del argv
    folder = _FOLDER.value
    if _ONLY.value:
        read(folder)
        return
    tools = {
        "build": [
            *("-m", "tfrecords_tools.build", "--dataset=shapes", "--splits=train"),
            *(f"--records_dir={folder}", f"--num_drawn={_NUM_DRAWN.value}"),
        ],
        "inspect": [
            *("-m", "tfrecords_tools.inspect", f"--records_dir={folder}"),
            f"--contact_sheet={folder}/contact_sheet.png",
        ],
        "read": [__file__, "--only_read", f"--folder={folder}"],
    }
    report = {}
    for name, arguments in tools.items():
        report[f"{name}_s"], report[f"{name}_gib"] = measure(arguments)
    print(json.dumps(report))


if __name__ == "__main__":
    flags.mark_flag_as_required("folder")
    cli.run(main)
