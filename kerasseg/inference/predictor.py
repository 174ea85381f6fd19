"""A network on pictures of any size: whole or in tiles, at several scales."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from kerasseg.inference import memory_estimate, tiles
from kerasseg.inference.views import Views, finish
from kerasseg.system import memory

_TILE_SIZES = (2048, 1024, 512, 256)
_STEP = 256  # Pixels, of the sizes that an estimate is made for.
# Maps of 64 channels, or a map of all classes, stay below the 2**31 values of an array
# that TensorFlow's kernels count.
_MOST_PIXELS, _MOST_VALUES = 2**24, 2**30
_FEW_PIXELS = 2**20  # For which no estimate is made where there is plenty of room.
_KINDS: dict[str, list] = {
    "classes": [np.uint8],
    "confident_classes": [np.uint8, np.float32],
    "probabilities": [np.float32],
}


class Predictor:
    """Runs a network on pictures of any size.

    A picture goes through as a whole where the memory allows, else in tiles; also when
    it turned out not to allow. With several scales, or mirrored, the probabilities at
    the picture's size are averaged (https://arxiv.org/abs/1706.05587, section 4.1).

    Args:
        model: A Keras model, or what an exported one is called by: float32 pictures
            `[batch, height, width, 3]`, RGB, 0..255, to logits of that size; of a dict
            "logits" are taken.
        scales: Of the picture, each above 0.
        flip: Whether each scale is seen in the mirror, too.
        fusion: "mean" of the probabilities, or "max": the largest of each class,
            brought back to a sum of 1.
        tile_size: Side of a tile in pixels, a multiple of 128: larger pictures go
            through in tiles. 0: only those that do not fit into memory.

    Raises:
        ValueError: A setting is out of range.
    """

    def __init__(
        self,
        model: Callable,
        *,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        fusion: str = "mean",
        tile_size: int = 0,
    ):
        self._views = Views(model, scales=scales, flip=flip, fusion=fusion)
        self._tile_size = tile_size and tiles.check_size(tile_size)

    def classes(self, images, *, names: Sequence[str] = ()) -> np.ndarray:
        """Finds the class of each pixel.

        Args:
            images: RGB, uint8 `[batch, height, width, 3]`.
            names: Of the pictures, for errors.

        Returns:
            Class numbers, uint8 `[batch, height, width]`.

        Raises:
            ValueError: The network's logits are NaN.
            tensorflow.errors.ResourceExhaustedError: Not even a small tile fits.
        """
        return self._look(images, "classes", names)[0]

    def confident_classes(self, images, *, names: Sequence[str] = ()):
        """Finds the class of each pixel and its probability; see `classes`.

        Returns:
            Class numbers, uint8, and float32 from 0 to 1, both
            `[batch, height, width]`.
        """
        return self._look(images, "confident_classes", names)

    def probabilities(self, images, *, names: Sequence[str] = ()) -> np.ndarray:
        """Finds the probability of each class at each pixel; see `classes`.

        Returns:
            float32 `[batch, height, width, num_classes]`; they sum to 1. Of a large
            picture it is a file that is gone with the array.

        Raises:
            OSError: The folder of temporary files is too full.
        """
        return self._look(images, "probabilities", names)[0]

    def regions(
        self, image, *, tile_size: int, names: Sequence[str] = ()
    ) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Finds the probabilities of one picture region by region, in tiles.

        Args:
            image: RGB, uint8 `[height, width, 3]`.
            tile_size: Side of a tile in pixels, a multiple of 128.
            names: The picture's, for errors.

        Yields:
            Rows, columns and their probabilities, float32
            `[height, width, num_classes]`, good until the next ones are asked for.
        """

        def predict(rows, columns):
            tile = image[np.newaxis, rows, columns]
            return self._views.look(tile, "probabilities", names)[0].numpy()[0]

        return tiles.blend(image.shape[:2], tiles.check_size(tile_size), predict)

    def _look(self, images, wanted, names):
        images = np.asarray(images)
        longest = max(images.shape[1:3])
        tile_size = self._choose(images.shape)
        while True:
            try:
                if longest <= tile_size:
                    found = self._views.look(images, wanted, names)
                    return [part.numpy() for part in found]
                return self._in_tiles(images, wanted, names, tile_size)
            except (tf.errors.ResourceExhaustedError, MemoryError):
                if min(longest, tile_size) <= tiles.SMALLEST:
                    raise
                tile_size = tiles.fitting(min(longest, tile_size) / 2)

    def _choose(self, shape):
        """Returns the longest side that goes through as a whole, or as a tile."""
        if self._tile_size:
            return self._tile_size
        batch, *size = shape[:3]
        # On a GPU it is tried: how much room it has is not known beforehand.
        on_gpu = bool(tf.config.list_physical_devices("GPU"))
        room = math.inf if on_gpu else memory.available() / 2 / batch
        if self._fits(size, room):
            return max(size)
        sides = (side for side in _TILE_SIZES if self._fits((side, side), room))
        return next(sides, tiles.SMALLEST)

    def _fits(self, size, room):
        """Tells whether a picture needs no more bytes than there are."""
        scale = self._views.largest_scale
        pixels = math.prod(size) * scale**2
        if pixels <= min(_FEW_PIXELS, room / memory_estimate.MOST_BYTES):
            return True
        if pixels > min(_MOST_PIXELS, _MOST_VALUES / self._num_classes):
            return False
        return self._needed(size, scale) <= room

    @functools.lru_cache(maxsize=64)  # noqa: B019 - few live, and as long as a program.
    def _needed_of(self, height, width):
        return memory_estimate.needed(
            lambda x: tf.nn.softmax(self._views.logits(x)), height, width
        )

    def _needed(self, size, scale):
        """Rounds sizes up, as each one takes seconds to look at."""
        sides = [-(-math.ceil(side * scale) // _STEP) * _STEP for side in size]
        return self._needed_of(*sides)

    @functools.cached_property
    def _num_classes(self):
        return self._views.logits(tf.zeros([1, 1, 1, 3])).shape[-1]

    def _in_tiles(self, images, wanted, names, tile_size):
        shape = images.shape[:3]
        if wanted == "probabilities":
            shape = (*shape, self._num_classes)
        found = [memory_estimate.allocate(shape, kind) for kind in _KINDS[wanted]]
        for i, image in enumerate(images):
            regions = self.regions(image, tile_size=tile_size, names=names[i : i + 1])
            for rows, columns, probabilities in regions:
                parts = finish(probabilities, wanted)
                for whole, part in zip(found, parts, strict=True):
                    whole[i, rows, columns] = part
        return found
