"""Compiled models that were saved on TensorFlow, on JAX, in a separate process.

KERAS_BACKEND=jax python -m tests.support.compiled_on_jax FOLDER

FOLDER contains models, `NAME.keras`, and `data.npz`, the arguments of `evaluate`. A
report is written for each model, `NAME.json`.
"""

import json
import pathlib
import sys

import keras
import numpy as np

from kerasseg import losses, metrics


def main(folder):
    """Evaluates and trains all models of the folder."""
    folder = pathlib.Path(folder)
    data = dict(np.load(folder / "data.npz"))
    for path in sorted(folder.glob("*.keras")):
        model = keras.models.load_model(path)
        report = model.evaluate(**data, verbose=0, return_dict=True)
        for jit_compile in (False, True):
            model.compile(
                keras.optimizers.Adam(0.1),
                type(model.loss)(),
                metrics=[metrics.MeanIoU(3)],
                jit_compile=jit_compile,
            )
            history = model.fit(**data, epochs=4, verbose=0).history
            report[f"fit_{jit_compile}"] = history["loss"]
        path.with_suffix(".json").write_text(json.dumps(report))


if __name__ == "__main__":
    if keras.backend.backend() != "jax" or not losses.CLASSES:
        sys.exit("This needs KERAS_BACKEND=jax.")
    main(sys.argv[1])
