"""Draws the data set `shapes`: overlapping textured shapes on a textured ground.

The class of a shape is its outline. Its color is random, its texture mostly that of its
class. Each image depends on its seed only.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from kerasseg import datasets, errors, images
from tfrecords_tools.converters import pairs

HEIGHT, WIDTH = 240, 320  # Pixels.
_DRAWING = 2  # Increase it when the drawing changes, so that records are built again.
_SPLIT_SEEDS = {"train": 0, "val": 1}
_JPEG_QUALITY = 92
_RADII = (34, 80)  # Pixels, of the circle around a shape.
_NUM_SHAPES = (3, 6)
_USUAL_TEXTURE = 0.85  # Probability that a shape has the texture of its class.
_MIN_VISIBLE = 0.65  # Fraction of a shape's area; less is hard to recognize.
_MIN_CONTRAST = (
    80  # Difference between the colors of two textures, in at least one channel.
)
_RING_HOLE = 0.55  # Fraction of the radius.
_STAR_WAIST = 0.45  # Fraction of the radius.


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Lists the images of a split.

    Raises:
        errors.UserError: There is no such split.
    """
    if split not in _SPLIT_SEEDS:
        raise errors.UserError(
            f"shapes has no split '{split}', only {', '.join(_SPLIT_SEEDS)}"
        )
    start = (_DRAWING, source.seed, _SPLIT_SEEDS[split])
    count = source.num_drawn or datasets.get("shapes").num_images[split]
    return [
        pairs.Pair(f"{split}_{i:04d}", seed=(*start, i)) for i in range(1, count + 1)
    ]


def instance_format(source: pairs.Source) -> str:
    """Returns "map": every build writes instance maps."""
    del source
    return "map"


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Draws a pair: JPEG, class numbers, and instance numbers as a 16-bit PNG."""
    image, label, instances = draw(pair.seed)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    return pairs.Contents(
        image=cv2.imencode(".jpg", bgr, quality)[1].tobytes(),
        label=images.encode_label(label),
        instances=images.encode_label(instances),
    )


def draw(seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws one image.

    Args:
        seed: Non-negative numbers.

    Returns:
        RGB uint8 `[240, 320, 3]`, class numbers uint8 `[240, 320]`, and instance
        numbers uint16 `[240, 320]`, 0 for the ground, then from back to front.
    """
    rng = np.random.default_rng(seed)
    image, color = _texture(rng, 0, HEIGHT, WIDTH, others=())
    colors = [color]
    instances = np.zeros((HEIGHT, WIDTH), np.uint16)
    classes = [0]
    areas = [1]  # Of whole shapes, with hidden parts. The ground may be hidden.
    for _ in range(rng.integers(*_NUM_SHAPES, endpoint=True)):
        kind = int(rng.integers(1, 6))
        mask, area = _place(rng, kind, instances, areas)
        if mask is None:
            continue
        left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
        box = np.s_[top : top + height, left : left + width]
        pattern = kind if rng.random() < _USUAL_TEXTURE else rng.integers(6)
        texture, color = _texture(rng, pattern, height, width, others=colors)
        colors.append(color)
        image[box][mask[box]] = texture[mask[box]]
        instances[mask] = len(classes)
        classes.append(kind)
        areas.append(area)
    image = cv2.GaussianBlur(image, (3, 3), 0)
    noise = rng.integers(-8, 9, image.shape, np.int16)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    label = np.array(classes, np.uint8)[instances]
    return image, label, instances


def _place(rng, kind, instances, areas):
    """Finds a place where enough of this shape and all others is visible."""
    for _ in range(10):
        center = rng.uniform(0, (WIDTH, HEIGHT))
        outline = center + rng.uniform(*_RADII) * _outline(rng, kind)
        area = cv2.contourArea(outline.astype(np.float32))
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.fillPoly(mask, [outline.round().astype(np.int32)], 1)
        if kind == 5:
            hole = center + _RING_HOLE * (outline - center)
            cv2.fillPoly(mask, [hole.round().astype(np.int32)], 0)
            area *= 1 - _RING_HOLE**2
        chosen = mask.astype(bool)
        left = np.bincount(instances[~chosen], minlength=len(areas))
        visible = np.append(left[1:], chosen.sum()) / np.array([*areas[1:], area])
        if visible.min() >= _MIN_VISIBLE:
            return chosen, area
    return None, 0


def _outline(rng, kind):
    """Returns the corners of a rotated shape in the unit circle, `[corners, 2]`."""
    num_corners = {1: 64, 2: 4, 3: 3, 4: 10, 5: 64}[kind]
    angle = rng.uniform(0, 2 * np.pi) + np.arange(num_corners) * 2 * np.pi / num_corners
    radius = np.ones(num_corners)
    if kind == 4:
        radius[1::2] = _STAR_WAIST
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _texture(rng, pattern, height, width, others):
    """Draws two colors in a pattern, with cloudy light, far from the colors of others.

    Returns:
        uint8 `[height, width, 3]`, and its first color.
    """
    for _ in range(20):
        color = rng.integers(40, 216, 3).astype(np.float32)
        if all(np.abs(color - other).max() >= _MIN_CONTRAST for other in others):
            break
    second = color + rng.choice([-60, -40, 40, 60], 3).astype(np.float32)
    share = _pattern(rng, pattern, height, width)[
        ..., None
    ]  # Fraction of the second color.
    light = (_clouds(rng, height, width, 64)[..., None] - 0.5) * 40
    pixels = color + share * (second - color) + light
    return np.clip(pixels, 0, 255).astype(np.uint8), color


def _pattern(rng, pattern, height, width):
    """Draws spots, dots, checks, stripes, bricks or nothing, 0..1 `[height, width]`."""
    if pattern == 0:
        return _clouds(rng, height, width, 8)
    if pattern == 5:
        return np.zeros((height, width), np.float32)
    y, x = np.ogrid[:height, :width]
    angle, period = rng.uniform(0, np.pi), rng.uniform(9, 16)
    sine, cosine = np.array([np.sin(angle), np.cos(angle)]) * 2 * np.pi / period
    along = np.sin(x * cosine + y * sine)
    across = np.sin(y * cosine - x * sine)
    patterns = [along + across > 0.8, along * across > 0, along > 0]
    patterns.append(np.maximum(along, across) > 0.9)
    return patterns[pattern - 1].astype(np.float32)


def _clouds(rng, height, width, size):
    """Draws smooth noise, float32 `[height, width]`, 0..1; `size` is in pixels."""
    spots = rng.integers(0, 256, (height // size + 2, width // size + 2), np.uint8)
    exact = cv2.INTER_LINEAR_EXACT  # The same result on every machine.
    return cv2.resize(spots, (width, height), interpolation=exact) / np.float32(255)
