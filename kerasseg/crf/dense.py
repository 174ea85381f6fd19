"""The one function of the dense CRF; its engines do the work."""

import importlib

import numpy as np

from kerasseg import errors
from kerasseg.crf import checks, limits
from kerasseg.crf.pruning import prune

ENGINES = ("pydensecrf", "keras")  # Each is a module `<name>_engine`.


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
    max_gigabytes: float | None = None,
    max_iterations: int = 1000,
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
        max_gigabytes: Of memory, for a picture whose estimate is above what is free.
        max_iterations: More of them are refused.

    Returns:
        Probabilities, float32 `[height, width, num_classes]`. The time taken grows
        with the number of classes in the picture: one that no pixel gives a chance
        above 0.1 / num_classes is left out and has 0 everywhere. A pixel's best class
        has at least 1 / num_classes, so none that leads anywhere is left out.

    Raises:
        ImportError: The engine asked for is not installed.
        ValueError: Arrays or settings that do not fit, or a picture that can take more
            memory than there is.

    Source: https://arxiv.org/abs/1210.5644; DeepLab uses it as in
        https://arxiv.org/abs/1606.00915, section 3.3.
    """
    picture = prune(image, probabilities)
    refined = refine(
        picture,
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
    if len(picture.numbers) == picture.num_classes:
        return refined
    result = np.zeros((*refined.shape[:2], picture.num_classes), np.float32)
    result[..., picture.numbers] = refined
    return result


def refine(picture, *, bilateral_compat, **settings) -> np.ndarray:
    """Refines the likely classes of a picture.

    Args:
        picture: What `prune` returned.
        bilateral_compat: See `dense_crf`.
        **settings: All the others of `dense_crf`.

    Returns:
        Probabilities of the likely classes, float32 `[height, width, classes]`.

    Raises:
        ImportError: See `dense_crf`.
        ValueError: See `dense_crf`.
    """
    return next(_refine_each(picture, [bilateral_compat], **settings))


def refined_classes(picture, *, bilateral_compat, **settings) -> np.ndarray:
    """Finds the classes that a dense CRF prefers; see `refine`.

    Returns:
        Class numbers, uint8 `[height, width]`.
    """
    (classes,) = refined_classes_each(picture, [bilateral_compat], **settings)
    return classes


def refined_classes_each(picture, bilateral_compats, **settings) -> list[np.ndarray]:
    """Does as `refined_classes` for each of several weights, and much of it once."""
    numbers = picture.numbers.astype(np.uint8)
    return [
        numbers[np.argmax(refined, axis=-1)]
        for refined in _refine_each(picture, bilateral_compats, **settings)
    ]


def _refine_each(picture, weights, *, engine, max_gigabytes, max_iterations, **others):
    for weight in weights:
        checks.check_settings(
            max_iterations=max_iterations, bilateral_compat=weight, **others
        )
    height, width, num_classes = picture.probabilities.shape
    name = engine_name(engine)
    limits.check_memory(height, width, num_classes, max_gigabytes, engine=name)
    module, arrays = _engine(name), (picture.image, picture.probabilities)
    if name == "pydensecrf":
        yield from module.mean_fields(*arrays, bilateral_compats=weights, **others)
        return
    for weight in weights:
        yield module.mean_field(*arrays, bilateral_compat=weight, **others)


def engine_name(engine: str | None) -> str:
    """Names the engine that `dense_crf` takes; see there, also for what is raised."""
    if engine is not None:
        if engine not in ENGINES:
            raise errors.UserError(
                f"engine={engine!r} is not known; these are: {', '.join(ENGINES)}. "
                "None is the first of them that imports."
            )
        return engine
    try:
        importlib.import_module("pydensecrf.densecrf")
    except ImportError:
        return "keras"
    return "pydensecrf"


def _engine(name):
    """Imports the module that holds an engine's `mean_field`."""
    try:
        return importlib.import_module(f"kerasseg.crf.{name}_engine")
    except ImportError as error:
        if name != "pydensecrf":
            raise
        raise errors.MissingPackageError(
            f"This engine of the dense CRF needs pydensecrf, which does not import "
            f"here ({error}): pip install kerasseg[crf]"
        ) from error
