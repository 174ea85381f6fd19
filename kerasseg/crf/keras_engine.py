"""The dense CRF written with Keras: no compiled package, any device, exportable."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasseg.blocks import gaussians

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
tf: Any = importlib.import_module("tensorflow") if _ON_TENSORFLOW else None


def mean_field(
    image: np.ndarray,
    probabilities: np.ndarray,
    *,
    iterations: int,
    gaussian_sxy: float,
    gaussian_compat: float,
    bilateral_sxy: float,
    bilateral_srgb: float,
    bilateral_compat: float,
) -> np.ndarray:
    """Computes the mean field; `dense_crf` has checked the arguments.

    Args:
        image: RGB, uint8 `[height, width, 3]`.
        probabilities: float32 `[height, width, classes]`, each at least 1e-5.
        iterations: As in `dense_crf`, like the other arguments.
        gaussian_sxy: In pixels.
        gaussian_compat: Weight.
        bilateral_sxy: In pixels.
        bilateral_srgb: From 0 to 255.
        bilateral_compat: Weight.

    Returns:
        Probabilities of the same shape, float32.
    """
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
    tensors = {
        key: tf.constant(value, tf.int32 if key == "iterations" else tf.float32)
        for key, value in settings.items()
        if value is not None
    }
    without = tuple(key for key in settings if key not in tensors)
    run = _graph(probabilities.shape[-1], tuple(tensors), without)
    return run(image, probabilities, tensors)


@functools.lru_cache(maxsize=128)
def _graph(num_classes, names, without):
    """Builds one graph for images of every size and settings of every value."""

    def run(image, probabilities, settings):
        return refine(image, probabilities, **settings, **dict.fromkeys(without))

    signature = [
        tf.TensorSpec([None, None, None, 3], tf.float32),
        tf.TensorSpec([None, None, None, num_classes], tf.float32),
        {
            name: tf.TensorSpec([], tf.int32 if name == "iterations" else tf.float32)
            for name in names
        },
    ]
    return tf.function(run, autograph=False, input_signature=signature)


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
    """Computes the mean field of tensors, eagerly or in a graph.

    Args:
        image: RGB from 0 to 255, float32 `[batch, height, width, 3]`.
        probabilities: float32 `[batch, height, width, classes]`, each above 0.
        iterations: As in `dense_crf`, like the others: a number or scalar tensor.
        gaussian_sxy: In pixels.
        gaussian_compat: Weight; None leaves the kernel out.
        bilateral_sxy: In pixels.
        bilateral_srgb: From 0 to 255.
        bilateral_compat: Weight; None leaves the kernel out.

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

    def update(_, marginals):
        messages = [kernel(marginals) for kernel in filters]
        return ops.exp(ops.log_softmax(sum(messages, start=unary)))

    return ops.fori_loop(0, iterations, update, ops.exp(ops.log_softmax(unary)))


def _normalized(kernel, weight, image):
    """Weighs a kernel and normalizes it symmetrically."""
    norm = ops.rsqrt(kernel(ops.ones_like(image[..., :1])))
    return lambda values: weight * norm * kernel(norm * values)
