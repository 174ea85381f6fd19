"""What may happen to a training picture, and the draw of what does.

Coordinates are continuous: pixel `i` covers `[i, i + 1)` and its centre is `i + 0.5`,
so that scaling by `s` and a shift by whole pixels keep image and label aligned.
"""

import dataclasses
import math

import numpy as np

from kerasseg import errors

_GRID = 3, 3  # Points that move in an elastic deformation.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may happen to a training picture; each value is drawn uniformly.

    Attributes:
        crop_size: Height and width of what comes out, in pixels.
        min_scale_factor: Smallest scale; 1 keeps the size.
        max_scale_factor: Largest scale.
        flip: Whether half of the pictures are mirrored left-right.
        rotation: Largest angle in degrees, to either side, about the crop's centre.
        elastic_deformation: Standard deviation, in pixels of the crop, of how far 3x3
            points move; what is between moves along (U-Net has 10). 0 bends nothing.
        min_resize_value: Before the random scale the shorter side becomes this many
            pixels; None leaves the size.
        max_resize_value: The longer side becomes at most this many pixels, even
            where the shorter one then misses `min_resize_value`.
        brightness: Largest shift, as a share of 255, in [0, 1].
        contrast: Largest change of the contrast's factor from 1, in [0, 1].
        saturation: Largest change of the saturation's factor from 1, in [0, 1].
    """

    crop_size: tuple[int, int] = (513, 513)
    min_scale_factor: float = 0.5
    max_scale_factor: float = 2.0
    flip: bool = True
    rotation: float = 0.0
    elastic_deformation: float = 0.0
    min_resize_value: int | None = None
    max_resize_value: int | None = None
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self):
        """Refuses values that no picture could come out of."""
        if min(self.crop_size) < 1:
            raise errors.UserError(
                f"crop_size must be at least 1 pixel a side, got {self.crop_size}."
            )
        if not 0 < self.min_scale_factor <= self.max_scale_factor < math.inf:
            raise errors.UserError(
                "Scale factors must fulfil 0 < min_scale_factor <= max_scale_factor, "
                f"got {self.min_scale_factor} and {self.max_scale_factor}."
            )
        if not math.isfinite(self.rotation):
            raise errors.UserError(
                f"rotation is a number of degrees, got {self.rotation}."
            )
        for name in ("min_resize_value", "max_resize_value"):
            pixels = getattr(self, name)
            if pixels is not None and pixels < 1:
                raise errors.UserError(
                    f"{name} must be at least 1 pixel, got {pixels}."
                )
        if not 0 <= self.elastic_deformation < math.inf:
            raise errors.UserError(
                "elastic_deformation is a number of pixels from 0, got "
                f"{self.elastic_deformation}."
            )
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise errors.UserError(
                    f"{name} must lie in [0, 1], got {getattr(self, name)}."
                )


def resize_factor(height, width, min_resize_value, max_resize_value) -> float:
    """Returns the factor that brings a picture to the wanted sides, keeping its shape.

    Args:
        height: Pixels.
        width: Pixels.
        min_resize_value: Wanted shorter side, or None.
        max_resize_value: Bound of the longer side, or None.
    """
    factor = min_resize_value / min(height, width) if min_resize_value else 1.0
    if max_resize_value and factor * max(height, width) > max_resize_value:
        factor = max_resize_value / max(height, width)
    return factor


def sample_matrix(augmentation: Augmentation, height, width, rng) -> np.ndarray:
    """Draws the warp of one picture.

    Args:
        augmentation: What may happen.
        height: Of the source, in pixels.
        width: Of the source, in pixels.
        rng: `numpy.random.Generator`; the same number of draws for any setting.

    Returns:
        float64 `[2, 3]`: the pixel indices `(x, y, 1)` of the crop to those of the
        source, as `cv2.warpAffine` takes it with `WARP_INVERSE_MAP`.
    """
    low, high = augmentation.min_scale_factor, augmentation.max_scale_factor
    scale = low + (high - low) * rng.random()
    scale *= resize_factor(
        height, width, augmentation.min_resize_value, augmentation.max_resize_value
    )
    crop_height, crop_width = augmentation.crop_size
    top = _offset(round(scale * height) - crop_height, rng.random())
    left = _offset(round(scale * width) - crop_width, rng.random())
    mirrored = rng.random() < 0.5 and augmentation.flip
    angle = math.radians(augmentation.rotation * (2 * rng.random() - 1))
    return crop_matrix(
        augmentation.crop_size, scale, (top, left), mirrored=mirrored, angle=angle
    )


def _offset(slack, chance):
    """Picks a whole offset between 0 and `slack`, either of which may be larger."""
    return min(slack, 0) + int(chance * (abs(slack) + 1))


def sample_displacements(augmentation: Augmentation, rng) -> np.ndarray:
    """Draws how far the points of an elastic deformation move.

    Returns:
        float32 `[rows, columns, 2]`: x and y, in pixels of the crop; see
        `warping.bend`.
    """
    drawn = rng.normal(0, augmentation.elastic_deformation, (*_GRID, 2))
    return drawn.astype(np.float32)


def crop_matrix(crop_size, scale, offset, *, mirrored=False, angle=0.0) -> np.ndarray:
    """Composes scale, crop, rotation and mirror into one map from crop to source.

    Args:
        crop_size: Height and width of the crop.
        scale: Pixels of the scaled picture to one of the source.
        offset: Top and left edge of the crop in the scaled picture, in pixels;
            negative where the crop begins before the picture.
        mirrored: Whether the crop is mirrored left-right at the end.
        angle: Rotation about the crop's centre, in radians.

    Returns:
        float64 `[2, 3]`, see `sample_matrix`.
    """
    height, width = crop_size
    cos, sin = math.cos(angle), math.sin(angle)
    centre = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]])
    matrix = np.diag([1 / scale, 1 / scale, 1.0]) @ np.array(
        [[1, 0, offset[1]], [0, 1, offset[0]], [0, 0, 1.0]]
    )
    matrix = matrix @ centre @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    if mirrored:
        matrix = matrix @ np.diag([-1.0, 1.0, 1.0])
    matrix = matrix @ np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1.0]])
    to_centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    return (np.linalg.inv(to_centre) @ matrix @ to_centre)[:2]
