"""The dense CRF with every pair of pixels summed up, and pictures to try it on."""

import cv2
import numpy as np

from tests import trees

# Worked by hand: one row of three grey pixels, two classes. Of bilateral deviations 50
# and 5 the first two pixels are alike to 0.786471, the third to none.
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
    """Takes pixels x pixels of memory; `symmetric=False` divides by a row's sum."""
    unary = np.log(np.clip(probabilities, 1e-5, 1)).reshape(-1, probabilities.shape[-1])
    near, alike = kernels(image, gaussian_sxy, bilateral_sxy, bilateral_srgb)
    messages = gaussian_compat * normalized(near, symmetric)
    messages += bilateral_compat * normalized(alike, symmetric)
    chances = softmax(unary)
    for _ in range(iterations):
        chances = softmax(unary + messages @ chances)
    return chances.reshape(probabilities.shape)


def kernels(image, gaussian_sxy, bilateral_sxy, bilateral_srgb):
    """exp(-d^2 / 2) of each pair of pixels, a pixel with itself too."""
    places = np.indices(image.shape[:2]).reshape(2, -1).T.astype(float)
    colors = image.reshape(-1, 3) / bilateral_srgb
    alike = np.concatenate([places / bilateral_sxy, colors], axis=1)
    return gauss(places / gaussian_sxy), gauss(alike)


def gauss(features):
    """exp(-d^2 / 2) of each pair of rows."""
    squares = np.square(features[:, None] - features[None]).sum(axis=-1)
    return np.exp(-squares / 2)


def normalized(kernel, symmetric):
    """Divides by the sums of rows, or by the roots of both pixels' sums."""
    sums = kernel.sum(axis=1)
    if symmetric:
        return kernel / np.sqrt(sums[:, None] * sums)
    return kernel / sums[:, None]


def softmax(logits):
    """Over the last axis."""
    values = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return values / values.sum(axis=-1, keepdims=True)


def drawn(seed, height, width, num_classes, scale=6.0):
    """Draws a picture with soft borders and probabilities that follow it, roughly."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(height, width, num_classes))
    noise = cv2.GaussianBlur(noise, (0, 0), 3).reshape(noise.shape)
    logits = scale * noise / noise.std()
    colors = rng.integers(0, 256, (num_classes, 3))
    image = softmax(logits) @ colors
    probabilities = softmax(logits + rng.normal(size=noise.shape))
    return image.astype(np.uint8), probabilities.astype(np.float32)


def published(number):
    """Returns image, probabilities and masks of pydensecrf's example, or skips.

    Returns:
        RGB of uint8; float64 probabilities; class numbers that its authors' code found.
    """
    folder = trees.real("crf")
    image, strokes, mask = (
        cv2.cvtColor(cv2.imread(str(folder / f"{name}{number}.png")), cv2.COLOR_BGR2RGB)
        for name in ("im", "anno", "out")
    )
    colors = np.unique(mask.reshape(-1, 3), axis=0)
    # As the example does: strokes are sure to 0.7, black is not known.
    hits = (strokes[:, :, None] == colors).all(axis=-1)
    probabilities = np.where(hits, 0.7, 0.3 / (len(colors) - 1))
    probabilities[~hits.any(axis=-1)] = 1 / len(colors)
    classes = (mask[:, :, None] == colors).all(axis=-1).argmax(axis=-1)
    return image, probabilities, classes
