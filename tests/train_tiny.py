"""One tiny training run as a process of its own, for tests that kill it.

python -m tests.train_tiny RECORDS WORKDIR STEPS DEVICES DROPOUT

Prints "step N" after each update, and the digest of all weights at the end.
"""

import hashlib
import sys

import numpy as np
import tensorflow as tf

from kerasseg import distribution, models, training
from kerasseg.pipeline import augment
from kerasseg.training import loop
from tests import tiny


def main(records_dir, workdir, steps, devices, dropout):
    """Trains on so many devices of one process."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * devices,
    )
    strategy = distribution.strategy("mirrored" if devices > 1 else "one")
    train(records_dir, workdir, steps, strategy, dropout)


def train(records_dir, workdir, steps, strategy, dropout):
    """Trains; the model and what is printed stand in for the real ones."""
    models.build_model = tiny.build_model
    check = loop.Loop._check

    def say_step(self, step, *others):
        check(self, step, *others)
        print(f"step {step} loss {self.loss:.9f}", flush=True)

    loop.Loop._check = say_step
    recipe = training.Recipe(
        num_steps=steps,
        batch_size=4,
        base_learning_rate=0.05,
        save_interval_steps=5,
        eval_interval_steps=10,
        ema_decay=0.9,
        loss="crossentropy:1,dice:0.5,lovasz_softmax:0.5",
    )
    options = {"dropout": dropout, "aux": True, "features": True}
    network = training.Network(name="tiny", options=options)
    try:
        facts = training.train(
            network,
            training.Data(records_dir=records_dir),
            recipe,
            augment.Augmentation(crop_size=(24, 24)),
            workdir=workdir,
            strategy=strategy,
        )
    except training.Interrupted as interrupted:
        print(interrupted, flush=True)
        sys.exit(interrupted.status)
    except distribution.WorkerLostError as lost:
        print(lost, flush=True)
        sys.exit(1)
    if facts is None:  # A worker that does not write.
        return
    reader = tf.train.load_checkpoint(f"{workdir}/checkpoints/ckpt-{steps}")
    names = sorted(reader.get_variable_to_shape_map())
    values = [reader.get_tensor(name) for name in names if "OBJECT" not in name]
    digest = hashlib.sha256()
    for value in values:
        digest.update(np.asarray(value).tobytes())
    print("digest", digest.hexdigest(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
