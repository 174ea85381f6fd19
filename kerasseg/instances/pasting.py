"""Masks of the size of the image, from those of boxes.

A mask of cells is interpolated bilinearly at the centers of pixels, where a cell beyond
the box is 0. No coordinate is rounded, unlike in the paper's first code, where boxes
are rounded to pixels.
"""

import numpy as np
from keras import ops

THRESHOLD = 0.5  # Probability from which a pixel belongs to the object ([He17]).


def paste(masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pastes the masks of an image.

    Args:
        masks: Probabilities, `[objects, cells, cells]`.
        boxes: `[objects, 4]`.
        size: Height and width of the image.

    Returns:
        bool `[objects, height, width]`.
    """
    pasted = np.zeros((len(masks), *size), bool)
    for mask, box, target in zip(masks, boxes, pasted, strict=True):
        (top, left), (bottom, right) = np.floor(box[:2]), np.ceil(box[2:])
        rows = slice(max(int(top), 0), min(int(bottom), size[0]))
        columns = slice(max(int(left), 0), min(int(right), size[1]))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        y = _weights(np, np.arange(rows.start, rows.stop), box[0], box[2], len(mask))
        x = _weights(
            np, np.arange(columns.start, columns.stop), box[1], box[3], len(mask)
        )
        target[rows, columns] = y @ mask @ x.T >= THRESHOLD
    return pasted


def paste_all(masks, boxes, height, width):
    """Pastes the masks of a batch in a graph, an object after the other.

    Args:
        masks: Probabilities, `[batch, objects, cells, cells]`.
        boxes: `[batch, objects, 4]`.
        height: Height of the images.
        width: Width of the images.

    Returns:
        bool `[batch, objects, height, width]`.
    """
    cells = masks.shape[-1]
    rows, columns = ops.arange(height), ops.arange(width)

    def one(arguments):
        mask, box = arguments
        y = _weights(ops, rows, box[:, None, 0:1], box[:, None, 2:3], cells)
        x = _weights(ops, columns, box[:, None, 1:2], box[:, None, 3:4], cells)
        return ops.einsum("bhi,bij,bwj->bhw", y, mask, x) >= THRESHOLD

    arguments = ops.moveaxis(masks, 1, 0), ops.moveaxis(boxes, 1, 0)
    return ops.moveaxis(ops.map(one, arguments), 0, 1)


def _weights(numpy, pixels, start, end, cells):
    """Returns the weight of each cell at each pixel, `[..., pixels, cells]`."""
    side = numpy.maximum(end - start, 1e-6)
    if numpy is ops:
        pixels = ops.cast(pixels, "float32")[None, :, None]
        centers = ops.arange(cells, dtype="float32")[None, None, :]
    else:
        pixels, centers = pixels[:, None], np.arange(cells)[None, :]
    place = (pixels + 0.5 - start) / side * cells - 0.5
    return numpy.maximum(1.0 - numpy.abs(place - centers), 0.0)
