"""Flags that predict and evaluate share: output stride, dense CRF, superpixels."""

import contextlib
import dataclasses
import functools

import numpy as np

from kerasseg import cli, crf, errors
from kerasseg.inference import superpixels
from kerasseg.system import processes

_DEFAULTS: dict = crf.dense_crf.__kwdefaults__ or {}
_ENGINES = crf.ENGINES


def _flag(default, text, **metadata):
    return dataclasses.field(default=default, metadata={"help": text, **metadata})


def _crf_flag(name, text, **metadata):
    return _flag(_DEFAULTS[name], text, flag=f"crf_{name}", **metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferenceFlags:
    """How a trained network is run; see `crf.dense_crf` and `superpixels.segment`."""

    output_stride: int | None = _flag(
        None, "Pixels to one of the encoder's last features; none: as it was trained."
    )
    superpixels: int = _flag(
        0, "Average what the network says over about so many SLIC superpixels; 0: none."
    )
    crf: bool = _flag(False, "Refine what the network says by a dense CRF.")
    iterations: int = _crf_flag("iterations", "Mean-field iterations of the CRF.")
    gaussian_sxy: float = _crf_flag(
        "gaussian_sxy", "Reach of the CRF's smoothing, in pixels."
    )
    gaussian_compat: float = _crf_flag(
        "gaussian_compat", "Weight of the CRF's smoothing."
    )
    bilateral_sxy: float = _crf_flag(
        "bilateral_sxy", "Reach of the CRF's smoothing among like colours, in pixels."
    )
    bilateral_srgb: float = _crf_flag(
        "bilateral_srgb", "How far like colours may differ, of 255."
    )
    bilateral_compat: float = _crf_flag(
        "bilateral_compat", "Weight of the CRF's smoothing among like colours."
    )
    engine: str | None = _crf_flag(
        "engine",
        "What computes the CRF; none: pydensecrf where it imports, else keras.",
        choices=_ENGINES,
    )
    max_gigabytes: float | None = _crf_flag(
        "max_gigabytes", "What the CRF of a picture may take; none: what is free."
    )
    max_iterations: int = _crf_flag(
        "max_iterations", "More iterations of the CRF are refused."
    )

    def crf_settings(self) -> dict | None:
        """Returns the arguments of `crf.dense_crf`, None where it is off."""
        if not self.crf:
            return None
        return {name: getattr(self, name) for name in _DEFAULTS}

    def refiner(self) -> contextlib.AbstractContextManager:
        """Makes `refine` of `evaluation.evaluate` and `inference.predict_files`.

        Returns:
            Context manager of a function that may be called from several threads: each
            picture has a processor core to itself. Of None where neither the CRF nor
            superpixels are on.

        Raises:
            ImportError: pydensecrf or scikit-image is not installed.
            ValueError: A setting is out of range, or both are on.
        """
        settings = self.crf_settings()
        if settings is not None and self.superpixels:
            raise errors.UserError(
                f"`superpixels={self.superpixels}` and `crf` both let pixels decide "
                "together: give one of them."
            )
        # One pixel of one class: what is wrong shows before a network is loaded.
        one = np.zeros((1, 1, 3), np.uint8), np.ones((1, 1, 1))
        if settings is not None:
            crf.dense_crf(*one, **settings)
            return _crf_refiner(settings)
        if self.superpixels:
            function = functools.partial(averaged, count=self.superpixels)
            function(*one)
            return processes.Processes(function, processes.num_cores())
        return contextlib.nullcontext()


@contextlib.contextmanager
def _crf_refiner(settings):
    if crf.engine_name(settings["engine"]) == "keras":  # It uses all cores by itself.
        yield lambda *picture: crf.refined_classes(crf.prune(*picture), **settings)
        return
    # In processes, as pydensecrf holds Python's lock while it works.
    function = functools.partial(crf.refined_classes, **settings)
    with processes.Processes(function, processes.num_cores()) as refine:
        yield lambda *picture: refine(crf.prune(*picture))


def averaged(image, probabilities, *, count) -> np.ndarray:
    """Finds the classes that superpixels have on average.

    Args:
        image: RGB, uint8 `[height, width, 3]`.
        probabilities: float32 `[height, width, num_classes]`.
        count: About how many superpixels.

    Returns:
        Class numbers, uint8 `[height, width]`.
    """
    segments = superpixels.segment(image, count=count)
    means = superpixels.pool(probabilities, segments)
    return np.argmax(means, axis=-1).astype(np.uint8)[segments]


cli.define_fields(InferenceFlags)
