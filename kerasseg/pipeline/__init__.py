"""Records to batches: read at random, decoded, augmented in one warp, batched.

The order and the augmentation of a picture are functions of (seed, epoch, position)
alone, so that a run starts again at any step without a state of its own, and skips
before anything is read.
"""

from kerasseg.pipeline.batches import (
    InputShard,
    equal_size_batches,
    evaluation_dataset,
    repeated,
    training_dataset,
)
from kerasseg.pipeline.reading import ImageReader, check_label

__all__ = [
    "ImageReader",
    "InputShard",
    "check_label",
    "equal_size_batches",
    "evaluation_dataset",
    "repeated",
    "training_dataset",
]
