r"""Images per second of the training pipeline, compared with decoding and a peer.

python benchmarks/pipeline.py --images=DIR [--peer=SCRIPT --peer_python=PYTHON]

The augmentation is that of DeepLab: decode a 500x375 JPEG and its label, scale 0.5-2,
pad, crop 513, flip, batches of 16. The peer is any script that takes the folder of
images and prints a JSON line with "pictures_per_second". Both sides run alternately,
each in its own process. Prints the medians and their ratio as JSON.

--augmentations=all measures our side with every augmentation at a probability of 0.5.
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
from kerasseg.pipeline import augment, augmentations

flags.adopt_module_key_flags(sides)
_IMAGES = flags.DEFINE_string(
    "images", None, "Folder of images, with labels in <folder>annot."
)
flags.DEFINE_alias("pictures", "images")
_AUGMENTATIONS = flags.DEFINE_string(
    "augmentations",
    "",
    "Augmentations of our side as of kerasseg.train, or all: each at 0.5.",
)
_ONLY = flags.DEFINE_bool("only_ours", False, "Run our side once, in this process.")

_BATCHES = 40


def write_records(source: str, folder: str) -> None:
    """Writes up to 128 images and their labels as records, resized to 500 x 375."""
    serialized = []
    for path in sorted(glob.glob(os.path.join(source, "*.png")))[:128]:
        name = os.path.basename(path)
        image = cv2.resize(cv2.imread(path), (500, 375), interpolation=cv2.INTER_CUBIC)
        label = cv2.imread(
            os.path.join(source.rstrip("/") + "annot", name), cv2.IMREAD_UNCHANGED
        )
        label[label == 11] = 255
        label = cv2.resize(label, (500, 375), interpolation=cv2.INTER_NEAREST)
        jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
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


def chosen(text: str) -> augmentations.Chosen:
    """Returns the augmentations and probabilities that the flag names."""
    if text == "all":
        return tuple((name, 0.5) for name in augmentations.AUGMENTATIONS)
    return augmentations.parse(text)


def ours(folder: str) -> dict:
    """Measures decoding alone, on all cores, and the whole pipeline."""
    reader = pipeline.ImageReader(records.open_split(folder, "train"))
    indices = list(range(len(reader.split))) * 5
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(reader.read, indices[:64]))
        start = time.perf_counter()
        for _ in pool.map(reader.read, indices):
            pass
        decoding = len(indices) / (time.perf_counter() - start)
    augmentation = augment.Augmentation(augmentations=chosen(_AUGMENTATIONS.value))
    dataset = pipeline.training_dataset(reader, augmentation, batch_size=16, seed=1)
    batches = iter(dataset)
    for _ in range(3):
        next(batches)
    start = time.perf_counter()
    for _ in itertools.islice(batches, _BATCHES):
        pass
    rate = 16 * _BATCHES / (time.perf_counter() - start)
    return {"pictures_per_second": rate, "decoding_alone": decoding}


def main(argv):
    """Runs both sides alternately."""
    del argv
    if _ONLY.value:
        print(json.dumps(ours(_IMAGES.value)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_records(_IMAGES.value, folder)
        arguments = [
            *("--only_ours", f"--images={folder}"),
            f"--augmentations={_AUGMENTATIONS.value}",
        ]
        report = sides.measure(__file__, arguments, [_IMAGES.value])
    rate = report["ours_pictures_per_second"]
    report["of_decoding_alone"] = rate / report["ours_decoding_alone"]
    if "peer_pictures_per_second" in report:
        report["ratio_to_peer"] = rate / report["peer_pictures_per_second"]
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    flags.mark_flag_as_required("images")
    app.run(main)
