"""Architectures and losses on JAX, as a process of its own.

KERAS_BACKEND=jax python -m tests.on_jax FOLDER

FOLDER holds what TensorFlow makes of each, `model.NAME.npz` and `loss.NAME.npz`
(test_backends.py writes them); beside each file goes a report, `model.NAME.json`.
"""

import json
import pathlib
import sys
import traceback

import keras
import numpy as np
from keras import initializers, ops

from kerasseg import losses, models

NUM_CLASSES = 5
SIZES = {"odd": (33, 47), "known": (64, 48)}  # The first is told to no model.
EPOCHS = 8
_learned: dict = {}


def draw_no_weights():
    """Spares a compilation for each shape: TensorFlow's weights take their place."""

    def zeros(self, shape, dtype=None, **_):
        del self
        return np.zeros(shape, dtype or "float32")

    for cls in (
        *(initializers.RandomNormal, initializers.RandomUniform),
        *(initializers.TruncatedNormal, initializers.VarianceScaling),
    ):
        cls.__call__ = zeros


def build(name, kind):
    """Builds the small variant of an architecture, for one of `SIZES`."""
    size = (None, None) if kind == "odd" else SIZES[kind]
    options = models.metadata(name).test_options
    return models.build_model(name, NUM_CLASSES, image_size=size, **options)


def pictures(height, width):
    """Draws two pictures of upright bands, brighter from class to class."""
    random = np.random.default_rng(0)
    label = np.sort(random.integers(0, NUM_CLASSES, (2, 1, width)), axis=-1)
    label = np.repeat(label, height, axis=1)
    noise = random.uniform(-20, 20, (2, height, width, 3))
    image = label[..., None] * 50 + 25 + noise
    label[:, :3, :5] = 255
    return image.astype("float32"), label.astype("uint8")


def fit(model, loss):
    """Trains on the same two pictures again and again; returns the losses.

    The first is that of the start, the last the mean of some, as dropout makes noise.
    """

    def mean(labels, logits):  # Keras hands labels over as floats.
        return losses.mean(*loss(ops.cast(labels, "int32"), logits))

    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=mean)
    image, label = pictures(*SIZES["known"])
    values = model.fit(image, label, epochs=EPOCHS, verbose=0).history["loss"]
    return values[0], sum(values[-3:]) / 3


def try_model(name, given):
    """Compares the logits with TensorFlow's, then trains if that is asked for."""
    report = {}
    for kind in SIZES:
        model = build(name, kind)
        for variable in model.weights:
            variable.assign(given[f"weights/{variable.path}"])
        logits = model.predict(given[f"{kind}/image"], verbose=0)
        wanted = given[f"{kind}/logits"]
        spread = np.ptp(wanted, axis=(0, 1, 2)).max()  # A bias alone is no proof.
        report[kind] = float(np.abs(logits - wanted).max() / spread)
    if not given["learns"]:
        return report
    # Variants of a family may be the same network at their test options.
    key = tuple((v.path, v.shape) for v in model.weights)
    if key not in _learned:
        _learned[key] = fit(model, losses.crossentropy)
    report["fit"] = _learned[key]
    return report


def try_loss(name, given):
    """Compares value and gradient with TensorFlow's, then trains a small network."""
    import jax

    loss = losses.get(name)
    labels = ops.convert_to_tensor(given["labels"])
    (total, count), slope = jax.value_and_grad(
        lambda logits: loss(labels, logits), has_aux=True
    )(given["logits"])
    image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(image)
    model = keras.Model(image, keras.layers.Conv2D(NUM_CLASSES, 3, padding="same")(x))
    return {
        "sums": [float(total), float(count)],
        "slope": np.asarray(slope).tolist(),
        "fit": fit(model, loss),
    }


def main(folder):
    """Tries everything that the folder holds; an error is a report too."""
    draw_no_weights()
    for path in sorted(pathlib.Path(folder).glob("*.npz")):
        kind, name = path.stem.split(".")
        try:
            given = np.load(path)
            report = {"model": try_model, "loss": try_loss}[kind](name, given)
        except Exception:
            report = {"error": traceback.format_exc()}
        path.with_suffix(".json").write_text(json.dumps(report))


if __name__ == "__main__":
    if keras.backend.backend() != "jax" or "tensorflow" in sys.modules:
        sys.exit(
            "This needs KERAS_BACKEND=jax, and no TensorFlow that our code starts."
        )
    main(sys.argv[1])
