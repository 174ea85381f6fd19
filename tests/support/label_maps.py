"""Small random labels and predictions for tests, with blobs and ignored pixels."""

import numpy as np

VOID = 255


def random_pair(seed, *, height, width, num_classes=4, blob=1, void=0.15):
    """Returns a random label and a prediction that is mostly correct."""
    random = np.random.default_rng(seed)
    cells = -(-height // blob), -(-width // blob)

    def blobs(values):
        grown = np.kron(values, np.ones((blob, blob), values.dtype))
        return grown[:height, :width]

    label = blobs(random.integers(0, num_classes, cells))
    prediction = np.where(
        blobs(random.uniform(size=cells)) < 0.7,
        np.roll(label, random.integers(-1, 2, 2), (0, 1)),
        random.integers(0, num_classes, label.shape),
    )
    label = np.where(blobs(random.uniform(size=cells)) < void, VOID, label)
    return label.astype("uint8"), prediction.astype("int32")


def windows(regions, reach, outside):
    """Returns the squares of side 2 * reach + 1 around every pixel.

    Returns:
        `[height, width, side, side]`.
    """
    padded = np.pad(np.asarray(regions, int), reach, constant_values=outside)
    side = 2 * reach + 1
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side))
