"""Own pictures with masks, and the ways in which users' copies of them are spoilt.

`write` makes a clean copy: images/SPLIT/NAME.png and masks/SPLIT/NAME.png. Every other
function spoils the pairs that it is given, or changes them so that a spoilt copy can be
undone exactly.
"""

import pathlib
import shutil

import cv2
import numpy as np
from PIL import Image

from kerasseg import images, records
from tests import trees
from tfrecords_tools.converters import shapes

CLASSES = ("ground", "circle", "square", "triangle", "star", "ring")
VOID = 255
_TURNED = {  # EXIF orientation: how a picture is stored that it shows upright.
    3: lambda x: x[::-1, ::-1],
    6: lambda x: x[:, ::-1].swapaxes(0, 1),
    8: lambda x: x.swapaxes(0, 1)[:, ::-1],
}


def drawn(num_train=8, num_val=4):
    """Yields split, name, picture and label of small shapes with some void."""
    for split, count in (("train", num_train), ("val", num_val)):
        for i in range(count):
            image, label, _ = shapes.draw((7, len(split), i))
            label = label[::4, ::4].copy()
            label[:2, :5] = VOID
            yield split, f"{split}{i}", np.ascontiguousarray(image[::4, ::4]), label


def write(folder, pictures):
    """Writes a clean copy; returns its folder."""
    for split, name, image, label in pictures:
        trees.save(folder / "images" / split / f"{name}.png", image[..., ::-1])
        trees.save(folder / "masks" / split / f"{name}.png", label)
    return folder


def copy(folder, target):
    """Copies a folder; returns the new one."""
    return pathlib.Path(shutil.copytree(folder, target))


def masks(folder, split="*"):
    """Paths of the masks, sorted."""
    return sorted((folder / "masks").glob(f"{split}/*"))


def pictures(folder, split="*"):
    """Paths of the pictures, sorted."""
    return sorted((folder / "images").glob(f"{split}/*"))


def read(path):
    """Numbers of a mask."""
    return images.read_label(path)


def off_by_one(paths):
    for path in paths:
        label = read(path)
        trees.save(path, np.where(label == VOID, VOID, label + 1).astype(np.uint8))


def palette(paths):
    for path in paths:
        trees.save_palette(path, read(path))


def colors(paths, table):
    """Saves masks in colours; `table` is RGB by number, uint8 `[256, 3]`."""
    for path in paths:
        trees.save(path, table[read(path)][..., ::-1])


def colors_of(palette, void=images.IGNORE_COLOR):
    """Makes the table that `colors` wants."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[VOID] = void
    return table


def quantized(paths, table):
    """Saves masks in colours as a program does that makes a palette for each file."""
    for i, path in enumerate(paths):
        label = read(path)
        values = np.unique(label)
        order = values if i % 2 else values[::-1]
        numbers = np.argsort(order)[np.searchsorted(values, label)].astype(np.uint8)
        picture = Image.fromarray(numbers)
        picture.putpalette(table[order].tobytes())
        picture.save(path)


def two_classes(paths):
    """Leaves class 0 and others, without void: what 0 and 255 can hold."""
    for path in paths:
        label = read(path)
        trees.save(path, ((label > 0) & (label != VOID)).astype(np.uint8))


def zero_and_255(paths):
    for path in paths:
        trees.save(path, read(path) * np.uint8(255))


def coarse(paths):
    """Makes 2 x 2 pixels equal, so that halving and doubling changes nothing."""
    for path in paths:
        label = read(path)
        trees.save(path, label[::2, ::2].repeat(2, axis=0).repeat(2, axis=1))


def half_size(paths):
    for path in paths:
        trees.save(path, read(path)[::2, ::2])


def jpeg(paths, table):
    """Saves masks as JPEG in colours, and removes the PNG."""
    for path in paths:
        colored = table[read(path)][..., ::-1]
        quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
        path.with_suffix(".jpg").write_bytes(cv2.imencode(".jpg", colored, quality)[1])
        path.unlink()


def rotated(paths, orientation):
    """Stores pictures turned, with EXIF that says how to show them upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for path in paths:
        upright = images.read_image(path)
        turned = np.ascontiguousarray(_TURNED[orientation](upright))
        Image.fromarray(turned).save(path, exif=exif)
        np.testing.assert_array_equal(images.read_image(path), upright)


def leak(folder, count):
    """Copies the first pictures of val, with their masks, into train."""
    for path in pictures(folder, "val")[:count]:
        name = f"again_{path.name}"
        shutil.copy(path, folder / "images" / "train" / name)
        mask = folder / "masks" / "val" / path.name
        shutil.copy(mask, folder / "masks" / "train" / name)


def add_void(folder):
    """Adds a pair whose mask says nothing."""
    image = images.read_image(pictures(folder, "train")[0])[::-1]
    trees.save(folder / "images/train/unseen.png", image)
    trees.save(folder / "masks/train/unseen.png", np.full(image.shape[:2], VOID, "u1"))


def add_alone(folder):
    """Adds a picture without a mask, and a mask without a picture."""
    image = images.read_image(pictures(folder, "train")[0])[:, ::-1]
    trees.save(folder / "images/train/alone.png", image)
    trees.save(folder / "masks/val/orphan.png", np.zeros(image.shape[:2], np.uint8))


def contents(records_dir):
    """Name, pixels and label of every record, by split."""
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


def check_equal(records_dir, wanted_dir):
    """Compares two folders of records, pixel by pixel."""
    found, wanted = contents(records_dir), contents(wanted_dir)
    assert {s: list(each) for s, each in found.items()} == {
        s: list(each) for s, each in wanted.items()
    }
    for split, examples in wanted.items():
        for name, (image, label) in examples.items():
            np.testing.assert_array_equal(found[split][name][0], image, name)
            np.testing.assert_array_equal(found[split][name][1], label, name)
