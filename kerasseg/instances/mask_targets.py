"""Targets of the mask head: masks of objects, cropped by proposals."""

from keras import ops

from kerasseg.instances import roi_align


def mask_targets(
    rois,
    layers,
    ids,
    maps,
    output_size: int = 28,
    *,
    sampling_ratio: int = 2,
    aligned: bool = True,
):
    """Crops and resizes the mask of an object for each RoI.

    The binary masks `maps[layer] == id` are sampled as `roi_align.roi_align` samples
    features, but only at the cells that it needs.

    Args:
        rois: Sampled proposals, not the boxes of the objects, `[batch, n, 4]`, in
            pixels of `maps`.
        layers: Layer of the object of each RoI, int32 `[batch, n]`.
        ids: Its number in that layer, int32 `[batch, n]`; 0 for RoIs without an object,
            whose targets are 0.
        maps: Numbers of the objects, int32 `[batch, num_layers, height, width]`, 0
            where there is none. The sizes may be unknown.
        output_size: Side of the targets.
        sampling_ratio: See `roi_align.roi_align`.
        aligned: See `roi_align.roi_align`.

    Returns:
        float32 `[batch, n, output_size, output_size]`, from 0 to 1: the share of the
        object in each bin.

    Source: Mask R-CNN (https://arxiv.org/abs/1703.06870), section 3.1.
    """
    rois = ops.cast(rois, "float32")
    batch, num_layers, height, width = ops.shape(maps)
    ids = ops.cast(ids, "int32")[..., None, None]
    first = ops.arange(batch, dtype="int32")[:, None] * num_layers
    first = (first + ops.cast(layers, "int32")) * height
    table = ops.reshape(ops.cast(maps, "int32"), (-1,))

    options = (output_size, sampling_ratio, aligned)
    rows = roi_align.axis_taps(rois[..., 0], rois[..., 2], height, *options)
    columns = roi_align.axis_taps(rois[..., 1], rois[..., 3], width, *options)
    total = 0.0
    for row, row_weight in rows:
        row = (first[..., None] + row) * width
        for column, column_weight in columns:
            found = ops.take(table, row[..., :, None] + column[..., None, :])
            is_object = ops.cast(ops.equal(found, ids), "float32")
            weight = row_weight[..., :, None] * column_weight[..., None, :]
            total = total + weight * is_object
    return ops.where(ids > 0, total, 0.0)
