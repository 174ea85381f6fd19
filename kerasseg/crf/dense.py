"""The dense CRF; an engine computes it."""

import importlib
from collections.abc import Sequence

import numpy as np

from kerasseg import errors
from kerasseg.crf import checks
from kerasseg.crf.pruning import PrunedImage, prune

ENGINES = ("pydensecrf", "keras")  # Each is a module `<name>_engine`.


def dense_crf(
    image: np.ndarray,
    probabilities: np.ndarray,
    *,
    iterations: int = 10,
    gaussian_sxy: float = 3.0,
    gaussian_compat: float = 3.0,
    bilateral_sxy: float = 60.0,
    bilateral_srgb: float = 20.0,
    bilateral_compat: float = 10.0,
    engine: str | None = None,
    max_gigabytes: float | None = None,
    max_iterations: int = 1000,
) -> np.ndarray:
    """Refines class probabilities with a fully connected CRF.

    The defaults are those of the DenseCRF code that the paper's authors released.

    Args:
        image: RGB, uint8 `[height, width, 3]`, of at least one pixel.
        probabilities: Softmax output of the network, float16 to float64
            `[height, width, num_classes]`; each pixel's sum is 1, within 1e-3. Values
            below 1e-5 count as 1e-5, so that no class is excluded for good.
        iterations: Number of mean-field updates, at least 1.
        gaussian_sxy: Standard deviation of the Gaussian kernel in pixels, above 0.
        gaussian_compat: Weight of the Gaussian kernel, at least 0.
        bilateral_sxy: Standard deviation of the bilateral kernel in pixels, above 0.
        bilateral_srgb: Standard deviation of the bilateral kernel in each of R, G and
            B, which range from 0 to 255; above 0.
        bilateral_compat: Weight of the bilateral kernel, at least 0.
        engine: "pydensecrf", which holds the GIL, so that several images at a time
            need processes; "keras", which needs no other package; None: pydensecrf if
            it is installed, else keras.
        max_gigabytes: Memory limit for an image; None: the memory that is free.
        max_iterations: Upper limit for `iterations`.

    Returns:
        Probabilities, float32 `[height, width, num_classes]`. The time grows with the
        number of classes in the image: a class whose probability is above
        0.1 / num_classes at no pixel is pruned, and 0 everywhere in the result. The
        most probable class of a pixel has at least 1 / num_classes and stays.

    Raises:
        errors.MissingPackageError: The requested engine is not installed.
        errors.UserError: Arrays or settings are invalid, or the image may need more
            memory than there is.

    Source: https://arxiv.org/abs/1210.5644; used by DeepLab as in
        https://arxiv.org/abs/1606.00915, section 3.3.
    """
    pruned = prune(image, probabilities)
    refined = refine(
        pruned,
        iterations=iterations,
        gaussian_sxy=gaussian_sxy,
        gaussian_compat=gaussian_compat,
        bilateral_sxy=bilateral_sxy,
        bilateral_srgb=bilateral_srgb,
        bilateral_compat=bilateral_compat,
        engine=engine,
        max_gigabytes=max_gigabytes,
        max_iterations=max_iterations,
    )
    if len(pruned.numbers) == pruned.num_classes:
        return refined
    result = np.zeros((*refined.shape[:2], pruned.num_classes), np.float32)
    result[..., pruned.numbers] = refined
    return result


def check_settings(**settings) -> None:
    """Checks settings for an image of one pixel, before a network is loaded.

    Args:
        **settings: All keyword arguments of `dense_crf`.

    Raises:
        errors.MissingPackageError: The requested engine is not installed.
        errors.UserError: A setting is out of range.
    """
    name = _checked_engine((1, 1, 1), **settings)
    if name == "pydensecrf":  # The other engine needs no further package.
        _engine(name)


def refine(pruned: PrunedImage, *, bilateral_compat: float, **settings) -> np.ndarray:
    """Refines the probabilities of the classes that pruning left.

    Args:
        pruned: The result of `prune`.
        bilateral_compat: As in `dense_crf`.
        **settings: All other keyword arguments of `dense_crf`.

    Returns:
        Probabilities, float32 `[height, width, classes]`, of these classes.

    Raises:
        errors.MissingPackageError: See `dense_crf`.
        errors.UserError: See `dense_crf`.
    """
    return next(_refine_each(pruned, [bilateral_compat], **settings))


