"""A trained network, with the names and colours of its classes."""

import os
from collections.abc import Callable

import numpy as np

from kerasseg import errors, images
from kerasseg.inference.predictor import Predictor


class Segmenter:
    """A trained network that takes pictures of any size.

    Args:
        model: See `Predictor`.
        class_names: In the order of the class numbers.
        palette: RGB of each class, uint8 `[num_classes, 3]`.
        **options: Of `Predictor`: scales, flip, fusion, tile_size.

    Attributes:
        model: The Keras model, or what an exported one is called by.
        class_names: In the order of the class numbers.
        palette: RGB of each class, uint8 `[num_classes, 3]`.
        predictor: `Predictor` of the model, for batches.
    """

    def __init__(
        self,
        model: Callable,
        class_names: tuple[str, ...],
        palette: np.ndarray,
        **options,
    ):
        self.model = model
        self.class_names = class_names
        self.palette = palette
        self.predictor = Predictor(model, **options)

    def predict(self, image: np.ndarray | str | os.PathLike) -> np.ndarray:
        """Finds the class of each pixel.

        Args:
            image: RGB, uint8 `[height, width, 3]`, or the path of a JPEG or PNG file,
                which is turned upright as its EXIF says.

        Returns:
            Class numbers, uint8 `[height, width]`.

        Raises:
            ValueError: No such array or file, or the network's logits are NaN.
        """
        return self.predictor.classes(_picture(image)[np.newaxis])[0]

    def probabilities(self, image: np.ndarray | str | os.PathLike) -> np.ndarray:
        """Finds the probability of each class at each pixel; see `predict`.

        Returns:
            float32 `[height, width, num_classes]`; they sum to 1.
        """
        return self.predictor.probabilities(_picture(image)[np.newaxis])[0]


def _picture(image):
    if isinstance(image, str | os.PathLike):
        return images.read_image(image)
    image = np.asarray(image)
    if (
        image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or not image.size
    ):
        raise errors.UserError(
            f"A picture is RGB, uint8 [height, width, 3], of a pixel or more; got "
            f"{image.dtype} {list(image.shape)}. Give the path of the file, or see "
            f"kerasseg.images.read_image."
        )
    return image
