"""Runs on JAX what a test has written: detectors with their weights and an image."""

import pathlib
import sys

import keras
import numpy as np

from kerasseg import models

SIZE = (65, 97)


def build(name):
    """Builds the small model of an architecture; JAX needs a known size."""
    options = models.metadata(name).test_options
    return models.build_model(name, 3, image_size=SIZE, **options)


def main(folder):
    """Writes the detections of each file NAME.npz as NAME.jax.npz."""
    assert keras.backend.backend() == "jax"
    for path in sorted(pathlib.Path(folder).glob("*.npz")):
        values = np.load(path)
        model = build(path.stem)
        model.set_weights([values[f"arr_{i}"] for i in range(len(model.weights))])
        found = model.predict(values["image"], verbose=0)
        arrays = {key: np.asarray(value) for key, value in found.items()}
        np.savez(path.with_suffix(".jax.npz"), **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