def refined_mask(
    pruned: PrunedImage, *, bilateral_compat: float, **settings
) -> np.ndarray:
    """Returns the most probable class of each pixel after `refine`.

    Args:
        pruned: The result of `prune`.
        bilateral_compat: As in `dense_crf`.
        **settings: All other keyword arguments of `dense_crf`.

    Returns:
        The mask: class numbers, uint8 `[height, width]`.
    """
    (mask,) = refined_masks(pruned, [bilateral_compat], **settings)
    return mask


def confident_mask(
    pruned: PrunedImage, *, bilateral_compat: float, **settings
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mask of `refined_mask`, and the refined probabilities of its classes.

    Args:
        pruned: The result of `prune`.
        bilateral_compat: As in `dense_crf`.
        **settings: All other keyword arguments of `dense_crf`.

    Returns:
        Class numbers, uint8, and their probabilities, float32, both `[height, width]`.
    """
    (refined,) = _refine_each(pruned, [bilateral_compat], **settings)
    mask = pruned.numbers.astype(np.uint8)[np.argmax(refined, axis=-1)]
    return mask, np.asarray(refined, np.float32).max(axis=-1)


def refined_masks(
    pruned: PrunedImage, bilateral_compats: Sequence[float], **settings
) -> list[np.ndarray]:
    """Computes `refined_mask` for several weights, which share most of the work."""
    numbers = pruned.numbers.astype(np.uint8)
    return [
        numbers[np.argmax(refined, axis=-1)]
        for refined in _refine_each(pruned, bilateral_compats, **settings)
    ]


def _refine_each(pruned, weights, *, engine, max_gigabytes, max_iterations, **others):
    limits = {"max_gigabytes": max_gigabytes, "max_iterations": max_iterations}
    shape = pruned.probabilities.shape
    for weight in weights:
        settings = {"engine": engine, "bilateral_compat": weight, **limits, **others}
        name = _checked_engine(shape, **settings)
    module, arrays = _engine(name), (pruned.image, pruned.probabilities)
    if name == "pydensecrf":
        yield from module.mean_fields(*arrays, bilateral_compats=weights, **others)
        return
    for weight in weights:
        yield module.mean_field(*arrays, bilateral_compat=weight, **others)


def _checked_engine(shape, *, engine, max_gigabytes, max_iterations, **kernels):
    """Checks settings for probabilities of a shape; returns the engine's name."""
    checks.check_kernels(max_iterations=max_iterations, **kernels)
    height, width, num_classes = shape
    name = engine_name(engine)
    checks.check_memory(height, width, num_classes, max_gigabytes, engine=name)
    checks.check_extent(height, width, **kernels)
    return name


def engine_name(engine: str | None) -> str:
    """Returns the name of the engine that `dense_crf` uses.

    Args:
        engine: As in `dense_crf`.

    Raises:
        errors.UserError: There is no such engine.
    """
    if engine is not None:
        if engine not in ENGINES:
            raise errors.UserError(
                f"`engine={engine}`: expected one of {', '.join(ENGINES)}. Leave it "
                f"out to use pydensecrf if it is installed, else keras."
            )
        return engine
    try:
        importlib.import_module("pydensecrf.densecrf")
    except ImportError:
        return "keras"
    return "pydensecrf"


def _engine(name):
    """Imports the module of an engine, which has a function `mean_field`."""
    try:
        return importlib.import_module(f"kerasseg.crf.{name}_engine")
    except ImportError as error:
        if name != "pydensecrf":
            raise
        raise errors.MissingPackageError(
            f"`engine=pydensecrf` needs the package pydensecrf, which cannot be "
            f"imported ({error}): pip install 'kerasseg[crf]' (a C++ compiler and "
            f"Python before 3.13 are needed), or leave it out to use the engine keras."
        ) from error
