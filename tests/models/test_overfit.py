"""Every architecture overfits four images, which fails if a branch is broken.

With KERASSEG_CAMVID=DIR the images are the first of CamVid's train split, as the
SegNet tutorial has them; without it drawn ones.
"""

import os
import pathlib
import time

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import datasets, losses, metrics, models
from tfrecords_tools.converters import shapes

HEIGHT, WIDTH, COUNT = 120, 160, 4
SECONDS = 2 * 600  # Of one core: ten minutes of two, whatever else they do.

# These only repeat layers of a smaller model of their family. Models with other
# connections are tested: the strides of FCN, SegNet-Basic, the cascade.
REPEATING = {
    *(f"segformer_b{i}" for i in range(1, 6)),
    *("fc_densenet67", "fc_densenet103"),
}
NAMES = [name for name in models.list_models("semantic") if name not in REPEATING]

# Stride of the scores of models without full-size ones: scores that are resized
# bilinearly cannot fit a pole. A new architecture is expected to fit at full size.
SCORE_STRIDES = {
    **dict.fromkeys(("deeplab_v3_plus", "fpn", "hrnet_ocr", "refinenet"), 4),
    **dict.fromkeys(("decoupled_net_small", "upernet", "zoomout"), 4),
    **{
        name: 4
        for name in models.list_models("semantic")
        if name.startswith("segformer")
    },
    **dict.fromkeys(("bisenet_v2", "deeplab_v1", "deeplab_v2", "fcn_8s", "pspnet"), 8),
    **dict.fromkeys(("deeplab_v3", "deeplab_v3_cascade", "fcn_16s"), 16),
    **dict.fromkeys(("fcn_32s", "fcn_32s_alexnet", "fcn_32s_googlenet"), 32),
}
# Mean IoU of scores at such a stride that are fitted directly to the four images of
# CamVid by 400 steps of Adam; 0.95 of it is expected.
REACHABLE = {1: 1.0, 4: 0.918, 8: 0.862, 16: 0.780, 32: 0.599}

assert not {*REPEATING, *SCORE_STRIDES} - {*models.list_models("semantic")}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * SECONDS)]


def camvid(folder):
    for path in sorted((pathlib.Path(folder) / "train").glob("*.png"))[:COUNT]:
        label = cv2.imread(str(folder / "trainannot" / path.name), cv2.IMREAD_UNCHANGED)
        yield cv2.imread(str(path))[..., ::-1], np.where(label == 11, 255, label)


@pytest.fixture(scope="module")
def samples():
    """Returns images, labels and the number of classes."""
    folder = os.environ.get("KERASSEG_CAMVID")
    name = "camvid" if folder else "shapes"
    found = camvid(pathlib.Path(folder)) if folder else drawn()
    size = WIDTH, HEIGHT
    pairs = [
        (cv2.resize(x, size), cv2.resize(y, size, interpolation=cv2.INTER_NEAREST))
        for x, y in found
    ]
    images, labels = (np.stack(part) for part in zip(*pairs, strict=True))
    return images.astype("float32"), labels, datasets.get(name).num_classes


def drawn():
    for number in range(COUNT):
        image, label, _ = shapes.draw((0, number))
        yield image, label


def score(model, images, labels, num_classes):
    """Returns the mean IoU of the four images, predicted one at a time."""
    confusion = np.zeros((num_classes, num_classes), "int64")
    for image, label in zip(images, labels, strict=True):
        found = metrics.class_numbers(model(image[None], training=False))
        confusion += np.asarray(
            metrics.confusion_matrix(label[None], found, num_classes)
        )
    names = [str(i) for i in range(num_classes)]
    return metrics.scores(confusion, names)["mean_iou"]


@pytest.mark.parametrize("name", NAMES)
def test_the_model_overfits_four_images(name, samples):
    images, labels, num_classes = samples
    keras.utils.set_random_seed(0)
    options = models.metadata(name).test_options
    model = models.build_model(name, num_classes, image_size=(HEIGHT, WIDTH), **options)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
        elif isinstance(layer, keras.layers.Dropout):
            # Dropout prevents overfitting, and the variance of a batch norm after it is
            # that of training (FC-DenseNet).
            layer.rate = 0.0
    optimizer = keras.optimizers.Adam(2e-3, clipnorm=1.0)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = losses.mean(*losses.crossentropy(labels, logits))
        variables = model.trainable_variables
        gradients = tape.gradient(loss, [v.value for v in variables])
        optimizer.apply(gradients, variables)
        return loss

    expected = 0.95 * REACHABLE[SCORE_STRIDES.get(name, 1)]
    best, end = 0.0, time.process_time() + SECONDS
    while best < expected and time.process_time() < end:
        for _ in range(50):
            loss = step()
        best = max(best, score(model, images, labels, num_classes))
        print(f"{name}: {int(optimizer.iterations)} {float(loss):.3f} {best:.3f}")
    assert best >= expected
