r"""Pictures a second of the training pipeline, beside decoding alone and a peer.

python benchmarks/pipeline.py --pictures=DIR [--peer=SCRIPT --peer_python=PYTHON]

The work is that of DeepLab: decode a 500x375 JPEG and its label, scale 0.5-2, pad, crop
513, flip, batches of 16. The peer is any script that takes the folder of pictures and
prints a JSON line with "pictures_per_second". Both run in turn, each in a process of
its own; the medians and their ratio are printed as one JSON line.
"""

import concurrent.futures
import glob
import itertools
import json
import os
import tempfile
import time

import cv2
import sides
from absl import app, flags

from kerasseg import datasets, pipeline, records
from kerasseg.pipeline import augment

flags.adopt_module_key_flags(sides)
_PICTURES = flags.DEFINE_string("pictures", None, "Folder; labels in <folder>annot.")
_ONLY = flags.DEFINE_bool("only_ours", False, "One run of our side, in this process.")

_BATCHES = 40


def write_records(source, folder) -> None:
    """Writes 500 x 375 copies of up to 128 pictures and their labels as records."""
    serialized = []
    for path in sorted(glob.glob(os.path.join(source, "*.png")))[:128]:
        name = os.path.basename(path)
        picture = cv2.resize(
            cv2.imread(path), (500, 375), interpolation=cv2.INTER_CUBIC
        )
        label = cv2.imread(
            os.path.join(source.rstrip("/") + "annot", name), cv2.IMREAD_UNCHANGED
        )
        label[label == 11] = 255
        label = cv2.resize(label, (500, 375), interpolation=cv2.INTER_NEAREST)
        jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        serialized.append(
            records.encode_example(
                image=jpeg.tobytes(),
                label=cv2.imencode(".png", label)[1].tobytes(),
                name=name,
                image_format="jpeg",
                height=375,
                width=500,
            )
        )
    path = os.path.join(folder, records.shard_name("train", 0, 1))
    shard = records.write_shard(path, serialized)
    spec = datasets.get("camvid")
    records.write_info(folder, records.DatasetInfo(spec, {"train": [shard]}))


def ours(folder) -> dict:
    """Measures decoding alone, on all cores, and the whole pipeline."""
    reader = pipeline.ImageReader(records.open_split(folder, "train"))
    numbers = list(range(len(reader.split))) * 5
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(reader.read, numbers[:64]))
        start = time.perf_counter()
        for _ in pool.map(reader.read, numbers):
            pass
        decoding = len(numbers) / (time.perf_counter() - start)
    dataset = pipeline.training_dataset(
        reader, augment.Augmentation(), batch_size=16, seed=1
    )
    batches = iter(dataset)
    for _ in range(3):
        next(batches)
    start = time.perf_counter()
    for _ in itertools.islice(batches, _BATCHES):
        pass
    rate = 16 * _BATCHES / (time.perf_counter() - start)
    return {"pictures_per_second": rate, "decoding_alone": decoding}


def main(argv):
    """Runs both sides in turn."""
    del argv
    if _ONLY.value:
        print(json.dumps(ours(_PICTURES.value)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_records(_PICTURES.value, folder)
        report = sides.measure(
            __file__, ["--only_ours", f"--pictures={folder}"], [_PICTURES.value]
        )
    mine = report["ours_pictures_per_second"]
    report["of_decoding_alone"] = mine / report["ours_decoding_alone"]
    if "peer_pictures_per_second" in report:
        report["ratio_to_peer"] = mine / report["peer_pictures_per_second"]
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    flags.mark_flag_as_required("pictures")
    app.run(main)
