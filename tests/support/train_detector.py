"""A small training run of Mask R-CNN in its own process, for tests that stop it.

python -m tests.support.train_detector RECORDS WORKDIR DEVICES CHANGES

CHANGES is a JSON object of changes of the recipe. Prints the lines of `train_tiny`, and
after each step the number of replicas, whose weights must be equal, and the number of
weights that have changed since the step before.
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


class CompareWeights(keras.callbacks.Callback):
    """Compares all weights between replicas, and with those of the step before."""

    def __init__(self, strategy):
        super().__init__()
        self._strategy = strategy
        self._before = []

    def on_train_begin(self, logs=None):
        """Keeps the weights of the start."""
        del logs
        self._before = self.model.get_weights()

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
        weights = self.model.get_weights()
        pairs = zip(weights, self._before, strict=True)
        changed = sum(bool(np.any(new != old)) for new, old in pairs)
        self._before = weights
        print(f"equal replicas: {count}, changed weights: {changed}", flush=True)


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
        callbacks=[CompareWeights(strategy)],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
