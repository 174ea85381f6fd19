"""A network on images of any size: as a whole or in tiles, at several scales."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from kerasseg import errors
from kerasseg.images.class_rules import DEFAULT_RULE, ClassRule
from kerasseg.inference import memory_estimate, options, tiles
from kerasseg.models import outputs
from kerasseg.system import memory, runtime

_TILE_SIZES = (2048, 1024, 512, 256)
_STEP = 256  # Image sizes are rounded up to multiples of this for memory estimates.
# Feature maps of 64 channels, and the logits, stay below the 2**31 values that
# TensorFlow's kernels can count.
_MOST_PIXELS, _MOST_VALUES = 2**24, 2**30
_FEW_PIXELS = 2**20  # Up to here no estimate is needed if there is plenty of memory.


def _mask(p, rule):
    if rule == DEFAULT_RULE:  # Half as fast with Keras' argmax.
        return tf.cast(tf.argmax(p, -1, tf.int32), tf.uint8)
    return tf.cast(rule.mask(p, ops), rule.mask_dtype)


# What is computed from the probabilities `[..., num_classes]`.
_RESULTS: dict[str, Callable] = {
    "classes": lambda p, rule: [_mask(p, rule)],
    "confident_classes": lambda p, rule: [
        *_RESULTS["classes"](p, rule),
        rule.confidence(p, ops),
    ],
    "probabilities": lambda p, rule: [p],  # noqa: ARG005 - as the others.
}


def view_scores(
    logits: Callable,
    image,
    size,
    flipped,
    *,
    fusion: str,
    rule: ClassRule = DEFAULT_RULE,
):
    """Computes what `fuse_views` combines, of an image at one scale.

    Args:
        logits: Function of float32 images `[batch, height, width, channels]` to the
            logits of all classes.
        image: `[batch, height, width, channels]`.
        size: Height and width that the image is resized to, int32 `[2]`.
        flipped: Whether the network gets the horizontally flipped image: a Python
            bool, or a scalar tensor.
        fusion: One of `options.FUSIONS`.
        rule: How logits become probabilities.

    Returns:
        The logits, not resized, and the probabilities at the image's size; with the
        fusion "max_logits" the logits at the image's size.
    """
    view = _flip_if(tf.image.resize(image, size), flipped)
    scores = _flip_if(logits(view), flipped)
    resized = tf.image.resize(scores, tf.shape(image)[1:3])
    if fusion == "max_logits":
        return scores, resized
    return scores, rule.probabilities(resized, ops)


def _flip_if(x, flipped):
    if isinstance(flipped, bool):
        return x[:, :, ::-1] if flipped else x
    return tf.cond(flipped, lambda: x[:, :, ::-1], lambda: x)


def fuse_views(
    scores: Callable,
    image,
    *,
    scales: Sequence[float],
    flip: bool,
    fusion: str,
    rule: ClassRule = DEFAULT_RULE,
):
    """Fuses the scores of an image at several scales, flipped or not.

    Works eagerly and in a graph. DeepLab v3 takes the mean of the probabilities
    (https://arxiv.org/abs/1706.05587, section 4.1), DeepLab v2 the maximum of the
    logits (https://arxiv.org/abs/1606.00915, section 4.1).

    Args:
        scores: Function of the image, the size to resize it to, and whether to flip it,
            to the second result of `view_scores`.
        image: `[batch, height, width, channels]`.
        scales: As in `Predictor`, like the others.
        flip: Whether to flip.
        fusion: One of `options.FUSIONS`.
        rule: How logits become probabilities.

    Returns:
        Probabilities, float32 `[batch, height, width, num_classes]`.
    """
    size = tf.cast(tf.shape(image)[1:3], tf.float64)
    merge = tf.add if fusion == "mean" else tf.maximum
    total: Any = None
    for scale in scales:
        scaled = tf.maximum(1, tf.cast(tf.round(size * scale), tf.int32))
        for flipped in (False, True)[: 1 + flip]:
            # One view after the other: in parallel they would need more memory.
            with tf.control_dependencies([] if total is None else [total]):
                waiting = tf.identity(image)
            view = scores(waiting, scaled, flipped)
            total = view if total is None else merge(total, view)
    if fusion == "max_logits":
        return rule.probabilities(total, ops)
    if rule.multi_label:  # Probabilities do not sum to 1.
        return total / (len(scales) * (1 + flip)) if fusion == "mean" else total
    return total / tf.reduce_sum(total, -1, keepdims=True)


class Predictor:
    """Runs a network on images of any size.

    An image is predicted as a whole if the memory suffices, else in tiles. With several
    scales or flipping, the probabilities are fused at the image's size.

    Args:
        model: A Keras model, or another callable of float32 images
            `[batch, height, width, channels]` with the values of their files, RGB from
            0 to 255 by default. Returns logits of the same height and width, or a dict
            with the key "logits". A single logit is that of class 1 against class 0.
        scales: Scales of the image, each above 0.
        flip: Whether to evaluate also the horizontally flipped image at each scale.
        fusion: "mean" of the probabilities; "max", the maximum of the probabilities of
            each class, normalized to a sum of 1; or "max_logits", the softmax of the
            maximum of the logits of each class.
        tile_size: Side of a tile in pixels, a multiple of 128: images with a longer
            side are predicted in tiles. 0: only images that do not fit into memory.
        rule: How logits become probabilities and masks.

    Attributes:
        rule: As given.

    Raises:
        errors.UserError: An argument is out of range.
    """

    def __init__(
        self,
        model: Callable,
        *,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        fusion: str = "mean",
        tile_size: int = 0,
        rule: ClassRule = DEFAULT_RULE,
    ):
        options.check_predictor(scales, fusion, tile_size)
        self._model = model
        self._scales, self._flip, self._fusion = tuple(scales), flip, fusion
        self._tile_size, self.rule = tile_size, rule
        self._dtypes: dict[str, list] = {
            "classes": [rule.mask_dtype],
            "confident_classes": [rule.mask_dtype, np.float32],
            "probabilities": [np.float32],
        }

    def classes(self, images: np.ndarray, *, names: Sequence[str] = ()) -> np.ndarray:
        """Predicts the class of each pixel.

        Args:
            images: RGB, uint8 `[batch, height, width, 3]`; or the channels and the type
                of the images that the network was trained on.
            names: Names of the images, for error messages.

        Returns:
            Class numbers, uint8 `[batch, height, width]`; of a multi-label network the
            bits of the classes, uint16, see `bit_masks`.

        Raises:
            errors.UserError: The logits are NaN.
            MemoryError: Even the smallest tile does not fit into memory.
        """
        return self._predict(images, "classes", names)[0]

    def confident_classes(
        self, images: np.ndarray, *, names: Sequence[str] = ()
    ) -> list[np.ndarray]:
        """Predicts the class of each pixel and its probability.

        Args:
            images: RGB, uint8 `[batch, height, width, 3]`; or the channels and the type
                of the images that the network was trained on.
            names: Names of the images, for error messages.

        Returns:
            Class numbers, uint8, and their probabilities, float32 from 0 to 1, both
            `[batch, height, width]`.

        Raises:
            errors.UserError: The logits are NaN.
        """
        return self._predict(images, "confident_classes", names)

    def probabilities(
        self, images: np.ndarray, *, names: Sequence[str] = ()
    ) -> np.ndarray:
        """Predicts the probability of each class at each pixel.

        Args:
            images: RGB, uint8 `[batch, height, width, 3]`; or the channels and the type
                of the images that the network was trained on.
            names: Names of the images, for error messages.

        Returns:
            float32 `[batch, height, width, num_classes]`; each pixel's sum is 1,
            except for a multi-label network. A large array is memory-mapped to an
            unnamed temporary file.

        Raises:
            errors.UserError: The logits are NaN.
            OSError: The folder of temporary files is full.
        """
        return self._predict(images, "probabilities", names)[0]

    def regions(
        self, image: np.ndarray, *, tile_size: int, names: Sequence[str] = ()
    ) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Predicts the probabilities of one image region by region, in tiles.

        Args:
            image: As in `classes`, without the axis of the batch.
            tile_size: Side of a tile in pixels, a multiple of 128.
            names: The image's name, for error messages.

        Yields:
            Rows, columns and their probabilities, float32
            `[height, width, num_classes]`, valid until the next ones are requested.
        """

        def predict(rows, columns):
            tile = image[np.newaxis, rows, columns]
            return self._predict_whole(tile, "probabilities", names)[0].numpy()[0]

        return tiles.blend(image.shape[:2], tiles.check_size(tile_size), predict)

    @functools.cached_property
    def _channels(self):
        """Number of channels of the network's images; 3 if it does not say."""
        inputs = getattr(self._model, "inputs", None)
        exported = getattr(self._model, "channels", None) or 3
        return (inputs[0].shape[-1] if inputs else None) or exported

    def _logits(self, images):
        return outputs.class_logits(self._model(images, training=False))

    def _predict(self, images, result, names):
        images = np.asarray(images)
        longest = max(images.shape[1:3])
        tile_size = self._choose_tile_size(images.shape)
        while True:
            try:
                if longest <= tile_size:
                    tensors = self._predict_whole(images, result, names)
                    return [tensor.numpy() for tensor in tensors]
                return self._predict_tiles(images, result, names, tile_size)
            except (tf.errors.ResourceExhaustedError, MemoryError) as error:
                if min(longest, tile_size) <= tiles.SMALLEST:
                    raise MemoryError(str(error)) from error
                tile_size = tiles.fitting(min(longest, tile_size) / 2)

    def _predict_whole(self, images, result, names):
        images = tf.convert_to_tensor(images)
        if self._scales == (1.0,) and not self._flip:
            run = self._single_view(result, images.dtype, images.shape[-1])
            *tensors, sums = run(images)
            _check_finite(sums, names)
            return tensors

        def scores(image, size, flipped):
            view = self._view(image.dtype, image.shape[-1])
            found, sums = view(image, size, flipped)
            _check_finite(sums, names)
            return found

        fused = fuse_views(
            scores,
            images,
            scales=self._scales,
            flip=self._flip,
            fusion=self._fusion,
            rule=self.rule,
        )
        return _RESULTS[result](fused, self.rule)

    def _predict_tiles(self, images, result, names, tile_size):
        shape = images.shape[:3]
        if result == "probabilities":
            shape = (*shape, self._num_classes)
        arrays = [tiles.allocate(shape, dtype) for dtype in self._dtypes[result]]
        for i, image in enumerate(images):
            regions = self.regions(image, tile_size=tile_size, names=names[i : i + 1])
            for rows, columns, probabilities in regions:
                parts = _RESULTS[result](probabilities, self.rule)
                for array, part in zip(arrays, parts, strict=True):
                    array[i, rows, columns] = part
        return arrays

    # One graph for every size: the images of a folder often differ in size.
    @functools.lru_cache(maxsize=16)  # noqa: B019 - few live, and as long as a program.
    def _single_view(self, result, dtype, channels):
        def run(images):
            logits = self._logits(tf.cast(images, tf.float32))
            # The argmax needs no softmax.
            is_argmax = result == "classes" and self.rule == DEFAULT_RULE
            scores = logits if is_argmax else self.rule.probabilities(logits, ops)
            return *_RESULTS[result](scores, self.rule), _sums(logits)

        return tf.function(run, [tf.TensorSpec([None, None, None, channels], dtype)])

    @functools.lru_cache(maxsize=16)  # noqa: B019 - as above.
    def _view(self, dtype, channels):
        def run(images, size, flipped):
            logits, scores = view_scores(
                self._logits,
                images,
                size,
                flipped,
                fusion=self._fusion,
                rule=self.rule,
            )
            return scores, _sums(logits)

        signature = [
            tf.TensorSpec([None, None, None, channels], dtype),
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([], tf.bool),
        ]
        return tf.function(run, signature)

    def _choose_tile_size(self, shape):
        """Returns the longest side that is predicted as a whole, or as a tile."""
        if self._tile_size:
            return self._tile_size
        batch, *size = shape[:3]
        # The free memory of a GPU is not known beforehand: it is tried.
        room = math.inf if runtime.has_gpu() else memory.available() / 2 / batch
        if self._fits(size, room):
            return max(size)
        sides = (side for side in _TILE_SIZES if self._fits((side, side), room))
        return next(sides, tiles.SMALLEST)

    def _fits(self, size, room):
        """Returns whether an image needs at most `room` bytes."""
        scale = max(1, *self._scales)  # Logits are resized to the image.
        pixels = math.prod(size) * scale**2
        if pixels <= min(_FEW_PIXELS, room / memory_estimate.MOST_BYTES):
            return True
        if pixels > min(_MOST_PIXELS, _MOST_VALUES / self._num_classes):
            return False
        return self._needed_bytes(size, scale) <= room

    def _needed_bytes(self, size, scale):
        # Rounded up, since each new size takes seconds to estimate.
        sides = [-(-math.ceil(side * scale) // _STEP) * _STEP for side in size]
        return self._estimated_bytes(*sides)

    @functools.lru_cache(maxsize=64)  # noqa: B019 - few live, and as long as a program.
    def _estimated_bytes(self, height, width):
        size = height, width, self._channels
        return memory_estimate.needed(
            lambda x: self.rule.probabilities(self._logits(x), ops), *size
        )

    @functools.cached_property
    def _num_classes(self):
        return self._logits(tf.zeros([1, 1, 1, self._channels])).shape[-1]


def _sums(logits):
    """Sums each image's logits: NaN where any is, without a copy of them."""
    return tf.reduce_sum(logits, [1, 2, 3])


def _check_finite(sums, names):
    broken = np.flatnonzero(np.isnan(sums.numpy()))
    if broken.size:
        of = f" of image {names[broken[0]]}" if len(names) else ""
        raise errors.UserError(
            f"The network's logits{of} are NaN. Its weights are damaged, or its "
            f"training diverged; train it again with a lower learning rate."
        )
