"""How training pictures are changed: each field is a flag of `kerasseg.train`."""

import dataclasses

from kerasseg.pipeline import augment


def _flag(default, text):
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationFlags:
    """The flags of `augment.Augmentation`, under TF DeepLab's names."""

    train_crop_size: str = _flag(
        "513", "Side of the training crop in pixels, or height,width."
    )
    min_scale_factor: float = _flag(0.5, "Smallest random scale.")
    max_scale_factor: float = _flag(2.0, "Largest random scale.")
    add_flipped_images: bool = _flag(True, "Mirror half of the pictures left-right.")
    rotation: float = _flag(0.0, "Largest random rotation, in degrees.")
    elastic_deformation: float = _flag(
        0.0,
        "Bends pictures: standard deviation, in pixels of the crop, of how far 3x3 "
        "points move, 10 in U-Net. 0: none.",
    )
    min_resize_value: int | None = _flag(
        None, "Length of the shorter side before the random scale."
    )
    max_resize_value: int | None = _flag(
        None, "Bound of the longer side before the random scale."
    )
    brightness: float = _flag(0.0, "Largest random shift, as a share of 255.")
    contrast: float = _flag(0.0, "Largest random change of the contrast's factor.")
    saturation: float = _flag(0.0, "Largest random change of the saturation's factor.")

    def augmentation(self, crop_size) -> augment.Augmentation:
        """Returns what the pipeline takes, with the crop's height and width."""
        values = dataclasses.asdict(self)
        del values["train_crop_size"]
        flip = values.pop("add_flipped_images")
        return augment.Augmentation(crop_size=crop_size, flip=flip, **values)
