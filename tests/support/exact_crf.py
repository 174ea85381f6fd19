"""Dense CRF computed over all pairs of pixels, and images to test it with."""

import cv2
import numpy as np

from tests.support import trees

# Worked by hand: one row of three gray pixels, two classes. With bilateral standard
# deviations 50 and 5, the kernel of the first two pixels is 0.786471, that of the third
# and any other 0.
ROW = np.array([[[10] * 3, [12] * 3, [200] * 3]], np.uint8)
CHANCES = np.array([[[0.6, 0.4], [0.45, 0.55], [0.1, 0.9]]], np.float32)


def mean_field(
    image,
    probabilities,
    *,
    iterations=10,
    gaussian_sxy=3,
    gaussian_compat=3,
    bilateral_sxy=60,
    bilateral_srgb=20,
    bilateral_compat=10,
    symmetric=True,
):
    """Runs mean-field inference; `symmetric=False` normalizes kernels by row sums."""
    unary = np.log(np.clip(probabilities, 1e-5, 1)).reshape(-1, probabilities.shape[-1])
    spatial, bilateral = kernels(image, gaussian_sxy, bilateral_sxy, bilateral_srgb)
    messages = gaussian_compat * normalized(spatial, symmetric)
    messages += bilateral_compat * normalized(bilateral, symmetric)
    result = softmax(unary)
    for _ in range(iterations):
        result = softmax(unary + messages @ result)
    return result.reshape(probabilities.shape)


def kernels(image, gaussian_sxy, bilateral_sxy, bilateral_srgb):
    """Returns the spatial and bilateral kernel, `[pixels, pixels]` each."""
    positions = np.indices(image.shape[:2]).reshape(2, -1).T.astype(float)
    colors = image.reshape(-1, 3) / bilateral_srgb
    bilateral = np.concatenate([positions / bilateral_sxy, colors], axis=1)
    return gauss(positions / gaussian_sxy), gauss(bilateral)


def gauss(features):
    """Returns exp(-distance**2 / 2) of each pair of rows."""
    squares = np.square(features[:, None] - features[None]).sum(axis=-1)
    return np.exp(-squares / 2)


def normalized(kernel, symmetric):
    """Divides by the row sums, or by the square roots of both pixels' sums."""
    sums = kernel.sum(axis=1)
    if symmetric:
        return kernel / np.sqrt(sums[:, None] * sums)
    return kernel / sums[:, None]


def softmax(logits):
    """Returns the softmax over the last axis."""
    values = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return values / values.sum(axis=-1, keepdims=True)


def drawn(seed, height, width, num_classes, scale=6.0):
    """Returns a random image with soft borders, and noisy probabilities for it."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(height, width, num_classes))
    noise = cv2.GaussianBlur(noise, (0, 0), 3).reshape(noise.shape)
    logits = scale * noise / noise.std()
    colors = rng.integers(0, 256, (num_classes, 3))
    image = softmax(logits) @ colors
    probabilities = softmax(logits + rng.normal(size=noise.shape))
    return image.astype(np.uint8), probabilities.astype(np.float32)


def published(number):
    """Returns data of an example of pydensecrf; skips the test if it is missing.

    Returns:
        uint8 RGB image; float64 probabilities; class numbers computed by the authors'
        code.
    """
    folder = trees.real("crf")
    image, strokes, mask = (
        cv2.cvtColor(cv2.imread(str(folder / f"{name}{number}.png")), cv2.COLOR_BGR2RGB)
        for name in ("im", "anno", "out")
    )
    colors = np.unique(mask.reshape(-1, 3), axis=0)
    # As in the example: probability 0.7 at strokes, equal ones where it is black.
    hits = (strokes[:, :, None] == colors).all(axis=-1)
    probabilities = np.where(hits, 0.7, 0.3 / (len(colors) - 1))
    probabilities[~hits.any(axis=-1)] = 1 / len(colors)
    classes = (mask[:, :, None] == colors).all(axis=-1).argmax(axis=-1)
    return image, probabilities, classes
