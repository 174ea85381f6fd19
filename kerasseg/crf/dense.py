"""The one function of the dense CRF; its engines do the work."""

import importlib

import numpy as np

from kerasseg.crf import checks

ENGINES = ("pydensecrf", "keras")  # Each is a module `<name>_engine`.
_SMALLEST = 1e-5  # Chance that a probability of 0 is taken for; its log must be finite.


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
    engine: str | None = None,
) -> np.ndarray:
    """Makes pixels that are near, and more so those of like colour, agree on a class.

    The defaults are those of the released DenseCRF code of the paper.

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
        engine: "pydensecrf", which holds Python's lock while it works, so that several
            pictures at a time take processes; "keras", which needs nothing but Keras;
            None for the first of them that imports.

    Returns:
        Probabilities, float32 `[height, width, num_classes]`. The time taken grows
        with the number of classes in the picture: one that no pixel gives a chance
        above 0.1 / num_classes is left out and has 0 everywhere. A pixel's best class
        has at least 1 / num_classes, so none that leads anywhere is left out.

    Raises:
        ImportError: The engine asked for is not installed.
        ValueError: Arrays or settings that do not fit.

    Source: https://arxiv.org/abs/1210.5644; DeepLab uses it as in
        https://arxiv.org/abs/1606.00915, section 3.3.
    """
    checks.check_settings(iterations, gaussian_sxy, bilateral_sxy, bilateral_srgb)
    checks.check_weights(gaussian_compat, bilateral_compat)
    image = checks.checked_image(image)
    probabilities = checks.checked_probabilities(probabilities)
    height, width, num_classes = probabilities.shape
    if image.shape[:2] != (height, width):
        raise ValueError(
            f"The image is {image.shape[0]} x {image.shape[1]} (height x width), the "
            f"probabilities are {height} x {width}. Resize the logits to the image "
            "before the softmax."
        )
    kept = np.flatnonzero(probabilities.max(axis=(0, 1)) > 0.1 / num_classes)
    refined = _engine(engine).mean_field(
        image,
        np.clip(probabilities[..., kept], _SMALLEST, 1.0),
        iterations=iterations,
        gaussian_sxy=gaussian_sxy,
        gaussian_compat=gaussian_compat,
        bilateral_sxy=bilateral_sxy,
        bilateral_srgb=bilateral_srgb,
        bilateral_compat=bilateral_compat,
    )
    result = np.zeros(probabilities.shape, np.float32)
    result[..., kept] = refined
    return result


def _engine(name):
    """Imports the module that holds an engine's `mean_field`."""
    if name not in (None, *ENGINES):
        raise ValueError(
            f"engine={name!r} is not known; these are: {', '.join(ENGINES)}. None is "
            "the first of them that imports."
        )
    try:
        return importlib.import_module(f"kerasseg.crf.{name or ENGINES[0]}_engine")
    except ImportError as error:
        if name is None:
            return importlib.import_module(f"kerasseg.crf.{ENGINES[1]}_engine")
        if name != "pydensecrf":
            raise
        raise ImportError(
            f"This engine of the dense CRF needs pydensecrf, which does not import "
            f"here ({error}): pip install kerasseg[crf]"
        ) from error
