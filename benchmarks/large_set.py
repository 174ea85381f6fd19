r"""Time and memory of a data set that is larger than the memory.

python benchmarks/large_set.py --folder=DIR [--num_drawn=100000]

Draws and builds so many pictures of 320x240 as records, looks at all of them with
tfrecords_tools.inspect, and reads an epoch of crops of 257, each in a process of its
own. What is printed, one line of JSON, are the seconds of each, and the most memory
that it and its workers had at once: the proportional set size, in GiB, as it stood
every half second. What was built already is left as it is.
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

_FOLDER = flags.DEFINE_string("folder", None, "Folder that the records go to.")
_NUM_DRAWN = flags.DEFINE_integer("num_drawn", 100_000, "Pictures.")
_ONLY = flags.DEFINE_bool("only_read", False, "Read an epoch, in this process.")
_BATCH = 16


def read(folder) -> None:
    """Reads an epoch as training does."""
    reader = pipeline.ImageReader(records.open_split(folder, "train"))
    rules = augment.Augmentation(crop_size=(257, 257))
    dataset = pipeline.training_dataset(reader, rules, batch_size=_BATCH, seed=1)
    for _ in dataset.take(len(reader.split) // _BATCH):
        pass


def measure(arguments) -> tuple[float, float]:
    """Runs a command; returns its seconds and its most memory."""
    start, most = time.perf_counter(), 0
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        most = max(most, sum(map(_set_size, _tree(process.pid))))
        time.sleep(0.5)
    if process.returncode:
        sys.exit(f"{' '.join(arguments)} ended with {process.returncode}.")
    return time.perf_counter() - start, most / 2**20


def _tree(number):
    """Yields the numbers of a process and of all that it started."""
    yield number
    with contextlib.suppress(OSError):
        for path in pathlib.Path(f"/proc/{number}/task").glob("*/children"):
            for child in path.read_text().split():
                yield from _tree(int(child))


def _set_size(number):
    """Returns kB; pages that processes share count in parts."""
    with contextlib.suppress(OSError):
        text = pathlib.Path(f"/proc/{number}/smaps_rollup").read_text()
        return int(re.search(r"^Pss: +(\d+) kB", text, re.M)[1])
    return 0


def main(argv):
    """Measures one after the other."""
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
