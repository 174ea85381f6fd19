"""Images with the probabilities of their classes in files, for worker processes."""

import os
from collections.abc import Sequence
from typing import IO

import numpy as np

from kerasseg.crf import dense
from kerasseg.crf.pruning import PrunedImage


def write(file: IO[bytes], pruned: PrunedImage, label: np.ndarray) -> None:
    """Writes a file that `read` and `read_label` read.

    Args:
        file: Binary file, open for writing.
        pruned: Stored with float16 probabilities: from 1e-5 to 1, that changes their
            logarithms by at most 0.003.
        label: Ground truth, class numbers, uint8 `[height, width]`.
    """
    np.savez(
        file,
        image=pruned.image,
        label=label,
        probabilities=pruned.probabilities.astype(np.float16),
        numbers=pruned.numbers,
        num_classes=pruned.num_classes,
    )


def read(path: str | os.PathLike) -> PrunedImage:
    """Reads the image and probabilities of a file."""
    with np.load(path) as arrays:
        return PrunedImage(
            arrays["image"],
            arrays["probabilities"].astype(np.float32),
            arrays["numbers"],
            int(arrays["num_classes"]),
        )


def read_label(path: str | os.PathLike) -> np.ndarray:
    """Reads the ground truth of a file, uint8 `[height, width]`."""
    with np.load(path) as arrays:
        return arrays["label"]


def refined_masks(
    path: str | os.PathLike, bilateral_compats: Sequence[float], settings: dict
) -> list[np.ndarray]:
    """Calls `crf.refined_masks` on the image of a file."""
    return dense.refined_masks(read(path), bilateral_compats, **settings)
