"""Architectures and losses on JAX, in a separate process.

KERAS_BACKEND=jax python -m tests.support.on_jax FOLDER

FOLDER contains the outputs on TensorFlow, `model.NAME.npz` and `loss.NAME.npz`, which
test_backends.py writes. A report is written for each, `model.NAME.json`.
"""

import json
import pathlib
import sys
import traceback

import keras
import numpy as np
from keras import ops

from kerasseg import losses, models
from tests.support import initializers

NUM_CLASSES = 5
SIZES = {"odd": (33, 47), "known": (64, 48)}  # "odd" is not static in the model.
EPOCHS = 8
_fits: dict = {}


def build(name, kind):
    """Builds a model with its test options for one of `SIZES`."""
    size = (None, None) if kind == "odd" else SIZES[kind]
    options = models.metadata(name).test_options
    return models.build_model(name, NUM_CLASSES, image_size=size, **options)


def samples(height, width):
    """Returns two images of vertical bands, brighter for higher classes, and labels."""
    random = np.random.default_rng(0)
    label = np.sort(random.integers(0, NUM_CLASSES, (2, 1, width)), axis=-1)
    label = np.repeat(label, height, axis=1)
    noise = random.uniform(-20, 20, (2, height, width, 3))
    image = label[..., None] * 50 + 25 + noise
    label[:, :3, :5] = 255
    return image.astype("float32"), label.astype("uint8")


def fit(model, loss):
    """Trains on the same two images; returns the loss of the first and last epochs.

    The latter is a mean over three epochs, because of dropout.
    """
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss)
    image, label = samples(*SIZES["known"])
    values = model.fit(image, label, epochs=EPOCHS, verbose=0).history["loss"]
    return values[0], sum(values[-3:]) / 3


def try_model(name, given):
    """Compares the logits with those of TensorFlow, then trains."""
    report = {}
    for kind in SIZES:
        model = build(name, kind)
        for variable in model.weights:
            variable.assign(given[f"weights/{variable.path}"])
        logits = model.predict(given[f"{kind}/image"], verbose=0)
        expected = given[f"{kind}/logits"]
        spread = np.ptp(
            expected, axis=(0, 1, 2)
        ).max()  # Relative to the range of each class.
        report[kind] = float(np.abs(logits - expected).max() / spread)
    # Variants of a family can be the same network with their test options.
    key = tuple((v.path, v.shape) for v in model.weights)
    if key not in _fits:
        _fits[key] = fit(model, losses.CrossEntropy())
    report["fit"] = _fits[key]
    return report


def try_loss(name, given):
    """Compares value and gradient with TensorFlow, then trains a small network."""
    import jax

    loss = losses.get(name)
    labels = ops.convert_to_tensor(given["labels"])
    (total, count), gradient = jax.value_and_grad(
        lambda logits: loss(labels, logits), has_aux=True
    )(given["logits"])
    image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(image)
    model = keras.Model(image, keras.layers.Conv2D(NUM_CLASSES, 3, padding="same")(x))
    return {
        "sums": [float(total), float(count)],
        "gradient": np.asarray(gradient).tolist(),
        "fit": fit(model, losses.class_of(name)()),
    }


def main(folder):
    """Checks all files of the folder; errors are reported too."""
    for path in sorted(pathlib.Path(folder).glob("*.npz")):
        kind, name = path.stem.split(".")
        try:
            given = np.load(path)
            with initializers.zeros():
                report = {"model": try_model, "loss": try_loss}[kind](name, given)
        except Exception:
            report = {"error": traceback.format_exc()}
        path.with_suffix(".json").write_text(json.dumps(report))


if __name__ == "__main__":
    if keras.backend.backend() != "jax" or "tensorflow" in sys.modules:
        sys.exit(
            "This needs KERAS_BACKEND=jax, and kerasseg must not import TensorFlow."
        )
    main(sys.argv[1])
