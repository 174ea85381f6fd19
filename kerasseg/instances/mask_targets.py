"""What the mask branch is trained on."""

from keras import ops

from kerasseg.instances import roi_align


def crop(maps, layers, ids, boxes, size: int, *, ratio: int = 2):
    """Crops the masks of objects to regions, and resizes them ([He17] section 3.1).

    The value of a cell is the part of its samples, weighted bilinearly, that belongs to
    the object: RoIAlign of the object's mask.

    Args:
        maps: Numbers of objects, 0 without one, int32 `[batch, layers, height, width]`.
        layers: Layer of the object of each region, int32 `[batch, regions]`.
        ids: Number of the object in that layer, int32 `[batch, regions]`.
        boxes: The regions, that is, the proposals, `[batch, regions, 4]`.
        size: Height and width of the result.
        ratio: Samples of a cell along each axis.

    Returns:
        From 0 to 1, float32 `[batch, regions, size, size]`.
    """
    batch, num_layers, height, width = ops.shape(maps)
    flat = ops.reshape(maps, (-1,))
    number = ops.arange(batch, dtype="int32")[:, None] * num_layers + layers
    start = number * height * width
    shape = ops.ones_like(layers)
    total = 0.0
    for y, x in roi_align.sample_pairs(
        boxes, shape * height, shape * width, size, ratio=ratio
    ):
        for row, row_weight in y.ends():
            for column, column_weight in x.ends():
                index = row[..., :, None] * width + column[..., None, :]
                found = ops.take(flat, start[..., None, None] + index, axis=0)
                weight = row_weight[..., :, None] * column_weight[..., None, :]
                here = ops.cast(found == ids[..., None, None], "float32")
                total += here * weight / ratio**2
    return total
