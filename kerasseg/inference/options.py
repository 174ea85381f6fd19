"""Options of a prediction, checked before TensorFlow starts.

Each field is named like the flag that sets it. `cli.inference_flags` defines the flags
of the commands that predict: evaluate, predict, export and tune_crf.
"""

import dataclasses
import math
from collections.abc import Sequence

from kerasseg import crf as dense_crf
from kerasseg import errors
from kerasseg.inference import superpixels as slic
from kerasseg.inference import tiles
from kerasseg.system.option_fields import option

FUSIONS = {  # What the views of an image, its scales and flips, are combined to.
    "mean": "mean of the probabilities",
    "max": "maximum of the probabilities",
    "max_logits": "maximum of the logits",
}


def check_predictor(scales: Sequence[float], fusion: str, tile_size: int) -> None:
    """Checks the arguments of `inference.Predictor`.

    Raises:
        errors.UserError: One of them is out of range.
    """
    if not scales or not all(0 < scale < math.inf for scale in scales):
        raise errors.UserError(
            f"`scales={','.join(f'{scale:g}' for scale in scales)}`: expected one or "
            f"more numbers above 0. Choose for example 0.5,1,1.5."
        )
    if fusion not in FUSIONS:
        raise errors.UserError(
            f"`fusion={fusion}`: expected one of {', '.join(FUSIONS)}. Choose mean to "
            f"average the probabilities, max_logits for the fusion of DeepLab v2."
        )
    if tile_size:
        tiles.check_size(tile_size)


def check_min_score(min_score: float) -> None:
    """Checks the smallest score of detected objects.

    Raises:
        errors.UserError: It is not from 0 to 1.
    """
    if not 0 <= min_score <= 1:
        raise errors.UserError(
            f"`min_score={min_score:g}`: expected a number from 0 to 1, as scores are "
            f"probabilities. Choose for example 0.5."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictorOptions:
    """Multi-scale evaluation, horizontal flipping and tiles.

    Raises:
        errors.UserError: A value is out of range.
    """

    eval_scales: str = option(
        "1",
        "Comma-separated scales at which each image is predicted, such as "
        "0.5,0.75,1,1.25,1.5,1.75. They are combined by --eval_fusion.",
    )
    flip: bool = option(
        False, "Also predict the horizontally flipped image at each scale."
    )
    eval_fusion: str = option(
        "mean",
        "How the scales and flips are combined: mean of the probabilities (DeepLab "
        "v3); max, the maximum of the probabilities; or max_logits, the maximum of the "
        "logits (DeepLab v2). Maxima are normalized to a sum of 1.",
        choices=list(FUSIONS),
    )
    tile_size: int = option(
        0,
        "Side of the tiles in pixels, a multiple of 128. Images with a longer side "
        "are predicted in overlapping tiles. With 0, only images that do not fit into "
        "memory are divided into tiles.",
    )

    def __post_init__(self):
        with errors.renamed({"scales": "eval_scales", "fusion": "eval_fusion"}):
            check_predictor(self.scales, self.eval_fusion, self.tile_size)

    @property
    def scales(self) -> tuple[float, ...]:
        """The scales as numbers."""
        try:
            return tuple(float(part) for part in self.eval_scales.split(","))
        except ValueError:
            raise errors.UserError(
                f"`eval_scales={self.eval_scales}`: expected numbers separated by "
                f"commas. Write them as in 0.5,0.75,1,1.25."
            ) from None

    def arguments(self) -> dict:
        """Returns the keyword arguments of `inference.Predictor`."""
        return {
            "scales": self.scales,
            "flip": self.flip,
            "fusion": self.eval_fusion,
            "tile_size": self.tile_size,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """Output stride, dense CRF and superpixels.

    The `crf_` fields are the arguments of `crf.dense_crf` and have its defaults. They
    are checked where `crf` is true.

    Raises:
        errors.UserError: A value is out of range, or `crf` and `superpixels` are both
            given.
        errors.MissingPackageError: pydensecrf or scikit-image is not installed.
    """

    output_stride: int | None = option(
        None,
        "Output stride of the network: ratio of the size of the image to that of the "
        "encoder's last feature map, such as 8 or 16. Default: that of the training "
        "run.",
    )
    superpixels: int = option(
        0,
        "Average the probabilities within SLIC superpixels, about this number per "
        "image. 0 disables it.",
    )
    crf: bool = option(False, "Refine the predictions with a dense CRF.")
    crf_iterations: int = option(
        10, "Number of mean-field iterations of the dense CRF."
    )
    crf_gaussian_sxy: float = option(
        3.0, "Standard deviation of the CRF's spatial (Gaussian) kernel in pixels."
    )
    crf_gaussian_compat: float = option(
        3.0, "Weight of the CRF's spatial (Gaussian) kernel. 0 disables the kernel."
    )
    crf_bilateral_sxy: float = option(
        60.0, "Standard deviation of the CRF's bilateral kernel in space, in pixels."
    )
    crf_bilateral_srgb: float = option(
        20.0,
        "Standard deviation of the CRF's bilateral kernel in color, for RGB values "
        "from 0 to 255.",
    )
    crf_bilateral_compat: float = option(
        10.0, "Weight of the CRF's bilateral kernel. 0 disables the kernel."
    )
    crf_engine: str | None = option(
        None,
        "Implementation of the CRF. Default: pydensecrf if it is installed, else "
        "keras.",
        choices=dense_crf.ENGINES,
    )
    crf_max_gigabytes: float | None = option(
        None,
        "Images for which the CRF would need more memory, in gigabytes, are "
        "refused. Default: the free memory.",
    )
    crf_max_iterations: int = option(1000, "Upper limit of --crf_iterations.")

    def __post_init__(self):
        if self.crf and self.superpixels:
            raise errors.UserError(
                f"`superpixels={self.superpixels}` cannot be combined with `crf`. Give "
                f"one of them."
            )
        if self.superpixels:
            slic.check_count(self.superpixels)
        if self.crf:
            settings = self._settings()
            with errors.renamed({name: f"crf_{name}" for name in settings}):
                dense_crf.check_settings(**settings)

    def crf_settings(self) -> dict | None:
        """Returns the keyword arguments of `crf.dense_crf`, or None without a CRF."""
        return self._settings() if self.crf else None

    def _settings(self):
        return {
            field.name.removeprefix("crf_"): getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name.startswith("crf_")
        }
