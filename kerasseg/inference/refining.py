"""Refinement of a network's probabilities by a dense CRF or by superpixels."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping

from kerasseg import crf
from kerasseg.inference import superpixels
from kerasseg.system import processes


@contextlib.contextmanager
def start_refiner(
    crf_settings: Mapping | None = None,
    num_superpixels: int = 0,
    *,
    with_confidence: bool = False,
) -> Iterator[Callable | None]:
    """Starts the worker processes of a refinement.

    Args:
        crf_settings: All keyword arguments of `crf.dense_crf`; None: no CRF.
        num_superpixels: Approximate number of superpixels; 0: no superpixels.
        with_confidence: Whether the function also returns the refined probabilities of
            the mask's classes, float32 `[height, width]`.

    Yields:
        None without a refinement, else a function of an image, uint8
        `[height, width, 3]`, and its probabilities to the mask, uint8
        `[height, width]`. It may be called from several threads: each image has its
        own processor core.

    Raises:
        errors.MissingPackageError: pydensecrf or scikit-image is not installed.
        errors.UserError: A setting is out of range.
    """
    if crf_settings is not None:
        crf.check_settings(**crf_settings)
        function = crf.confident_mask if with_confidence else crf.refined_mask
        with _start_crf(functools.partial(function, **crf_settings)) as refine:
            yield refine
    elif num_superpixels:
        superpixels.check_count(num_superpixels)
        average: Callable = superpixels.average_mask
        if with_confidence:
            average = superpixels.confident_mask
        function = functools.partial(average, count=num_superpixels)
        with processes.Processes(function, processes.num_cores()) as refine:
            yield refine
    else:
        yield None


@contextlib.contextmanager
def _start_crf(function):
    engine = function.keywords["engine"]
    if crf.engine_name(engine) == "keras":  # Uses all cores by itself.
        yield lambda *arrays: function(crf.prune(*arrays))
        return
    # In processes, because pydensecrf holds the GIL.
    with processes.Processes(function, processes.num_cores()) as refine:
        yield lambda *arrays: refine(crf.prune(*arrays))
