"""Augmentation: one fused warp of image and label, then the colors of the image.

What is chosen by name, such as mixes of several crops, follows in `crops`.

Coordinates are continuous: pixel `i` covers `[i, i + 1)` and its center is `i + 0.5`,
so that image and label stay aligned when they are scaled and shifted by whole pixels.
"""

import dataclasses
import math
from collections.abc import Callable

import cv2
import numpy as np

from kerasseg import errors, images
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.pipeline import augmentations

PADDING_COLOR = (124, 116, 104)  # The rounded mean color of ImageNet, RGB.
_AT_ONCE = 4  # Channels that OpenCV gives a value outside of the image.
_GRID = 3, 3  # Control points of an elastic deformation.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Ranges of the random augmentation; values are drawn uniformly.

    Attributes:
        crop_size: Height and width of the crop in pixels.
        min_scale_factor: Smallest scale; 1 keeps the size.
        max_scale_factor: Largest scale.
        flip: Whether half of the images are flipped horizontally.
        rotation: Largest angle in degrees, in both directions, about the center of
            the crop.
        elastic_deformation: Standard deviation, in pixels of the crop, of the
            displacement of 3x3 control points, between which it is interpolated (10
            in U-Net). 0 for no deformation.
        min_resize_value: The shorter side is resized to this many pixels before the
            random scale; None keeps the size.
        max_resize_value: Upper bound of the longer side after resizing, in pixels,
            even if the shorter side then stays below `min_resize_value`.
        brightness: Largest shift, as a fraction of 255, in [0, 1].
        contrast: Largest deviation of the contrast factor from 1, in [0, 1].
        saturation: Largest deviation of the saturation factor from 1, in [0, 1].
        augmentations: Names and probabilities of further augmentations, see
            `pipeline.augmentations`: first those of colors, then mixes of crops, each
            in this order.
        transform: The user's own augmentation, which is called last, see
            `transforms.Transform`; None for none.

    Raises:
        errors.UserError: A value is out of range.
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
    augmentations: tuple[tuple[str, float], ...] = ()
    transform: Callable | None = None

    def __post_init__(self):
        """Checks the ranges."""
        if min(self.crop_size) < 1:
            raise errors.UserError(
                f"crop_size must be at least 1 pixel in height and width, got "
                f"{self.crop_size}."
            )
        if not 0 < self.min_scale_factor <= self.max_scale_factor < math.inf:
            raise errors.UserError(
                "The scale factors must satisfy 0 < min_scale_factor <= "
                f"max_scale_factor, got {self.min_scale_factor} and "
                f"{self.max_scale_factor}."
            )
        if not math.isfinite(self.rotation):
            raise errors.UserError(
                f"rotation must be a finite number of degrees, got {self.rotation}."
            )
        for name in ("min_resize_value", "max_resize_value"):
            pixels = getattr(self, name)
            if pixels is not None and pixels < 1:
                raise errors.UserError(
                    f"{name} must be at least 1 pixel, got {pixels}."
                )
        if not 0 <= self.elastic_deformation < math.inf:
            raise errors.UserError(
                "elastic_deformation must be a number of pixels, at least 0, got "
                f"{self.elastic_deformation}."
            )
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise errors.UserError(
                    f"{name} must be in [0, 1], got {getattr(self, name)}."
                )
        augmentations.check(self.augmentations)


def check_kind(augmentation: Augmentation, kind: images.ImageKind) -> None:
    """Checks that the images have the colors that an augmentation changes.

    Raises:
        errors.UserError: They have not: colors are red, green and blue of 8 bits.
    """
    if kind.num_colors == 3 and kind.dtype == "uint8":
        return
    changed = [
        name
        for name in ("brightness", "contrast", "saturation")
        if getattr(augmentation, name)
    ]
    chosen = [name for name, _ in augmentation.augmentations]
    mixes = augmentations.mixes(augmentation.augmentations)
    if changed or len(chosen) > len(mixes):
        listed = [*(name for name in chosen if name not in mixes), *changed]
        raise errors.UserError(
            f"`{'`, `'.join(changed or ['augmentations'])}`: {', '.join(listed)} "
            f"changes colors of 8-bit RGB, and the images are {kind}. Leave it out."
        )


