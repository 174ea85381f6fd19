"""A tiny training run in its own process, for tests that kill it.

python -m tests.support.train_tiny RECORDS WORKDIR STEPS DEVICES DROPOUT

Prints "step N" after each update, and the digest of all weights at the end.
"""

import hashlib
import sys

import keras
import numpy as np
import tensorflow as tf

from kerasseg import distribution, training
from kerasseg.pipeline import augment
from tests.support import tiny


def main(records_dir, workdir, steps, devices, dropout):
    """Trains on some devices of one process."""
    train(records_dir, workdir, steps, strategy_of(devices), dropout)


def strategy_of(devices):
    """Creates the strategy of some devices of this process, which uses one core."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * devices,
    )
    return distribution.strategy("mirrored" if devices > 1 else "one")


class PrintSteps(keras.callbacks.Callback):
    """Prints each step."""

    def on_train_batch_end(self, batch, logs=None):
        print(f"step {batch + 1} loss {logs['loss']:.9f}", flush=True)


def train(records_dir, workdir, steps, strategy, dropout, callbacks=()):
    """Trains a tiny network."""
    recipe = training.Recipe(
        training_number_of_steps=steps,
        train_batch_size=4,
        base_learning_rate=0.05,
        save_interval_steps=5,
        eval_interval_steps=10,
        ema_decay=0.9,
        loss="crossentropy:1,dice:0.5,lovasz_softmax:0.5",
    )
    options = {"dropout": dropout, "aux": True, "features": True}
    run(
        tiny.Builder(options),
        training.Data(records_dir=records_dir),
        recipe,
        augment.Augmentation(crop_size=(24, 24)),
        workdir=workdir,
        strategy=strategy,
        callbacks=callbacks,
    )


def run(builder, data, recipe, augmentation, *, workdir, callbacks=(), **options):
    """Trains; prints the steps and the digest, and ends with the status of a signal."""
    try:
        facts = training.train(
            builder,
            data,
            recipe,
            augmentation,
            workdir=workdir,
            callbacks=[PrintSteps(), *callbacks],
            **options,
        )
    except training.Interrupted as interrupted:
        print(interrupted, flush=True)
        sys.exit(interrupted.status)
    except distribution.WorkerLostError as lost:
        print(lost, flush=True)
        sys.exit(1)
    if facts is None:  # A worker that does not write.
        return
    last = recipe.training_number_of_steps
    reader = tf.train.load_checkpoint(f"{workdir}/checkpoints/ckpt-{last}")
    names = sorted(reader.get_variable_to_shape_map())
    values = [reader.get_tensor(name) for name in names if "OBJECT" not in name]
    digest = hashlib.sha256()
    for value in values:
        digest.update(np.asarray(value).tobytes())
    print("digest", digest.hexdigest(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
