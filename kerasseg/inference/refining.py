"""Refinement of a network's probabilities by a dense CRF or by superpixels."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping

from kerasseg import crf, errors
from kerasseg.images.class_rules import DEFAULT_RULE, ClassRule
from kerasseg.inference import superpixels
from kerasseg.system import processes


@contextlib.contextmanager
def start_refiner(
    crf_settings: Mapping | None = None,
    num_superpixels: int = 0,
    *,
    with_confidence: bool = False,
    rule: ClassRule = DEFAULT_RULE,
) -> Iterator[Callable | None]:
    """Starts the worker processes of a refinement.

    Args:
        crf_settings: All keyword arguments of `crf.dense_crf`; None: no CRF.
        num_superpixels: Approximate number of superpixels; 0: no superpixels.
        with_confidence: Whether the function also returns the refined probabilities of
            the mask's classes, float32 `[height, width]`.
        rule: How the network's probabilities become masks.

    Yields:
        None without a refinement, else a function of an image, uint8
        `[height, width, 3]`, and its probabilities to the mask, uint8
        `[height, width]`. It may be called from several threads: each image has its
        own processor core.

    Raises:
        errors.MissingPackageError: pydensecrf or scikit-image is not installed.
        errors.UserError: A setting is out of range, or the classes of the network do
            not exclude each other or have thresholds.
    """
    check_rule(rule, crf_settings, num_superpixels)
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


def check_rule(
    rule: ClassRule, crf_settings: Mapping | None, num_superpixels: int = 0
) -> None:
    """Checks that a refinement applies to a network, which chooses the likeliest class.

    Args:
        rule: How the network's probabilities become masks.
        crf_settings: See `start_refiner`.
        num_superpixels: See `start_refiner`.

    Raises:
        errors.UserError: It does not.
    """
    name = "crf" if crf_settings is not None else "superpixels"
    if rule == DEFAULT_RULE or (crf_settings is None and not num_superpixels):
        return
    if rule.multi_label:
        raise errors.UserError(
            f"`{name}` refines classes that exclude each other, and this network is "
            "multi-label. Leave it out."
        )
    raise errors.UserError(
        f"`{name}` chooses the class with the highest probability, and this network "
        f"has a threshold of {rule.thresholds[0]:g}. Leave it out, or remove "
        "best/thresholds.json from the workdir."
    )


@contextlib.contextmanager
def _start_crf(function):
    engine = function.keywords["engine"]
    if crf.engine_name(engine) == "keras":  # Uses all cores by itself.
        yield lambda *arrays: function(crf.prune(*arrays))
        return
    # In processes, because pydensecrf holds the GIL.
    with processes.Processes(function, processes.num_cores()) as refine:
        yield lambda *arrays: refine(crf.prune(*arrays))
