"""Refinement of a network's probabilities by a dense CRF or by superpixels."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping

from kerasseg import crf
from kerasseg.inference import superpixels
from kerasseg.system import processes


@contextlib.contextmanager
def start_refiner(
    crf_settings: Mapping | None = None, num_superpixels: int = 0
) -> Iterator[Callable | None]:
    """Starts the worker processes of a refinement.

    Args:
        crf_settings: All keyword arguments of `crf.dense_crf`; None: no CRF.
        num_superpixels: Approximate number of superpixels; 0: no superpixels.

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
        with _start_crf(crf_settings) as refine:
            yield refine
    elif num_superpixels:
        superpixels.check_count(num_superpixels)
        function = functools.partial(superpixels.average_mask, count=num_superpixels)
        with processes.Processes(function, processes.num_cores()) as refine:
            yield refine
    else:
        yield None


@contextlib.contextmanager
def _start_crf(settings):
    if crf.engine_name(settings["engine"]) == "keras":  # Uses all cores by itself.
        yield lambda *arrays: crf.refined_mask(crf.prune(*arrays), **settings)
        return
    # In processes, because pydensecrf holds the GIL.
    function = functools.partial(crf.refined_mask, **settings)
    with processes.Processes(function, processes.num_cores()) as refine:
        yield lambda *arrays: refine(crf.prune(*arrays))
