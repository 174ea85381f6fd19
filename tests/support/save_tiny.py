"""Saves of a tiny run in their own process, for tests that kill it.

python -m tests.support.save_tiny checkpoint|again|best FOLDER

Writes the steps after the newest one in the folder; every variable holds its step.
"again" writes step 5 again, with other values than before.
"""

import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from kerasseg.workdir import best_model, checkpoints, layout, metadata


def variables():
    """Creates the variables of a checkpoint; each holds the step of the save."""
    return {name: tf.Variable(np.zeros(3000, np.float32)) for name in ("one", "two")}


def model():
    """Builds a model whose only weight is the step of the save."""
    image = keras.Input((None, None, 3))
    kernel = keras.layers.Conv2D(1, 1, use_bias=False, name="step")
    return keras.Model(image, kernel(image))


def main(kind, folder):
    """Saves three checkpoints, or step 5 again, or one best model."""
    if kind == "again":
        state = variables()
        saver = checkpoints.Checkpoints(folder, state)
        saver.restore()
        for variable in state.values():
            variable.assign_add(tf.ones([3000]))
        saver.save(5)
        return
    if kind == "checkpoint":
        state = variables()
        saver = checkpoints.Checkpoints(folder, state)
        newest = saver.restore() or 0
        for step in range(newest + 1, newest + 4):
            for variable in state.values():
                variable.assign(tf.fill([3000], float(step)))
            saver.save(step)
        return
    step = 1
    if (pathlib.Path(folder) / layout.BEST_METADATA).exists():
        step = metadata.read_metadata(folder)["step"] + 1
    best = model()
    best.get_layer("step").kernel.assign(np.full((1, 1, 3, 1), step))
    facts = {"model": "tiny", "num_classes": 1, "options": {}, "step": step}
    best_model.save_best(folder, best, facts)


if __name__ == "__main__":
    main(*sys.argv[1:])