def augment(
    image,
    label,
    augmentation: Augmentation,
    rng,
    instances=None,
    *,
    padding: tuple[float, ...] = PADDING_COLOR,
) -> tuple:
    """Draws and applies one warp and one change of the colors.

    The augmentations that are chosen by name are not applied, see `crops.CropReader`.

    Args:
        image: RGB, uint8 `[height, width, 3]`; or any channels of uint8, uint16 or
            float32. Colors are those of the first three channels.
        label: Class indices and 255, uint8 `[height, width]`.
        augmentation: Ranges of the augmentation.
        rng: `numpy.random.Generator`.
        instances: Instance ids, uint16 `[height, width]` or `[layers, height, width]`,
            or None.
        padding: Value of each channel outside of the image.

    Returns:
        Image and uint8 label of `augmentation.crop_size`, and if `instances` is given
        the uint16 instance ids.
    """
    height, width = label.shape
    size = augmentation.crop_size
    source: np.ndarray | tuple = sample_matrix(augmentation, height, width, rng)
    if augmentation.elastic_deformation:
        source = bend(source, sample_displacements(augmentation, rng), size)
    image, label = warp(image, label, source, size, padding)
    image = of_colors(lambda x: change_colors(x, augmentation, rng), image)
    if instances is None:
        return image, label
    return image, label, warp_instances(instances, source, size)


def sample_matrix(
    augmentation: Augmentation, height: int, width: int, rng
) -> np.ndarray:
    """Draws the warp of one image.

    Args:
        augmentation: Ranges of the augmentation.
        height: Height of the source in pixels.
        width: Width of the source in pixels.
        rng: `numpy.random.Generator`; the number of draws is always the same.

    Returns:
        float64 `[2, 3]`: maps pixel indices `(x, y, 1)` of the crop to those of the
        source, as `cv2.warpAffine` takes it with `WARP_INVERSE_MAP`.
    """
    low, high = augmentation.min_scale_factor, augmentation.max_scale_factor
    scale = low + (high - low) * rng.random()
    scale *= resize_factor(
        height, width, augmentation.min_resize_value, augmentation.max_resize_value
    )
    crop_height, crop_width = augmentation.crop_size
    top = _random_offset(round(scale * height) - crop_height, rng.random())
    left = _random_offset(round(scale * width) - crop_width, rng.random())
    flipped = rng.random() < 0.5 and augmentation.flip
    angle = math.radians(augmentation.rotation * (2 * rng.random() - 1))
    return crop_matrix(
        augmentation.crop_size, scale, (top, left), flipped=flipped, angle=angle
    )


def resize_factor(
    height: int,
    width: int,
    min_resize_value: int | None,
    max_resize_value: int | None,
) -> float:
    """Returns the factor that resizes an image, keeping its aspect ratio.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        min_resize_value: Target length of the shorter side, or None.
        max_resize_value: Upper bound of the longer side, or None.
    """
    factor = min_resize_value / min(height, width) if min_resize_value else 1.0
    if max_resize_value and factor * max(height, width) > max_resize_value:
        factor = max_resize_value / max(height, width)
    return factor


def _random_offset(slack, random):
    """Returns an integer between 0 and `slack`, which may be negative.

    `random` is a random number in [0, 1).
    """
    return min(slack, 0) + int(random * (abs(slack) + 1))


def crop_matrix(
    crop_size: tuple[int, int],
    scale: float,
    offset: tuple[int, int],
    *,
    flipped: bool = False,
    angle: float = 0.0,
) -> np.ndarray:
    """Composes scale, crop, rotation and flip into one map from crop to source.

    Args:
        crop_size: Height and width of the crop.
        scale: Pixels of the scaled image per pixel of the source.
        offset: Top and left edge of the crop in the scaled image, in pixels; negative
            if the crop starts before the image.
        flipped: Whether the crop is flipped horizontally at the end.
        angle: Rotation about the center of the crop, in radians.

    Returns:
        float64 `[2, 3]`, see `sample_matrix`.
    """
    height, width = crop_size
    cos, sin = math.cos(angle), math.sin(angle)
    center = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]])
    matrix = np.diag([1 / scale, 1 / scale, 1.0]) @ np.array(
        [[1, 0, offset[1]], [0, 1, offset[0]], [0, 0, 1.0]]
    )
    matrix = matrix @ center @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    if flipped:
        matrix = matrix @ np.diag([-1.0, 1.0, 1.0])
    matrix = matrix @ np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1.0]])
    to_center = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    return (np.linalg.inv(to_center) @ matrix @ to_center)[:2]


def sample_displacements(augmentation: Augmentation, rng) -> np.ndarray:
    """Draws the displacements of the control points of an elastic deformation.

    Returns:
        float32 `[rows, columns, 2]`: x and y in pixels of the crop; see `bend`.
    """
    drawn = rng.normal(0, augmentation.elastic_deformation, (*_GRID, 2))
    return drawn.astype(np.float32)


