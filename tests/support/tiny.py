"""Small records and small models for several tests."""

import dataclasses
import pathlib

import cv2
import keras
import numpy as np
from keras import layers

from kerasseg import blocks, datasets, images, records

SPEC = datasets.DatasetSpec(
    name="stripes",
    source="tests.support.tiny",
    num_images={},
    classes={"left": (0, 0, 0), "middle": (255, 0, 0), "right": (0, 0, 255)},
)


def image_and_label(seed, height=40, width=48):
    """Draws a noisy vertical stripe for each class, and some ignored pixels."""
    rng = np.random.default_rng(seed)
    first, second = np.sort(rng.integers(4, width - 4, 2))
    label = np.zeros((height, width), np.uint8)
    label[:, first:second] = 1
    label[:, second:] = 2
    colors = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])
    image = colors[label] + rng.integers(-30, 30, (height, width, 3))
    label[:3, :5] = 255
    return image.astype(np.uint8), label


def png(image):
    """Encodes an RGB image as PNG."""
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def example(image, label, name, **more):
    """Encodes one record."""
    return records.encode_example(
        image=png(image),
        label=images.encode_label(label),
        name=name,
        image_format="png",
        height=image.shape[0],
        width=image.shape[1],
        **more,
    )


def write_records(
    folder, *, train=12, val=5, shards=2, spec=SPEC, size=(40, 48), tags=False
):
    """Writes a folder of records, with image-level classes if `tags`; returns it."""
    images = {
        split: [image_and_label(1000 * start + i, *size) for i in range(count)]
        for start, (split, count) in enumerate({"train": train, "val": val}.items())
    }
    return write_images(folder, images, shards=shards, spec=spec, tags=tags)


def write_images(folder, images, *, shards=1, spec=SPEC, tags=False):
    """Writes records of pairs of image and label by split; returns the folder."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split, pairs in images.items():
        serialized = [
            example(*pair, f"{split}{i}.png", present_classes=_present(pair, tags))
            for i, pair in enumerate(pairs)
        ]
        splits[split] = [
            records.write_shard(
                folder / records.shard_name(split, i, shards), serialized[i::shards]
            )
            for i in range(shards)
        ]
    records.write_info(folder, records.DatasetInfo(spec, splits))
    return folder


def _present(pair, tags):
    return np.setdiff1d(pair[1], 255) if tags else None


@dataclasses.dataclass(frozen=True)
class Builder:
    """Builds a tiny network: one convolution, batch norm, a classifier.

    Attributes:
        options: `norm=False` leaves batch norm out; `aux=True` adds an output at half
            the size; `features=True` normalizes by statistics of the data; `dropout`.
        name: Name of the model.
        encoder_layers: As of `training.Builder`.
    """

    options: dict = dataclasses.field(default_factory=dict)
    name: str = "tiny"
    encoder_layers: frozenset = frozenset({"encoder"})

    def __call__(self, num_classes):
        return build_model(self.name, num_classes, **self.options)


def build_model(name, num_classes, **options):
    """Builds the network of `Builder`."""
    image = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 127.5, -1.0, name="scale")(image)
    if options.get("features"):
        x = blocks.NormalizeFeatures(name="features")(x)
    x = layers.Conv2D(6, 3, padding="same", name="encoder")(x)
    if options.get("norm", True):
        x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.Dropout(options.get("dropout", 0.0), name="dropout")(x)
    logits = layers.Conv2D(num_classes, 1, name="classify", dtype="float32")(x)
    outputs = logits
    if options.get("aux"):
        small = layers.AveragePooling2D(2, name="half")(x)
        small = layers.Conv2D(num_classes, 1, name="aux", dtype="float32")(small)
        outputs = {"logits": logits, "aux_half": small}
    return keras.Model(image, outputs, name=name)
