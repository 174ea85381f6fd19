"""Refuses pictures, probabilities and settings that the dense CRF cannot work with."""

import math
import numbers

import numpy as np

from kerasseg import errors

_MOST_WEIGHT = 1e9  # Keeps the energies finite in float32.
_SUM_TOLERANCE = 1e-3  # Covers a softmax in float16.


def check_settings(
    *,
    iterations,
    max_iterations,
    gaussian_sxy,
    gaussian_compat,
    bilateral_sxy,
    bilateral_srgb,
    bilateral_compat,
) -> None:
    """Raises `ValueError` for settings of `dense_crf` that are out of range."""
    if not isinstance(iterations, numbers.Integral) or iterations < 1:
        raise errors.UserError(
            f"iterations={iterations}: give a whole number, at least 1 (10 is usual)."
        )
    if iterations > max_iterations:
        raise errors.UserError(
            f"iterations={iterations}: {max_iterations} at most (10 is usual). Give "
            "max_iterations to allow more."
        )
    _check_deviation("gaussian_sxy", gaussian_sxy)
    _check_deviation("bilateral_sxy", bilateral_sxy)
    _check_deviation("bilateral_srgb", bilateral_srgb)
    _check_weight("gaussian_compat", gaussian_compat)
    _check_weight("bilateral_compat", bilateral_compat)


def _check_deviation(name, value):
    if not 0 < value < math.inf:
        raise errors.UserError(
            f"{name}={value}: a standard deviation is a finite number above 0. To "
            "leave that smoothing out, give its weight as 0."
        )


def _check_weight(name, value):
    if not 0 <= value <= _MOST_WEIGHT:
        raise errors.UserError(
            f"{name}={value}: a weight is from 0 to {_MOST_WEIGHT:g}; give 0 to leave "
            "that smoothing out."
        )


def check_reaches(most, reaches) -> None:
    """Raises `ValueError` for deviations whose lattice has too many cells across.

    Args:
        most: Reaches that the engine can count; more kill the process, or do harm.
        reaches: Height, width and range of each colour, in standard deviations.
    """
    if reaches > most:
        raise errors.UserError(
            "The standard deviations are too small for this picture: it is "
            f"{reaches:.3g} of them across, {most} at most. Give larger ones, or the "
            "weight 0 to leave that smoothing out."
        )


def checked_image(image) -> np.ndarray:
    """Returns a copy of an RGB picture in rows; raises `ValueError` for others."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise errors.UserError(
            f"The image has the shape {image.shape}, wanted is RGB [height, width, 3] "
            "of at least one pixel. Repeat a grey picture's channel three times, and "
            "give the pictures of a batch one by one."
        )
    if image.dtype != np.uint8:
        raise errors.UserError(
            f"The image is {image.dtype}, wanted is uint8, 0 to 255. Give the picture "
            "as it was before it was normalised."
        )
    return np.array(image, order="C")


def checked_probabilities(probabilities) -> np.ndarray:
    """Returns probabilities as float32; raises `ValueError` for what is none."""
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 3 or not probabilities.size:
        raise errors.UserError(
            f"The probabilities have the shape {probabilities.shape}, wanted is "
            "[height, width, num_classes]. Give those of a batch one by one."
        )
    if not np.issubdtype(probabilities.dtype, np.floating):
        raise errors.UserError(
            f"The probabilities are {probabilities.dtype}, wanted is float16 to "
            "float64. Give the softmax of the logits, not class numbers."
        )
    probabilities = np.asarray(probabilities, np.float32)
    if not np.isfinite(probabilities).all():
        count = np.count_nonzero(~np.isfinite(probabilities).all(axis=-1))
        raise errors.UserError(
            f"The probabilities of {count} pixels are NaN or infinite. Look for the "
            "layer of the network that makes them."
        )
    sums = np.einsum("ijk->ij", probabilities)  # Several times as fast as `sum`.
    worst = sums.flat[np.argmax(np.abs(sums - 1))]
    if probabilities.min() < 0 or abs(worst - 1) > _SUM_TOLERANCE:
        raise errors.UserError(
            f"Probabilities are at least 0 and sum to 1 over the classes; the least is "
            f"{probabilities.min():g}, and a pixel has the sum {worst:g}. Give the "
            "softmax of the logits, not the logits."
        )
    return probabilities
