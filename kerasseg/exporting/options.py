"""Test-time options: scales, flipping and the dense CRF as parts of the graph."""

import dataclasses
from collections.abc import Iterable, Mapping

from kerasseg import crf as dense_crf
from kerasseg import errors
from kerasseg.inference.options import (
    InferenceOptions,
    PredictorOptions,
    check_predictor,
)

CRF_SETTINGS = (  # Arguments of `crf.dense_crf` that a graph can hold.
    *("iterations", "gaussian_sxy", "gaussian_compat"),
    *("bilateral_sxy", "bilateral_srgb", "bilateral_compat"),
)
DETECTION_MASKS = ("full", "boxes")  # Masks of detected objects, the default first.


@dataclasses.dataclass(frozen=True, kw_only=True)
class TestTimeOptions:
    """What an exported graph computes beside the network's logits.

    Attributes:
        scales: As in `inference.Predictor`.
        flip: As in `inference.Predictor`.
        fusion: As in `inference.Predictor`.
        crf: Arguments of `crf.dense_crf`, all of `CRF_SETTINGS`; None for no CRF.

    Raises:
        errors.UserError: A value is out of range.
    """

    __test__ = False  # Not a test, whatever pytest thinks of its name.

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    fusion: str = "mean"
    crf: Mapping | None = None

    def __post_init__(self):
        check_predictor(self.scales, self.fusion, tile_size=0)
        if self.crf is not None:
            limits = {"max_gigabytes": None, "max_iterations": self.crf["iterations"]}
            dense_crf.check_settings(engine="keras", **limits, **self.crf)

    @property
    def is_default(self) -> bool:
        """Whether the graph returns the logits of the network unchanged."""
        return self == TestTimeOptions()


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionOptions:
    """How an exported graph detects objects.

    Attributes:
        masks: One of `DETECTION_MASKS`: "full", there are also masks of the size of
            the image, in a SavedModel and an ONNX file; "boxes", in the boxes only.
        min_side: As in `inference.Detector`.
        max_side: As in `inference.Detector`.

    Raises:
        errors.UserError: A value is out of range.
    """

    masks: str = DETECTION_MASKS[0]
    min_side: int | None = None
    max_side: int | None = None

    def __post_init__(self):
        if self.masks not in DETECTION_MASKS:
            raise errors.UserError(
                f"`detection_masks={self.masks}` must be one of "
                f"{', '.join(DETECTION_MASKS)}."
            )
        for name in ("min_side", "max_side"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise errors.UserError(
                    f"`{name}={value}` must be at least 1, or None to keep the size of "
                    f"the images."
                )


def from_options(
    predictor: PredictorOptions, inference: InferenceOptions
) -> TestTimeOptions:
    """Returns the test-time options that a command's options ask for.

    Raises:
        errors.UserError: An option cannot be part of a graph.
    """
    impossible = {
        f"`tile_size={predictor.tile_size}`": predictor.tile_size,
        f"`superpixels={inference.superpixels}`": inference.superpixels,
        "`crf_engine=pydensecrf`": inference.crf_engine == "pydensecrf",
    }
    names = [name for name, value in impossible.items() if value]
    if names:
        raise errors.UserError(
            f"{', '.join(names)} cannot be part of an exported graph. Leave it out; "
            f"scales, flip and the keras engine of the CRF can be exported."
        )
    settings = inference.crf_settings()
    return TestTimeOptions(
        scales=predictor.scales,
        flip=predictor.flip,
        fusion=predictor.eval_fusion,
        crf=settings and {name: settings[name] for name in CRF_SETTINGS},
    )


def check_formats(options: TestTimeOptions | None, names: Iterable[str]) -> None:
    """Raises `errors.UserError` where a format cannot hold the test-time options."""
    others = [name for name in names if name != "saved_model"]
    if others and options is not None and not options.is_default:
        raise errors.UserError(
            f"Scales, flip and CRF can be part of a SavedModel only, not of "
            f"{', '.join(others)}. Export those formats without these options, into "
            f"another `export_dir`."
        )
