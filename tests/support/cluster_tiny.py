"""A tiny training run of several workers, each in its own process.

python -m tests.support.cluster_tiny RECORDS WORKDIR STEPS [FAULT]

TF_CONFIG tells which worker this is. With FAULT "raise:STEP" worker 1 fails after a
step; with "slow" each save of the chief takes seconds.
"""

import sys
import time

import keras

from kerasseg import distribution
from kerasseg.workdir import checkpoints
from tests.support import train_tiny


def main(records_dir, workdir, steps, fault=""):
    """Trains; prints the lines of `train_tiny`."""
    try:
        strategy = distribution.strategy("multi_worker", cluster_timeout=20)
    except distribution.WorkerLostError as lost:
        print(lost, flush=True)
        sys.exit(1)
    callbacks = []
    chief = distribution.WorkerGroup(strategy).is_chief
    if fault == "slow" and chief:
        save_slowly()
    elif fault.startswith("raise") and not chief:
        callbacks = [FailAt(int(fault.partition(":")[2]))]
    train_tiny.train(
        records_dir, workdir, int(steps), strategy, dropout=0.0, callbacks=callbacks
    )


class FailAt(keras.callbacks.Callback):
    """Raises an error after a step."""

    def __init__(self, step):
        super().__init__()
        self._step = step

    def on_train_batch_end(self, batch, logs=None):  # noqa: ARG002
        if batch + 1 == self._step:
            raise ValueError("Image 7 of this worker is odd.")


def save_slowly():
    """Makes each checkpoint take seconds."""
    save = checkpoints.Checkpoints.save

    def wait(self, step):
        time.sleep(5)
        save(self, step)

    checkpoints.Checkpoints.save = wait


if __name__ == "__main__":
    main(*sys.argv[1:])
