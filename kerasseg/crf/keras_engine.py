"""The dense CRF written with Keras: no compiled dependency, any device, exportable."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasseg.blocks import gaussians
from kerasseg.crf import checks

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
tf: Any = importlib.import_module("tensorflow") if _ON_TENSORFLOW else None


def mean_field(
    image,
    probabilities,
    *,
    iterations,
    gaussian_sxy,
    gaussian_compat,
    bilateral_sxy,
    bilateral_srgb,
    bilateral_compat,
) -> np.ndarray:
    """Runs the mean field on what `dense_crf` has checked; see there.

    Args:
        image: RGB, uint8 `[height, width, 3]`.
        probabilities: float32 `[height, width, classes]`, of the likely classes only,
            each at least 1e-5.
        iterations: See `dense_crf`, as the others.
        gaussian_sxy: In pixels.
        gaussian_compat: Weight.
        bilateral_sxy: In pixels.
        bilateral_srgb: Of 255.
        bilateral_compat: Weight.

    Returns:
        Probabilities of the same shape, float32.

    Raises:
        ValueError: A standard deviation is too small for the picture.
    """
    sides = image.shape[0] + image.shape[1]
    # Beyond, the coordinates of the lattice lose digits in float32.
    if gaussian_compat:
        checks.check_reaches(16_000, sides / gaussian_sxy)
    if bilateral_compat:
        reaches = sides / bilateral_sxy + 3 * 255 / bilateral_srgb
        checks.check_reaches(7_000, reaches)
    settings = {
        "iterations": iterations,
        "gaussian_sxy": gaussian_sxy,
        "gaussian_compat": gaussian_compat or None,
        "bilateral_sxy": bilateral_sxy,
        "bilateral_srgb": bilateral_srgb,
        "bilateral_compat": bilateral_compat or None,
    }
    refined = _run(image[None].astype(np.float32), probabilities[None], settings)
    return ops.convert_to_numpy(refined)[0]


def _run(image, probabilities, settings):
    if tf is None:
        return refine(ops.array(image), ops.array(probabilities), **settings)
    given = {
        key: tf.constant(value, tf.int32 if key == "iterations" else tf.float32)
        for key, value in settings.items()
        if value is not None
    }
    left_out = tuple(key for key in settings if key not in given)
    run = _graph(probabilities.shape[-1], tuple(given), left_out)
    return run(image, probabilities, given)


@functools.lru_cache(maxsize=128)
def _graph(num_classes, given, left_out):
    """Makes one graph for pictures of every size and settings of every value."""

    def run(image, probabilities, settings):
        return refine(image, probabilities, **settings, **dict.fromkeys(left_out))

    picture = tf.TensorSpec([None, None, None, 3], tf.float32)
    chances = tf.TensorSpec([None, None, None, num_classes], tf.float32)
    numbers = {key: tf.TensorSpec([], tf.float32) for key in given}
    numbers["iterations"] = tf.TensorSpec([], tf.int32)
    return tf.function(
        run, autograph=False, input_signature=[picture, chances, numbers]
    )


def refine(
    image,
    probabilities,
    *,
    iterations,
    gaussian_sxy,
    gaussian_compat,
    bilateral_sxy,
    bilateral_srgb,
    bilateral_compat,
):
    """Runs the mean field on tensors, of pictures of any size, in a graph too.

    Args:
        image: RGB from 0 to 255, float32 `[batch, height, width, 3]`.
        probabilities: float32 `[batch, height, width, classes]`, each above 0.
        iterations: See `dense_crf`, as the others: numbers, or scalar tensors.
        gaussian_sxy: In pixels.
        gaussian_compat: Weight.
        bilateral_sxy: In pixels.
        bilateral_srgb: Of 255.
        bilateral_compat: Weight; None, here too, leaves that smoothing out.

    Returns:
        Probabilities of the same shape.
    """
    filters: list[Callable] = []
    if gaussian_compat is not None:
        smooth = functools.partial(gaussians.smooth, sxy=gaussian_sxy)
        filters.append(_normalized(smooth, gaussian_compat, image))
    if bilateral_compat is not None:
        lattice = gaussians.bilateral_lattice(image, bilateral_sxy, bilateral_srgb)
        filters.append(_normalized(lattice.filter, bilateral_compat, image))
    unary = ops.log(probabilities)

    def update(_, chances):
        messages = [kernel(chances) for kernel in filters]
        return ops.exp(ops.log_softmax(sum(messages, start=unary)))

    return ops.fori_loop(0, iterations, update, ops.exp(ops.log_softmax(unary)))


def _normalized(kernel, weight, image):
    """Weighs a kernel, and divides it by the roots of both pixels' sums."""
    norm = ops.rsqrt(kernel(ops.ones_like(image[..., :1])))
    return lambda values: weight * norm * kernel(norm * values)
