"""Fully connected CRF: moves the borders of classes to the edges of the picture."""

import math
import numbers

import numpy as np

_SMALLEST = 1e-5  # Chance that a probability of 0 is taken for; its log must be finite.
_MOST_WEIGHT = 1e9  # Keeps the energies finite in float32.
_SUM_TOLERANCE = 1e-3  # Covers a softmax in float16.


def dense_crf(
    image,
    probabilities,
    *,
    iterations: int = 10,
    gaussian_sxy: float = 3.0,
    gaussian_compat: float = 3.0,
    bilateral_sxy: float = 60.0,
    bilateral_srgb: float = 20.0,
    bilateral_compat: float = 10.0,
) -> np.ndarray:
    """Makes pixels that are near, and more so those of like colour, agree on a class.

    The defaults are those of the released DenseCRF code of the paper. Needs
    pydensecrf, which holds Python's lock while it works: several pictures at a time
    take processes.

    Args:
        image: RGB, uint8 `[height, width, 3]`, of at least one pixel.
        probabilities: What the network says of each pixel, float16 to float64
            `[height, width, num_classes]`, each pixel's sum 1 to 1e-3. Less than 1e-5
            is taken for 1e-5, so that no class is ruled out for good.
        iterations: Mean-field updates, at least 1.
        gaussian_sxy: Reach of the smoothing whatever the colours: standard deviation
            in pixels, above 0.
        gaussian_compat: Its weight, at least 0.
        bilateral_sxy: Reach of the smoothing among like colours: standard deviation
            in pixels, above 0.
        bilateral_srgb: Standard deviation of like colours in each of R, G and B,
            which go from 0 to 255; above 0.
        bilateral_compat: Its weight, at least 0.

    Returns:
        Probabilities, float32 `[height, width, num_classes]`. The time taken grows
        with the number of classes in the picture: one that no pixel gives a chance
        above 0.1 / num_classes is left out and has 0 everywhere. A pixel's best class
        has at least 1 / num_classes, so none that leads anywhere is left out.

    Raises:
        ImportError: pydensecrf is not installed.
        ValueError: Arrays or settings that do not fit.

    Source: https://arxiv.org/abs/1210.5644; DeepLab uses it as in
        https://arxiv.org/abs/1606.00915, section 3.3.
    """
    densecrf = _import_densecrf()
    _check_settings(iterations, gaussian_sxy, bilateral_sxy, bilateral_srgb)
    _check_weights(gaussian_compat, bilateral_compat)
    image, probabilities = _checked_image(image), _checked(probabilities)
    height, width, num_classes = probabilities.shape
    if image.shape[:2] != (height, width):
        raise ValueError(
            f"The image is {image.shape[0]} x {image.shape[1]} (height x width), the "
            f"probabilities are {height} x {width}. Resize the logits to the image "
            "before the softmax."
        )
    if gaussian_compat:
        _check_cells(16_000, (height + width) / gaussian_sxy)
    if bilateral_compat:
        reaches = (height + width) / bilateral_sxy + 3 * 255 / bilateral_srgb
        _check_cells(7_000, reaches)
    kept = np.flatnonzero(probabilities.max(axis=(0, 1)) > 0.1 / num_classes)
    field = densecrf.DenseCRF2D(width, height, len(kept))
    field.setUnaryEnergy(_unary(probabilities[..., kept]))
    if gaussian_compat:
        field.addPairwiseGaussian(sxy=gaussian_sxy, compat=gaussian_compat)
    if bilateral_compat:
        field.addPairwiseBilateral(
            sxy=bilateral_sxy,
            srgb=bilateral_srgb,
            rgbim=image,
            compat=bilateral_compat,
        )
    refined = np.asarray(field.inference(iterations)).T
    result = np.zeros(probabilities.shape, np.float32)
    result[..., kept] = refined.reshape(height, width, len(kept))
    return result


def _import_densecrf():
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise ImportError(
            f"The dense CRF needs pydensecrf, which does not import here ({error}): "
            "pip install kerasseg[crf]"
        ) from error
    return densecrf


def _check_settings(iterations, gaussian_sxy, bilateral_sxy, bilateral_srgb):
    if not isinstance(iterations, numbers.Integral) or iterations < 1:
        raise ValueError(
            f"iterations={iterations}: give a whole number, at least 1 (10 is usual)."
        )
    reaches = {
        "gaussian_sxy": gaussian_sxy,
        "bilateral_sxy": bilateral_sxy,
        "bilateral_srgb": bilateral_srgb,
    }
    for name, value in reaches.items():
        if not 0 < value < math.inf:
            raise ValueError(
                f"{name}={value}: a standard deviation is a finite number above 0. "
                "To leave that smoothing out, give its weight as 0."
            )


def _check_cells(most, reaches):
    """Refuses what overflows the 16 bits of pydensecrf's cells and kills the process.

    Args:
        most: Reaches that fit: 2**15 by 2 (place) or 4.47 (place and colour) cells.
        reaches: Height, width and range of each colour, in standard deviations.
    """
    if reaches > most:
        raise ValueError(
            "The standard deviations are too small for this picture: it is "
            f"{reaches:.3g} of them across, {most} at most. Give larger ones, or the "
            "weight 0 to leave that smoothing out."
        )


def _check_weights(gaussian_compat, bilateral_compat):
    weights = {
        "gaussian_compat": gaussian_compat,
        "bilateral_compat": bilateral_compat,
    }
    for name, value in weights.items():
        if not 0 <= value <= _MOST_WEIGHT:
            raise ValueError(
                f"{name}={value}: a weight is from 0 to {_MOST_WEIGHT:g}; give 0 to "
                "leave that smoothing out."
            )


def _checked_image(image):
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise ValueError(
            f"The image has the shape {image.shape}, wanted is RGB [height, width, 3] "
            "of at least one pixel. Repeat a grey picture's channel three times, and "
            "give the pictures of a batch one by one."
        )
    if image.dtype != np.uint8:
        raise ValueError(
            f"The image is {image.dtype}, wanted is uint8, 0 to 255. Give the picture "
            "as it was before it was normalised."
        )
    return np.array(image, order="C")  # A copy, as pydensecrf wants it writeable.


def _checked(probabilities):
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 3 or not probabilities.size:
        raise ValueError(
            f"The probabilities have the shape {probabilities.shape}, wanted is "
            "[height, width, num_classes]. Give those of a batch one by one."
        )
    if not np.issubdtype(probabilities.dtype, np.floating):
        raise ValueError(
            f"The probabilities are {probabilities.dtype}, wanted is float16 to "
            "float64. Give the softmax of the logits, not class numbers."
        )
    if not np.isfinite(probabilities).all():
        count = np.count_nonzero(~np.isfinite(probabilities).all(axis=-1))
        raise ValueError(
            f"The probabilities of {count} pixels are NaN or infinite. Look for the "
            "layer of the network that makes them."
        )
    sums = probabilities.sum(axis=-1, dtype=np.float64)
    worst = sums.flat[np.argmax(np.abs(sums - 1))]
    if probabilities.min() < 0 or abs(worst - 1) > _SUM_TOLERANCE:
        raise ValueError(
            f"Probabilities are at least 0 and sum to 1 over the classes; the least is "
            f"{probabilities.min():g}, and a pixel has the sum {worst:g}. Give the "
            "softmax of the logits, not the logits."
        )
    return probabilities.astype(np.float32)


def _unary(probabilities):
    energy = -np.log(np.clip(probabilities, _SMALLEST, 1.0))
    energy = energy.reshape(-1, energy.shape[-1]).T
    return np.ascontiguousarray(energy, dtype=np.float32)
