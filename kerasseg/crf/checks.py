"""Checks of the dense CRF's arguments, with errors that say what to change."""

import math
import numbers

import numpy as np

from kerasseg import errors
from kerasseg.system import memory

_MOST_WEIGHT = 1e9  # Keeps the energies finite in float32.
_SUM_TOLERANCE = 1e-3  # Covers a softmax in float16.
# Largest extent of an image in standard deviations. pydensecrf counts lattice cells in
# 16 bits: 2 cells (position) or 4.47 cells (position and color) per deviation. The
# coordinates of the Keras engine lose digits in float32 beyond.
_MOST_GAUSSIAN, _MOST_BILATERAL = 16_000, 7_000
# Bytes per pixel, and per pixel and class, on noise, where no two pixels share a cell
# of the lattice; photographs need less. Measured with 2, 5, 10, 21 and 42 classes:
# 559, 743, 1309, 2198 and 3755 bytes per pixel with pydensecrf; with 1, 2, 5, 11, 21
# and 42 classes 1049, 1141, 1430, 2031, 2975 and 5442 with Keras on TensorFlow.
_BYTES = {"pydensecrf": (500, 82), "keras": (1000, 110)}


def check_kernels(
    *,
    iterations: int,
    max_iterations: int,
    gaussian_sxy: float,
    gaussian_compat: float,
    bilateral_sxy: float,
    bilateral_srgb: float,
    bilateral_compat: float,
) -> None:
    """Raises `errors.UserError` for arguments of `dense_crf` that are out of range."""
    if not isinstance(iterations, numbers.Integral) or iterations < 1:
        raise errors.UserError(
            f"`iterations={iterations}`: expected a whole number above 0. Choose for "
            f"example 10."
        )
    if iterations > max_iterations:
        raise errors.UserError(
            f"`iterations={iterations}` is above the limit of {max_iterations}. Choose "
            f"fewer, for example 10, or raise `max_iterations`."
        )
    _check_deviation("gaussian_sxy", gaussian_sxy)
    _check_deviation("bilateral_sxy", bilateral_sxy)
    _check_deviation("bilateral_srgb", bilateral_srgb)
    _check_weight("gaussian_compat", gaussian_compat)
    _check_weight("bilateral_compat", bilateral_compat)


def _check_deviation(name, value):
    if not 0 < value < math.inf:
        raise errors.UserError(
            f"`{name}={value}`: a standard deviation must be a finite number above 0. "
            f"To switch the kernel off, set its weight to 0."
        )


def _check_weight(name, value):
    if not 0 <= value <= _MOST_WEIGHT:
        raise errors.UserError(
            f"`{name}={value}`: a weight must be from 0 to {_MOST_WEIGHT:g}. Set it to "
            f"0 to switch the kernel off."
        )


def check_extent(
    height: int,
    width: int,
    *,
    gaussian_sxy: float,
    gaussian_compat: float,
    bilateral_sxy: float,
    bilateral_srgb: float,
    bilateral_compat: float,
    **_,
) -> None:
    """Checks that the lattice of an image has no more cells than an engine can count.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        gaussian_sxy: As in `dense_crf`, like the other arguments.
        gaussian_compat: Weight.
        bilateral_sxy: In pixels.
        bilateral_srgb: From 0 to 255.
        bilateral_compat: Weight.

    Raises:
        errors.UserError: A standard deviation is too small for the image.
    """
    sides = height + width
    if gaussian_compat:
        _check_extent(sides / gaussian_sxy, _MOST_GAUSSIAN)
    if bilateral_compat:
        extent = sides / bilateral_sxy + 3 * 255 / bilateral_srgb
        _check_extent(extent, _MOST_BILATERAL)


def _check_extent(extent, most):
    if extent > most:
        raise errors.UserError(
            f"The standard deviations are too small for this image: it extends over "
            f"{extent:.3g} of them, the limit is {most}. Choose larger ones, or set "
            f"the weight to 0 to switch the kernel off."
        )


def check_memory(
    height: int,
    width: int,
    num_classes: int,
    max_gigabytes: float | None,
    *,
    engine: str,
) -> None:
    """Checks that the estimated memory is available.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        num_classes: Number of classes after pruning.
        max_gigabytes: Memory limit; None: the memory that is free.
        engine: Name of the engine.

    Raises:
        errors.UserError: The image may need more memory.
    """
    per_pixel, per_class = _BYTES[engine]
    needed = height * width * (per_pixel + num_classes * per_class) / 1e9
    free = memory.available() / 1e9
    if needed <= (free if max_gigabytes is None else max_gigabytes):
        return
    limit = (
        f"{free:.3g} GB are free"
        if max_gigabytes is None
        else f"{max_gigabytes:g} are allowed"
    )
    raise errors.UserError(
        f"The dense CRF of {height} x {width} pixels and {num_classes} classes may "
        f"need {needed:.3g} GB of memory, {limit}. Refine a smaller image, or in "
        f"tiles, or raise `max_gigabytes`."
    )


def checked_image(image: np.ndarray) -> np.ndarray:
    """Returns a contiguous copy of an RGB image; raises `errors.UserError` else."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise errors.UserError(
            f"The image has the shape {image.shape}, expected RGB [height, width, 3] "
            f"of at least one pixel. Repeat the channel of a grayscale image three "
            f"times, and pass the images of a batch one by one."
        )
    if image.dtype != np.uint8:
        raise errors.UserError(
            f"The image is {image.dtype}, expected uint8 from 0 to 255. Pass the image "
            f"before normalization."
        )
    return np.array(image, order="C")


def checked_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Returns probabilities as float32; raises `errors.UserError` for other arrays."""
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 3 or not probabilities.size:
        raise errors.UserError(
            f"The probabilities have the shape {probabilities.shape}, expected "
            f"[height, width, num_classes]. Pass those of a batch one by one."
        )
    if not np.issubdtype(probabilities.dtype, np.floating):
        raise errors.UserError(
            f"The probabilities are {probabilities.dtype}, expected float16 to "
            f"float64. Pass the softmax of the logits, not class numbers."
        )
    probabilities = np.asarray(probabilities, np.float32)
    if not np.isfinite(probabilities).all():
        count = np.count_nonzero(~np.isfinite(probabilities).all(axis=-1))
        raise errors.UserError(
            f"The probabilities of {count} pixels are NaN or infinite. Find the layer "
            f"of the network that computes them."
        )
    sums = np.einsum("ijk->ij", probabilities)  # Several times as fast as `sum`.
    worst = sums.flat[np.argmax(np.abs(sums - 1))]
    if probabilities.min() < 0 or abs(worst - 1) > _SUM_TOLERANCE:
        raise errors.UserError(
            f"Probabilities must be at least 0 and sum to 1 over the classes; the "
            f"smallest is {probabilities.min():g}, and one pixel's sum is {worst:g}. "
            f"Pass the softmax of the logits, not the logits."
        )
    return probabilities
