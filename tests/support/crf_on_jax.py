"""The CRFs on JAX, in a separate process.

KERAS_BACKEND=jax python -m tests.support.crf_on_jax FOLDER

FOLDER holds given.npz, which test_crf_on_jax.py writes; found.npz is written there.
"""

import pathlib
import sys

import jax
import keras
import numpy as np
from keras import ops

from kerasseg import blocks, crf, losses, models

LAYER = {"bilateral_sxy": 20.0, "bilateral_srgb": 20.0}


def layer(given, **settings):
    """Builds a CRF-RNN layer with the given matrices."""
    built = blocks.CrfRnn(2, **LAYER, **settings)
    built.build([(None, None, None, 3), given["logits"].shape])
    for variable in built.weights:
        variable.assign(given[variable.path.split("/")[1]])
    return built


def slopes(given):
    """Computes the gradients of the logits and matrices, in a compiled function."""
    built = layer(given)

    @jax.jit
    def loss(weights, logits):
        inputs = [ops.array(given["images"]), logits]
        refined, _ = built.stateless_call(weights, [], inputs, training=True)
        return ops.sum(refined * given["upstream"])

    weights = [v.value for v in built.trainable_variables]
    matrices, logits = jax.grad(loss, argnums=(0, 1))(weights, given["logits"])
    return {"slope_logits": logits} | {
        f"slope_{v.path.split('/')[1]}": slope
        for v, slope in zip(built.trainable_variables, matrices, strict=True)
    }


def fit(given):
    """Fits an architecture with a CRF; returns the first and the last loss."""
    options = models.metadata("unet").test_options
    model = models.build_model("unet", 3, crf_iterations=1, **options)

    def mean(labels, logits):
        return losses.mean(*losses.crossentropy(ops.cast(labels, "int32"), logits))

    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=mean)
    label = given["logits"].argmax(-1)
    history = model.fit(given["images"], label, epochs=5, verbose=0).history["loss"]
    return history[0], history[-1]


def main(folder):
    """Computes the results to compare."""
    given = dict(np.load(pathlib.Path(folder, "given.npz")))
    inputs = [given["images"], given["logits"]]
    results = {
        "refined": crf.dense_crf(
            given["image"], given["probabilities"], engine="keras"
        ),
        "at_test": layer(given)(inputs),
        "in_training": layer(given)(inputs, training=True),
        "fit": fit(given),
        **slopes(given),
    }
    np.savez(pathlib.Path(folder, "found.npz"), **results)


if __name__ == "__main__":
    if keras.backend.backend() != "jax" or "tensorflow" in sys.modules:
        sys.exit("Run this with KERAS_BACKEND=jax. It must not import TensorFlow.")
    main(sys.argv[1])
