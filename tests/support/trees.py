"""Miniature data sets, laid out as their authors publish them."""

import os
import pathlib

import cv2
import numpy as np
import pytest
from PIL import Image

from kerasseg import datasets

_REAL = pathlib.Path(__file__).parents[3] / "shared" / "data"


def real(name):
    """Finds a folder of real images, or skips the test."""
    folder = pathlib.Path(os.environ.get("KERASSEG_TEST_DATA", _REAL)) / name
    if not folder.is_dir():
        pytest.skip(
            f"{folder} does not exist; $KERASSEG_TEST_DATA names the folder of the "
            "real images"
        )
    return folder


def image(seed, height=12, width=16):
    """Draws noise, BGR as OpenCV expects it."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def label(seed, num_classes, height=12, width=16):
    """Draws class numbers in blocks of four pixels."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, num_classes, (height // 4, width // 4), np.uint8)
    return small.repeat(4, axis=0).repeat(4, axis=1)


def save(path, pixels):
    """Writes an image; OpenCV takes the format from the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def camvid(folder, splits=(("train", 5), ("val", 3))):
    """Writes a CamVid whose lists begin with a folder of the authors' machine."""
    for split, count in splits:
        lines = []
        for i in range(count):
            name = f"{split}_{i:02d}.png"
            save(folder / split / name, image(i))
            save(folder / f"{split}annot" / name, label(i, 12))  # 11 is ignored.
            lines.append(f"/SegNet/CamVid/{split}/{name} ")
            lines[-1] += f"/SegNet/CamVid/{split}annot/{name}\n"
        (folder / f"{split}.txt").write_text("".join(lines))
    return folder


def voc(folder, train, val):
    """Writes a VOC 2012 of these names, with palette labels and void borders."""
    for name in (*train, *val):
        seed = len(name)
        save(folder / "JPEGImages" / f"{name}.jpg", image(seed))
        numbers = label(seed, 21)
        numbers[0] = datasets.IGNORE_LABEL
        save_palette(folder / "SegmentationClass" / f"{name}.png", numbers)
    for split, names in (("train", train), ("val", val), ("trainval", train + val)):
        path = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in sorted(names)))
    return folder


def save_palette(path, numbers):
    """Writes class numbers in VOC's colors, as VOC does."""
    colors = np.zeros((256, 3), np.uint8)
    colors[:21] = datasets.get("pascal_voc").palette
    colors[255] = (224, 224, 192)
    image = Image.fromarray(numbers)
    image.putpalette(colors.tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def sbd(folder, train, val, numbers):
    """Writes an SBD of these names, whose labels are all `numbers`."""
    from scipy import io as scipy_io

    groundtruth = np.zeros((1, 1), [("Boundaries", "O"), ("Segmentation", "O")])
    groundtruth[0, 0] = (np.zeros((20, 1), object), numbers)
    for name in (*train, *val):
        save(folder / "img" / f"{name}.jpg", image(len(name)))
        (folder / "cls").mkdir(exist_ok=True)
        path = folder / "cls" / f"{name}.mat"
        scipy_io.savemat(
            path, {"GTcls": groundtruth}, do_compression=True
        )  # As in SBD.
    for split, names in (("train", train), ("val", val)):
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return folder
