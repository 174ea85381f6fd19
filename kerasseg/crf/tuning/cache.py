"""Pictures and their likely classes in files, for processes that refine them often."""

import os

import numpy as np

from kerasseg.crf import dense
from kerasseg.crf.pruning import PrunedImage


def keep(file, picture: PrunedImage, label) -> None:
    """Writes what `read` and `read_label` read.

    Args:
        file: Open for bytes.
        picture: Its probabilities are kept as float16: from 1e-5 to 1, that changes
            their logarithms by 0.003 at most.
        label: Class numbers, uint8 `[height, width]`.
    """
    np.savez(
        file,
        image=picture.image,
        label=label,
        probabilities=picture.probabilities.astype(np.float16),
        numbers=picture.numbers,
        num_classes=picture.num_classes,
    )


def read(path: str | os.PathLike) -> PrunedImage:
    """Reads a picture that was kept."""
    with np.load(path) as kept:
        return PrunedImage(
            kept["image"],
            kept["probabilities"].astype(np.float32),
            kept["numbers"],
            int(kept["num_classes"]),
        )


def read_label(path: str | os.PathLike) -> np.ndarray:
    """Reads the class numbers of a picture that was kept."""
    with np.load(path) as kept:
        return kept["label"]


def refined_classes_each(path, bilateral_compats, settings) -> list[np.ndarray]:
    """Refines a picture that was kept; see `crf.refined_classes_each`."""
    return dense.refined_classes_each(read(path), bilateral_compats, **settings)
