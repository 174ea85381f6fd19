"""A tiny run that also learns from images without labels, in its own process.

python -m tests.support.train_few_labels RECORDS WORKDIR METHOD DEVICES

Prints the lines of `train_tiny`.
"""

import sys

from kerasseg import training
from kerasseg.pipeline import augment
from tests.support import tiny, train_tiny


def main(records_dir, workdir, method, devices):
    """Trains 12 steps, and saves at steps 5 and 10."""
    strategy = train_tiny.strategy_of(devices)
    train_tiny.run(
        tiny.Builder({"dropout": 0.0}),
        training.Data(records_dir=records_dir),
        training.Recipe(
            training_number_of_steps=12,
            train_batch_size=4,
            base_learning_rate=0.05,
            save_interval_steps=5,
            eval_interval_steps=6,
            ema_decay=0.9,
        ),
        augment.Augmentation(crop_size=(40, 40)),
        workdir=workdir,
        strategy=strategy,
        few_labels=training.FewLabels(
            semi=method,
            min_confidence=0.4,
            self_taught_start_step=2,
            generator_filters=16,
        ),
    )


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
