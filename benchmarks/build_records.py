r"""Images per second when building records, compared with TensorFlow Datasets.

python benchmarks/build_records.py --images=CamVid/train \
    --peer=benchmarks/tfds_build.py [--rounds=5]

Our side decodes and checks every image and label; the peer copies the files. Both build
the CamVid split with the name of the folder, alternately and each in its own process.
The time includes the start of workers, but not imports. Prints the medians and their
ratio (above 1: ours is faster) as one JSON line.
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
_IMAGES = flags.DEFINE_string(
    "images", None, "Folder of images, with labels in <folder>annot."
)
flags.DEFINE_alias("pictures", "images")
_ONLY = flags.DEFINE_bool("only_ours", False, "Run our side once, in this process.")


def ours(images: pathlib.Path) -> dict:
    """Builds the records once."""
    source = pairs.Source(images.parent)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        result = writer.build_records(
            *("camvid", source, folder),
            splits=[images.name],
            engine=functools.partial(quarantine.run, num_workers=processes.num_cores()),
        )
        seconds = time.perf_counter() - start
    return {"pictures_per_second": result.num_records[images.name] / seconds}


def main(argv):
    """Runs both sides alternately."""
    del argv
    images = pathlib.Path(_IMAGES.value).absolute()
    if _ONLY.value:
        print(json.dumps(ours(images)))
        return
    arguments = ["--only_ours", f"--images={images}"]
    report = sides.measure(__file__, arguments, [str(images)])
    if "peer_pictures_per_second" in report:
        rates = [report[f"{side}_pictures_per_second"] for side in ("ours", "peer")]
        report["ratio_to_peer"] = rates[0] / rates[1]
    print(json.dumps(report))


if __name__ == "__main__":
    flags.mark_flags_as_required(["images"])
    app.run(main)
