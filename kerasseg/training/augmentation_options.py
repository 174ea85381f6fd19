"""How training images are augmented: each field is a flag of `kerasseg.train`.

Read without TensorFlow, so that wrong values are reported at once.
"""

import dataclasses
import typing

from kerasseg import errors
from kerasseg.system.option_fields import option

if typing.TYPE_CHECKING:
    from kerasseg.pipeline import augment


def crop_size(text: str) -> tuple[int, int]:
    """Reads a crop size in pixels: `513`, or `360,480` for height and width.

    Raises:
        errors.UserError: It is neither.
    """
    try:
        sides = [int(part) for part in str(text).split(",")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise errors.UserError(
            f"`train_crop_size={text}` is not a size in pixels. Give one number, or "
            f"height,width, as in 513 or 360,480."
        )
    return sides[0], sides[-1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationOptions:
    """How training images are augmented; see `pipeline.augment.Augmentation`."""

    train_crop_size: str = option(
        "513",
        "Size of the training crops in pixels: one number for square crops, or "
        "height,width.",
    )
    min_scale_factor: float = option(
        0.5, "Lower bound of the random scale factor of training images."
    )
    max_scale_factor: float = option(
        2.0, "Upper bound of the random scale factor of training images."
    )
    add_flipped_images: bool = option(
        True, "Flip training images horizontally with a probability of 0.5."
    )
    rotation: float = option(
        0.0, "Maximum angle of the random rotation in degrees, in both directions."
    )
    elastic_deformation: float = option(
        0.0,
        "Random elastic deformation: standard deviation of the displacements of a 3x3 "
        "grid of control points, in pixels of the crop (10 in the U-Net paper). 0 "
        "disables it.",
    )
    min_resize_value: int | None = option(
        None,
        "If set, training images are resized so that the shorter side has this "
        "length in pixels, before the random scale is applied.",
    )
    max_resize_value: int | None = option(
        None,
        "Maximum length of the longer side in pixels before the random scale is "
        "applied. It takes precedence over min_resize_value.",
    )
    brightness: float = option(
        0.0, "Maximum random change of the brightness, as a fraction of 255."
    )
    contrast: float = option(
        0.0, "Maximum deviation of the random contrast factor from 1."
    )
    saturation: float = option(
        0.0, "Maximum deviation of the random saturation factor from 1."
    )
    augmentations: str = option(
        "",
        "Further augmentations and their probabilities, as in "
        "cutmix:0.5,gaussian_blur:0.5. They are listed in docs/training.md.",
    )

    def __post_init__(self):
        """Checks the size of the crop, and the names of augmentations."""
        crop_size(self.train_crop_size)
        self._chosen()

    def augmentation(self) -> "augment.Augmentation":
        """Returns the augmentation of the pipeline."""
        from kerasseg.pipeline import augment  # Starts TensorFlow.

        values = dataclasses.asdict(self)
        size = crop_size(values.pop("train_crop_size"))
        flip = values.pop("add_flipped_images")
        values["augmentations"] = self._chosen()
        with errors.renamed({"flip": "add_flipped_images"}):
            return augment.Augmentation(crop_size=size, flip=flip, **values)

    def _chosen(self):
        from kerasseg.pipeline import augmentations  # Imports OpenCV.

        return augmentations.parse(self.augmentations)
