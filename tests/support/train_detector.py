"""A small training run of Mask R-CNN in its own process, for tests that stop it.

python -m tests.support.train_detector RECORDS WORKDIR DEVICES CHANGES

CHANGES is a JSON object of changes of the recipe. Prints the lines of `train_tiny`, and
the number of replicas, whose weights must be equal after each step.
"""

import json
import sys

import keras
import numpy as np

from kerasseg import models, training
from kerasseg.pipeline import augment
from tests.support import train_tiny

RECIPE = {
    "training_number_of_steps": 6,
    "train_batch_size": 2,
    "train_proposals": 60,
    "rois_per_image": 16,
    "base_learning_rate": 0.01,
    "save_interval_steps": 2,
    "eval_interval_steps": 3,
    "eval_limit": 2,
    "ema_decay": 0.9,
}


class CompareReplicas(keras.callbacks.Callback):
    """Checks that the weights of all replicas are equal."""

    def __init__(self, strategy):
        super().__init__()
        self._strategy = strategy

    def on_train_batch_end(self, batch, logs=None):
        """Compares all weights after a step."""
        del batch, logs
        counts = set()
        for weight in self.model.weights:
            values = self._strategy.experimental_local_results(weight.value)
            counts.add(len(values))
            for value in values[1:]:
                np.testing.assert_array_equal(value, values[0], err_msg=weight.path)
        (count,) = counts
        print(f"equal replicas: {count}", flush=True)


def main(records_dir, workdir, devices, changes):
    """Trains on some devices of this process."""
    strategy = train_tiny.strategy_of(int(devices))
    options = {**models.metadata("mask_rcnn").test_options, "num_detections": 5}
    train_tiny.run(
        training.Builder("mask_rcnn", options),
        training.Data(records_dir=records_dir),
        training.Recipe(**{**RECIPE, **json.loads(changes)}),
        augment.Augmentation(crop_size=(96, 96), min_scale_factor=0.5),
        workdir=workdir,
        strategy=strategy,
        callbacks=[CompareReplicas(strategy)],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
