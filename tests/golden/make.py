"""Writes the golden files of this folder, with the code of commit 9818179.

git checkout 9818179 && python make.py FOLDER (with this file copied beside)

The files stand for what users of that release have on their disks. They are never made
again: a change that they do not survive needs a new reader, not new files.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from kerasseg import models

CLASSES = ("background", "disc", "bar")
OPTIONS = [
    "--model=segnet_basic",
    "--model_option=filters=4",
    "--training_number_of_steps=12",
    "--train_batch_size=2",
    "--train_crop_size=64",
    "--base_learning_rate=0.05",
    "--ema_decay=0.9",
    "--loss=crossentropy:1,dice:0.5",
    "--class_weights=1,2,3",
    "--save_interval_steps=6",
    "--eval_interval_steps=6",
    "--seed=3",
]


def image_and_label(seed):
    """Draws a noisy image with a disc and a bar, and its label."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    label = np.zeros((64, 64), np.uint8)
    row, column = rng.integers(16, 48, 2)
    label[(y - row) ** 2 + (x - column) ** 2 < 150] = 1
    start = rng.integers(0, 48)
    label[:, start : start + 8] = 2
    colors = np.array([[90, 90, 90], [200, 60, 60], [60, 60, 200]])
    image = colors[label] + rng.integers(0, 8, (64, 64, 3))
    label[:2, :2] = 255
    return image.astype(np.uint8), label


def run(module, *arguments):
    """Runs one of the commands, with one thread: the order of sums is then fixed."""
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1"}
    environment["TF_NUM_INTEROP_THREADS"] = "1"
    command = [sys.executable, "-m", module, *map(str, arguments)]
    subprocess.run(command, check=True, env=environment)


def layers_model():
    """Builds a model that holds every class that kerasseg registers with Keras."""
    models.list_models()
    known = keras.saving.get_custom_objects()
    new = {name.split(">")[1]: kind for name, kind in known.items()}
    image = keras.Input((64, 64, 3), name="image")
    normal = new["Normalize"]("torch", name="normalize")(image)
    small = new["PadSmall"](96, name="pad_small")(normal)
    half = keras.layers.AveragePooling2D(2, name="half")(normal)
    quarter = keras.layers.AveragePooling2D(4, name="quarter")(normal)
    maxima, indices = new["MaxPoolWithIndices"](name="max_pool")(normal)
    pad = new["PadChannels"](5, name="pad_channels")(half)
    regions = keras.layers.Conv2D(5, 1, name="regions")(quarter)
    pixels = keras.layers.Conv2D(8, 1, name="pixels")(quarter)
    gathered = new["GatherRegions"](name="gather")([regions, pixels])
    key_value = keras.layers.Concatenate(name="key_value")([pixels, pixels])
    logits = keras.layers.Conv2D(3, 1, name="scores")(normal)
    outputs = {
        "Conv2D": new["Conv2D"](4, 3, padding="same", dilation_rate=2, name="conv")(
            normal
        ),
        "CrfRnn": new["CrfRnn"](2, name="crf")([image, logits]),
        "BatchNormalization": new["BatchNormalization"](name="norm")(half),
        "LocalResponseNormalization": new["LocalResponseNormalization"](name="lrn")(
            half
        ),
        "PadSmall": small,
        "AdaptiveAveragePool": new["AdaptiveAveragePool"](3, name="adaptive")(half),
        "AtStride": new["AtStride"](2, name="at_stride")(half),
        "CropLike": new["CropLike"](name="crop_like")([normal, half]),
        "ResizeLike": new["ResizeLike"](stride=4, name="resize_like")([quarter, image]),
        "NormalizeFeatures": new["NormalizeFeatures"](name="features")(half),
        "Unpool": new["Unpool"](name="unpool")([maxima, indices, normal]),
        "Bilinear": keras.layers.Conv2DTranspose(
            3, 4, 2, "same", kernel_initializer=new["Bilinear"](), name="deconv"
        )(half),
        "UpSampling2D": new["UpSampling2D"](2, name="up")(half),
        "LayerScale": new["LayerScale"](0.5, 8, name="layer_scale")(pad),
        "Pool2D": new["Pool2D"](
            "max", (3, 3), stride=1, rate=2, padding=((2, 2), (2, 2)), name="pool"
        )(half),
        "Resample": new["Resample"]((1, 2), name="resample")(normal),
        "GroupedConv2D": new["GroupedConv2D"](
            8, 3, padding="same", groups=2, name="grouped"
        )(pad),
        "AlignedResizeLike": new["AlignedResizeLike"](name="aligned")([quarter, half]),
        "RegionAttention": new["RegionAttention"](name="region_attention")(
            [pixels, gathered, gathered]
        ),
        "Spread": new["Spread"](name="spread")([quarter, half]),
        "Attention": new["Attention"](2, name="attention")([pixels, key_value]),
        "Mirror": new["Mirror"](32, 16, name="mirror")(normal),
    }
    assert {*outputs, "Normalize", "MaxPoolWithIndices", "PadChannels"} | {
        "GatherRegions"
    } == set(new), set(new) ^ set(outputs)
    model = keras.Model(image, outputs, name="layers")
    rng = np.random.default_rng(0)
    for weight in model.weights:
        value = rng.normal(0, 0.3, weight.shape)
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.path else value)
    return model


def main(folder):
    """Writes everything below `folder`."""
    out = pathlib.Path(folder).absolute()
    os.makedirs(out, exist_ok=True)
    os.chdir(out)  # Paths in flags.txt are relative.
    source = pathlib.Path("source")
    for start, split in enumerate(("train", "val")):
        for name in ("images", "masks"):
            (source / name / split).mkdir(parents=True)
        for i in range(2 * start, 2 * start + 2):
            image, label = image_and_label(i)
            Image.fromarray(image).save(source / "images" / split / f"{i}.png")
            Image.fromarray(label).save(source / "masks" / split / f"{i}.png")
    run(
        "tfrecords_tools.build",
        "--dataset=folder",
        "--images=source/images/{split}/*.png",
        "--masks=source/masks/{split}/*.png",
        f"--classes={','.join(CLASSES)}",
        "--splits=train,val",
        "--records_dir=records",
    )
    run("kerasseg.train", *OPTIONS, "--records_dir=records", "--workdir=run")
    run("kerasseg.evaluate", "--workdir=run", "--noreport")
    run("kerasseg.export", "--workdir=run", "--export_dir=export")
    run(
        "kerasseg.predict",
        "--workdir=run",
        "--input=source/images/val",
        "--output_dir=predictions",
        "--output=index,color",
    )
    half_done = sorted(pathlib.Path("predictions").rglob("3.*"))
    for path in half_done:
        path.unlink()
    for name in ("events", "pictures", "curves.png"):
        path = pathlib.Path("run", name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    model = layers_model()
    model.save("layers.keras")
    image = image_and_label(5)[0][None].astype("float32")
    values = model(image, training=False)
    np.savez_compressed(
        "layers_outputs.npz",
        **{k: np.asarray(v)[:, ::8, ::8] for k, v in values.items()},
    )
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    flags = next(line for line in cpu.splitlines() if line.startswith("flags"))
    origin = {
        "commit": "9818179",
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "processor": hashlib.sha256(flags.encode()).hexdigest()[:16],
    }
    pathlib.Path("origin.json").write_text(json.dumps(origin, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
