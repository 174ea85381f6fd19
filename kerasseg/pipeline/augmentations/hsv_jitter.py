"""Color jitter in HSV."""

import cv2
import numpy as np

from kerasseg.pipeline import augmentations

_STEPS = np.arange(256)


@augmentations.register(source="https://arxiv.org/abs/1512.02325")
def hsv_jitter(
    image, rng, *, hue: float = 0.1, saturation: float = 0.5, value: float = 0.5
):
    """Shifts the hue, and scales saturation and value.

    Args:
        image: RGB, uint8 `[height, width, 3]`.
        rng: `numpy.random.Generator`.
        hue: Largest shift in turns of the color circle, in both directions.
        saturation: Largest deviation of the saturation factor from 1.
        value: Largest deviation of the value factor from 1.

    Source: the released code of SSD draws hue and saturation from these ranges. It
    shifts the brightness; here the value has the range of the saturation.
    """
    shift, *deviations = rng.uniform(-1, 1, 3) * (hue, saturation, value)
    scaled = np.multiply.outer(_STEPS, 1 + np.array(deviations)).clip(0, 255)
    shifted = (_STEPS + shift * 256)[:, None] % 256
    table = np.concatenate([shifted, scaled], axis=1).astype(np.uint8)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)  # 256 steps of hue, not 180.
    return cv2.cvtColor(cv2.LUT(hsv, table[None]), cv2.COLOR_HSV2RGB_FULL)
