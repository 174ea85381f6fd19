r"""Pictures a second that become records, beside TensorFlow Datasets.

python benchmarks/build_records.py --pictures=CamVid/train \
    --peer=benchmarks/tfds_build.py [--rounds=5]

Ours decodes and checks every picture and every label; the peer copies the files. Both
build the split of CamVid of the folder's name, each in a process of its own and in
turn; imports do not count, the start of workers does. The medians and their ratio
(above 1: ours is faster) are printed as one JSON line.
"""

import functools
import json
import pathlib
import tempfile
import time

import sides
from absl import app, flags

from kerasseg.system import processes
from tfrecords_tools.converters import pairs
from tfrecords_tools.writing import quarantine, writer

flags.adopt_module_key_flags(sides)
_PICTURES = flags.DEFINE_string("pictures", None, "Folder; labels in <folder>annot.")
_ONLY = flags.DEFINE_bool("only_ours", False, "One run of our side, in this process.")


def ours(pictures) -> dict:
    """Builds once."""
    source = pairs.Source(pictures.parent)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        result = writer.build_records(
            *("camvid", source, folder),
            splits=[pictures.name],
            engine=functools.partial(quarantine.run, num_workers=processes.num_cores()),
        )
        seconds = time.perf_counter() - start
    return {"pictures_per_second": result.num_records[pictures.name] / seconds}


def main(argv):
    """Runs both sides in turn."""
    del argv
    pictures = pathlib.Path(_PICTURES.value).absolute()
    if _ONLY.value:
        print(json.dumps(ours(pictures)))
        return
    given = ["--only_ours", f"--pictures={pictures}"]
    report = sides.measure(__file__, given, [str(pictures)])
    if "peer_pictures_per_second" in report:
        rates = [report[f"{side}_pictures_per_second"] for side in ("ours", "peer")]
        report["ratio_to_peer"] = rates[0] / rates[1]
    print(json.dumps(report))


if __name__ == "__main__":
    flags.mark_flags_as_required(["pictures"])
    app.run(main)
