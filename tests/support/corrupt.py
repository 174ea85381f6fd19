"""Own images with masks, and functions that corrupt them as users' copies are.

`write` writes a clean copy: images/SPLIT/NAME.png and masks/SPLIT/NAME.png. The other
functions corrupt the given pairs, or change them such that a corruption can be undone
exactly.
"""

import pathlib
import shutil

import cv2
import numpy as np
from PIL import Image

from kerasseg import images, records
from tests.support import trees
from tfrecords_tools.converters import shapes

CLASSES = ("ground", "circle", "square", "triangle", "star", "ring")
VOID = 255
_STORED = {  # By EXIF orientation: function from an upright image to the stored one.
    3: lambda x: x[::-1, ::-1],
    6: lambda x: x[:, ::-1].swapaxes(0, 1),
    8: lambda x: x.swapaxes(0, 1)[:, ::-1],
}


def drawn(num_train=8, num_val=4):
    """Yields split, name, image and label of small shapes with some void."""
    for split, count in (("train", num_train), ("val", num_val)):
        for i in range(count):
            image, label, _ = shapes.draw((7, len(split), i))
            label = label[::4, ::4].copy()
            label[:2, :5] = VOID
            yield split, f"{split}{i}", np.ascontiguousarray(image[::4, ::4]), label


def write(folder, pairs):
    """Writes a clean copy; returns its folder."""
    for split, name, image, label in pairs:
        trees.save(folder / "images" / split / f"{name}.png", image[..., ::-1])
        trees.save(folder / "masks" / split / f"{name}.png", label)
    return folder


def copy(folder, target):
    """Copies a folder; returns the new one."""
    return pathlib.Path(shutil.copytree(folder, target))


def mask_paths(folder, split="*"):
    """Paths of the masks, sorted."""
    return sorted((folder / "masks").glob(f"{split}/*"))


def image_paths(folder, split="*"):
    """Paths of the images, sorted."""
    return sorted((folder / "images").glob(f"{split}/*"))


def read(path):
    """Reads the values of a mask."""
    return images.read_label(path)


def off_by_one(paths):
    for path in paths:
        label = read(path)
        trees.save(path, np.where(label == VOID, VOID, label + 1).astype(np.uint8))


def palette(paths):
    for path in paths:
        trees.save_palette(path, read(path))


def colors(paths, table):
    """Saves masks in colors; `table` is RGB by number, uint8 `[256, 3]`."""
    for path in paths:
        trees.save(path, table[read(path)][..., ::-1])


def colors_of(palette, void=images.IGNORE_COLOR):
    """Returns a table for `colors`."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[VOID] = void
    return table


def quantized(paths, table):
    """Saves color masks as a program does that chooses a palette for each file."""
    for i, path in enumerate(paths):
        label = read(path)
        values = np.unique(label)
        order = values if i % 2 else values[::-1]
        numbers = np.argsort(order)[np.searchsorted(values, label)].astype(np.uint8)
        image = Image.fromarray(numbers)
        image.putpalette(table[order].tobytes())
        image.save(path)


def two_classes(paths):
    """Merges all classes but 0 and void into class 1, and void into class 0."""
    for path in paths:
        label = read(path)
        trees.save(path, ((label > 0) & (label != VOID)).astype(np.uint8))


def zero_and_255(paths):
    for path in paths:
        trees.save(path, read(path) * np.uint8(255))


def coarse(paths):
    """Makes blocks of 2 x 2 pixels equal, so that halving the size loses nothing."""
    for path in paths:
        label = read(path)
        trees.save(path, label[::2, ::2].repeat(2, axis=0).repeat(2, axis=1))


def half_size(paths):
    for path in paths:
        trees.save(path, read(path)[::2, ::2])


def jpeg(paths, table):
    """Saves masks as JPEG in colors, and removes the PNG."""
    for path in paths:
        colored = table[read(path)][..., ::-1]
        quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
        path.with_suffix(".jpg").write_bytes(cv2.imencode(".jpg", colored, quality)[1])
        path.unlink()


def rotated(paths, orientation):
    """Saves rotated images, with an EXIF orientation that makes them upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for path in paths:
        upright = images.read_image(path)
        stored = np.ascontiguousarray(_STORED[orientation](upright))
        Image.fromarray(stored).save(path, exif=exif)
        np.testing.assert_array_equal(images.read_image(path), upright)


def leak(folder, count):
    """Copies the first images of val, with their masks, into train."""
    for path in image_paths(folder, "val")[:count]:
        name = f"again_{path.name}"
        shutil.copy(path, folder / "images" / "train" / name)
        mask = folder / "masks" / "val" / path.name
        shutil.copy(mask, folder / "masks" / "train" / name)


def add_void(folder):
    """Adds a pair whose mask is all void."""
    image = images.read_image(image_paths(folder, "train")[0])[::-1]
    trees.save(folder / "images/train/unseen.png", image)
    trees.save(folder / "masks/train/unseen.png", np.full(image.shape[:2], VOID, "u1"))


def add_unpaired(folder):
    """Adds an image without a mask, and a mask without an image."""
    image = images.read_image(image_paths(folder, "train")[0])[:, ::-1]
    trees.save(folder / "images/train/alone.png", image)
    trees.save(folder / "masks/val/orphan.png", np.zeros(image.shape[:2], np.uint8))


def contents(records_dir):
    """Returns the image and label of every record, by split and name."""
    found = {}
    for split in records.read_info(records_dir).splits:
        opened = records.open_split(records_dir, split)
        examples = [records.parse_example(opened.read(i)) for i in range(len(opened))]
        found[split] = {
            example["name"]: (
                records.decode_image(example["image"]),
                records.decode_label(example["label"]),
            )
            for example in examples
        }
    return found


def check_equal(records_dir, expected_dir):
    """Checks that two folders of records are equal, pixel by pixel."""
    found, expected = contents(records_dir), contents(expected_dir)
    assert {s: list(each) for s, each in found.items()} == {
        s: list(each) for s, each in expected.items()
    }
    for split, examples in expected.items():
        for name, (image, label) in examples.items():
            np.testing.assert_array_equal(found[split][name][0], image, name)
            np.testing.assert_array_equal(found[split][name][1], label, name)