def bend(matrix, displacements, crop_size: tuple[int, int]) -> tuple:
    """Adds an elastic deformation to a warp.

    The crop is divided into equal cells with a control point at the center of each.
    A control point reads the source at its own place plus its displacement; in between,
    displacements are interpolated bicubically.

    Args:
        matrix: Map from crop to source, see `sample_matrix`.
        displacements: float32 `[rows, columns, 2]`: x and y in pixels of the crop.
        crop_size: Height and width of the crop.

    Returns:
        x and y in the source for each pixel of the crop, float32 `[height, width]`.

    Source: https://arxiv.org/abs/1505.04597, section 3.1, which does not say where its
    3x3 points are.
    """
    height, width = crop_size
    moved = cv2.resize(displacements, (width, height), interpolation=cv2.INTER_CUBIC)
    x = moved[..., 0] + np.arange(width, dtype=np.float32)
    y = moved[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return tuple(a * x + b * y + c for a, b, c in matrix.tolist())


def of_colors(function: Callable, image) -> np.ndarray:
    """Applies a function of RGB to the first three channels of an image.

    An image without 8-bit colors is passed on; see `check_kind`.
    """
    if image.shape[2] == 3:
        return function(image)
    if image.shape[2] < 3:
        function(np.zeros((1, 1, 3), np.uint8))  # Draws the same random numbers.
        return image
    colors = np.ascontiguousarray(image[..., :3])
    return np.concatenate([function(colors), image[..., 3:]], axis=-1)


def warp(
    image,
    label,
    source,
    crop_size: tuple[int, int],
    padding: tuple[float, ...] = PADDING_COLOR,
) -> tuple[np.ndarray, np.ndarray]:
    """Crops image and label, with a single interpolation each.

    Args:
        image: RGB, uint8 `[height, width, 3]`; or any channels of uint8, uint16 or
            float32.
        label: Class indices and 255, uint8 `[height, width]`.
        source: Map from crop to source: a matrix of `sample_matrix`, or the coordinates
            that `bend` returns.
        crop_size: Height and width of the crop.
        padding: Value of each channel outside of the source.

    Returns:
        The image, bilinear, `padding` outside of the source; and uint8 label, nearest
        neighbor, `IGNORE_LABEL` outside.
    """
    parts = []
    for first in range(0, image.shape[2], _AT_ONCE):
        part = image[..., first : first + _AT_ONCE]
        outside = padding[first : first + _AT_ONCE]
        part = np.ascontiguousarray(part) if image.shape[2] > _AT_ONCE else part
        part = _crop(part, source, crop_size, cv2.INTER_LINEAR, outside)
        parts.append(part[..., np.newaxis] if part.ndim == 2 else part)
    image = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
    return image, _crop(label, source, crop_size, cv2.INTER_NEAREST, IGNORE_LABEL)


def warp_instances(instances, source, crop_size: tuple[int, int]) -> np.ndarray:
    """Crops uint16 instance ids, as `warp` crops a label; 0 outside of the source.

    Args:
        instances: `[height, width]` or `[layers, height, width]`.
        source: See `warp`.
        crop_size: Height and width of the crop.
    """
    if instances.ndim == 3:
        return np.stack([warp_instances(x, source, crop_size) for x in instances])
    return _crop(instances, source, crop_size, cv2.INTER_NEAREST, 0)


def _crop(pixels, source, crop_size, interpolation, outside):
    if isinstance(source, tuple):
        x, y = source
        return cv2.remap(pixels, x, y, interpolation, borderValue=outside)
    flags = cv2.WARP_INVERSE_MAP | interpolation
    return cv2.warpAffine(
        pixels, source, crop_size[::-1], flags=flags, borderValue=outside
    )


def change_colors(image, augmentation: Augmentation, rng) -> np.ndarray:
    """Changes brightness, contrast and saturation of a uint8 `[..., 3]` RGB image.

    An image of another type is returned as it is, if nothing is to be changed.
    """
    shift = 255 * augmentation.brightness * (2 * rng.random() - 1)
    contrast = 1 + augmentation.contrast * (2 * rng.random() - 1)
    saturation = 1 + augmentation.saturation * (2 * rng.random() - 1)
    if augmentation.brightness or augmentation.contrast:
        table = (np.arange(256) - 127.5) * contrast + 127.5 + shift
        image = cv2.LUT(image, np.clip(np.rint(table), 0, 255).astype(np.uint8))
    if augmentation.saturation:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=-1)
        image = cv2.addWeighted(image, saturation, gray, 1 - saturation, 0)
    return image
