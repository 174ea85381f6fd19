"""Layers of detectors: regions, their features, and the detections.

They compute in float32 for any dtype policy: half precision does not hold coordinates
of pixels.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from kerasseg.instances import anchors, detections, levels, proposals, roi_align


def _sides(x) -> tuple[Any, Any]:
    """Returns height and width of a map, numbers or scalar tensors."""
    _, height, width, _ = ops.shape(x)
    return height, width


@keras.saving.register_keras_serializable("kerasseg")
class Proposals(layers.Layer):
    """Selects the regions that most likely hold objects.

    Args:
        sizes: Sides of the anchors of each level in pixels, a number or several.
        ratios: Heights of the anchors divided by their widths.
        strides: Stride of each level in pixels.
        count: Number of regions of an image, and of a level before non-maximum
            suppression.
        threshold: IoU of non-maximum suppression.
    """

    def __init__(
        self,
        sizes: Sequence,
        ratios: Sequence[float],
        strides: Sequence[int],
        count: int = 1000,
        threshold: float = 0.7,
        **options,
    ):
        super().__init__(**{**options, "dtype": "float32"})
        self.sizes = [[s] if isinstance(s, int | float) else list(s) for s in sizes]
        self.ratios, self.strides = list(ratios), list(strides)
        self.count, self.threshold = count, threshold

    def call(self, inputs):
        """Selects regions.

        Args:
            inputs: The image, the objectness logits of each level, and the box deltas
                of each level, see `flatten`.

        Returns:
            Boxes, `[batch, count, 4]`, and whether there is one, bool `[batch, count]`.
        """
        image, *maps = inputs
        regions, _, valid = proposals.propose(
            *self.flatten(maps),
            _sides(image),
            num_before=self.count,
            num_after=self.count,
            iou_threshold=self.threshold,
        )
        missing = [[0, 0], [0, self.count - regions.shape[1]]]  # In small images.
        return ops.pad(regions, [*missing, [0, 0]]), ops.pad(valid, missing)

    def flatten(self, maps: Sequence) -> tuple[list, list, list]:
        """Flattens the maps of the proposal network.

        Args:
            maps: Objectness logits of each level, `[batch, rows, columns, anchors]`;
                then deltas of each level, `[batch, rows, columns, 4 * anchors]`.

        Returns:
            Logits of each level, `[batch, anchors]`; deltas, `[batch, anchors, 4]`; and
            anchors, `[anchors, 4]`.
        """
        objectness, deltas = maps[: len(self.strides)], maps[len(self.strides) :]
        of_levels = [
            anchors.level_anchors(*_sides(x), stride, sizes, self.ratios)
            for x, stride, sizes in zip(
                objectness, self.strides, self.sizes, strict=True
            )
        ]
        return (
            [ops.reshape(x, (ops.shape(x)[0], -1)) for x in objectness],
            [ops.reshape(x, (ops.shape(x)[0], -1, 4)) for x in deltas],
            of_levels,
        )

    def compute_output_spec(self, inputs):
        """Returns the output specs."""
        shape = inputs[0].shape[0], self.count
        boxes = keras.KerasTensor((*shape, 4), "float32")
        return boxes, keras.KerasTensor(shape, "bool")

    def get_config(self):
        """Returns the arguments of the constructor."""
        own = {
            "sizes": self.sizes,
            "ratios": self.ratios,
            "strides": self.strides,
            "count": self.count,
            "threshold": self.threshold,
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kerasseg")
class RoiAlign(layers.Layer):
    """Takes the features of regions from the level of their size.

    Args:
        size: Height and width of the result.
        strides: Stride of each level in pixels, powers of 2.
        aligned: See `instances.roi_align`.
    """

    def __init__(
        self, size: int, strides: Sequence[int], aligned: bool = True, **options
    ):
        super().__init__(**options)
        self.size, self.strides, self.aligned = size, list(strides), aligned

    def call(self, inputs):
        """Takes features.

        Args:
            inputs: Boxes, `[batch, boxes, 4]`, and a map of each level.

        Returns:
            `[batch * boxes, size, size, channels]`.
        """
        boxes, *maps = inputs
        lowest, highest = (
            stride.bit_length() - 1 for stride in (self.strides[0], self.strides[-1])
        )
        x = roi_align.pyramid_roi_align(
            maps,
            boxes,
            levels.assign(boxes, min_level=lowest, max_level=highest),
            self.size,
            strides=self.strides,
            aligned=self.aligned,
        )
        return ops.reshape(x, (-1, self.size, self.size, maps[0].shape[-1]))

    def compute_output_spec(self, inputs):
        """Returns the output spec."""
        x = inputs[1]
        shape = (None, self.size, self.size, x.shape[-1])
        return keras.KerasTensor(shape, self.compute_dtype)

    def get_config(self):
        """Returns the arguments of the constructor."""
        own = {"size": self.size, "strides": self.strides, "aligned": self.aligned}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kerasseg")
class Detections(layers.Layer):
    """Selects the objects that a detector returns.

    Args:
        count: Number of objects of an image.
        score_threshold: Scores of objects are above it.
        nms_threshold: IoU of non-maximum suppression within a class.
    """

    def __init__(
        self,
        count: int = 100,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        **options,
    ):
        super().__init__(**{**options, "dtype": "float32"})
        self.count = count
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold

    def call(self, inputs):
        """Selects objects.

        Args:
            inputs: The image; regions, `[batch, regions, 4]`; whether each is one, bool
                `[batch, regions]`; class logits, `[batch * regions, 1 + classes]`; and
                box deltas, `[batch * regions, 4 * (1 + classes)]`.

        Returns:
            Boxes, scores, classes, and whether there is an object, see
            `instances.detections.Detections`.
        """
        image, regions, valid, logits, deltas = inputs
        count, classes = regions.shape[1], logits.shape[-1]
        return tuple(
            detections.detect(
                ops.reshape(logits, (-1, count, classes)),
                ops.reshape(deltas, (-1, count, classes, 4)),
                regions,
                valid,
                image_size=_sides(image),
                count=self.count,
                min_score=self.score_threshold,
                iou_threshold=self.nms_threshold,
            )
        )

    def compute_output_spec(self, inputs):
        """Returns the output specs."""
        shape = inputs[0].shape[0], self.count
        boxes = keras.KerasTensor((*shape, 4), "float32")
        kinds = "float32", "int32", "bool"
        return boxes, *(keras.KerasTensor(shape, kind) for kind in kinds)

    def get_config(self):
        """Returns the arguments of the constructor."""
        own = {
            "count": self.count,
            "score_threshold": self.score_threshold,
            "nms_threshold": self.nms_threshold,
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kerasseg")
class MasksOfClasses(layers.Layer):
    """Returns the probabilities of the masks of the predicted classes."""

    def __init__(self, **options):
        super().__init__(**{**options, "dtype": "float32"})

    def call(self, inputs):
        """Selects masks.

        Args:
            inputs: Mask logits, `[batch * objects, cells, cells, 1 + classes]`; classes
                and validity of the objects, `[batch, objects]`.

        Returns:
            From 0 to 1, `[batch, objects, cells, cells]`; 0 without an object.
        """
        logits, classes, valid = inputs
        chosen = ops.reshape(classes, (-1, 1, 1, 1))
        logits = ops.take_along_axis(
            logits, ops.broadcast_to(chosen, (*ops.shape(logits)[:3], 1)), axis=3
        )
        shape = -1, classes.shape[1], *logits.shape[1:3]
        masks = ops.sigmoid(ops.reshape(logits[..., 0], shape))
        return ops.where(valid[..., None, None], masks, 0.0)

    def compute_output_spec(self, inputs):
        """Returns the output spec."""
        logits, classes, _ = inputs
        shape = *classes.shape, *logits.shape[1:3]
        return keras.KerasTensor(shape, "float32")
