"""Bridging layers on JAX, with weights that a test has written.

KERAS_BACKEND=jax python -m tests.support.bridges_on_jax FOLDER
"""

import pathlib
import sys

import jax
import keras
import numpy as np
from keras import ops

from kerasseg import models
from kerasseg.models import decoupled_net

SIZE = (64, 96)


def build(name):
    """Builds the small model of an architecture for images of a known size."""
    options = models.metadata(name).test_options
    return models.build_model(name, 4, image_size=SIZE, **options)


def head(model):
    """Returns models from the image to the last feature map, and from it to scores."""
    features = keras.tree.flatten(model.get_layer("features").input)[0]
    scores = decoupled_net.parts(model).classification.output
    return keras.Model(model.input, features), keras.Model(features, scores)


def main(folder):
    """Writes the bridged map and the gradient of NAME.npz as NAME.jax.npz."""
    if keras.backend.backend() != "jax":
        sys.exit("This needs KERAS_BACKEND=jax.")
    for path in sorted(pathlib.Path(folder).glob("*.npz")):
        values = np.load(path)
        model = build(path.stem)
        model.set_weights([values[f"arr_{i}"] for i in range(len(model.weights))])
        image, classes = values["image"], values["classes"]
        encoder, classifier = head(model)
        scores, pull_back = jax.vjp(classifier, encoder(image))
        [gradient] = pull_back(ops.sigmoid(scores) * classes)
        bridged = decoupled_net.parts(model).bridge([image, classes])
        np.savez(path.with_suffix(".jax.npz"), bridged=bridged, gradient=gradient)


if __name__ == "__main__":
    main(sys.argv[1])
