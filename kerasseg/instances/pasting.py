"""Pasting of masks, predicted in boxes, into masks of the size of the image.

Cell `i` of `n` has its center at `(i + 0.5) / n` of the box. A pixel has the value at
its own center, by bilinear interpolation between the centers of the cells, with 0
beyond those of the outer ones. With probabilities and a threshold of 0.5 no pixel whose
center is outside the box is set.
"""

import math

import numpy as np
from keras import ops


def paste(
    masks: np.ndarray,
    boxes: np.ndarray,
    height: int,
    width: int,
    threshold: float = 0.5,
) -> np.ndarray:
    """Pastes the masks of one image, with NumPy.

    Args:
        masks: Probabilities, `[n, cells, cells]`.
        boxes: `[n, 4]`, in pixels of the image.
        height: Height of the image in pixels.
        width: Its width.
        threshold: Pixels with at least this probability are set; above 0.

    Returns:
        bool `[n, height, width]`; False for boxes without area.
    """
    pasted = np.zeros((len(masks), height, width), bool)
    for mask, box, image in zip(masks, boxes, pasted, strict=True):
        top, left, part = paste_one(mask, box, height, width, threshold)
        rows, columns = part.shape
        image[top : top + rows, left : left + columns] = part
    return pasted


def paste_one(
    mask: np.ndarray,
    box: np.ndarray,
    height: int,
    width: int,
    threshold: float = 0.5,
) -> tuple[int, int, np.ndarray]:
    """Pastes one mask, with NumPy, and computes only the pixels around its box.

    Args:
        mask: Probabilities, `[cells, cells]`.
        box: `[4]`, in pixels of the image.
        height: See `paste`.
        width: See `paste`.
        threshold: See `paste`.

    Returns:
        `(top, left, part)`: bool `[rows, columns]`, and its place in the image. All
        other pixels are False.
    """
    y1, x1, y2, x2 = np.asarray(box, "float32")
    if not (np.isfinite(box).all() and y2 > y1 and x2 > x1):
        return 0, 0, np.zeros((0, 0), bool)
    top, rows = _axis_weights(y1, y2, mask.shape[0], height)
    left, columns = _axis_weights(x1, x2, mask.shape[1], width)
    values = rows @ np.asarray(mask, "float32") @ columns.T
    return top, left, values >= threshold


def _axis_weights(start, end, num_cells, size):
    """Returns the first pixel that a box can set, and the weights of the cells.

    The weights, float32 `[pixels, num_cells]`, are those of the pixels from the first
    to the last one that lie in the image.
    """
    margin = 0.5 * (end - start) / num_cells
    first = min(max(math.floor(start - margin), 0), size)
    last = max(min(math.ceil(end + margin), size), first)
    centers = np.arange(first, last, dtype="float32") + np.float32(0.5)
    cells = (centers - start) / (end - start) * np.float32(num_cells) - np.float32(0.5)
    distance = np.abs(cells[:, None] - np.arange(num_cells, dtype="float32"))
    return first, np.maximum(1 - distance, 0)


def paste_tensors(masks, boxes, height, width, threshold: float = 0.5):
    """Pastes the masks of a batch, as part of a model.

    It equals `paste`. One mask is computed after the other, to save memory.

    Args:
        masks: Probabilities, `[batch, n, cells, cells]`.
        boxes: `[batch, n, 4]`, in pixels of the image.
        height: Height of the image in pixels: an integer or a scalar tensor.
        width: Its width, likewise.
        threshold: See `paste`.

    Returns:
        bool `[batch, n, height, width]`.
    """
    batch, count = ops.shape(boxes)[:2]
    cells = masks.shape[-2:]
    flat_masks = ops.reshape(ops.cast(masks, "float32"), (-1, *cells))
    flat_boxes = ops.reshape(ops.cast(boxes, "float32"), (-1, 4))

    def paste_mask(inputs):
        mask, box = inputs
        rows = _axis_weight_tensor(box[0], box[2], cells[0], height)
        columns = _axis_weight_tensor(box[1], box[3], cells[1], width)
        return ops.matmul(ops.matmul(rows, mask), ops.transpose(columns)) >= threshold

    pasted = ops.map(paste_mask, (flat_masks, flat_boxes))
    return ops.reshape(pasted, (batch, count, height, width))


def _axis_weight_tensor(start, end, num_cells, size):
    """Returns the weights of the cells for all pixels, `[size, num_cells]`."""
    centers = ops.cast(ops.arange(size, dtype="int32"), "float32") + 0.5
    has_length = end > start
    length = ops.where(has_length, end - start, 1.0)
    cells = (centers - start) / length * float(num_cells) - 0.5
    distance = ops.abs(cells[:, None] - ops.arange(num_cells, dtype="float32"))
    return ops.where(has_length, ops.relu(1 - distance), 0.0)
