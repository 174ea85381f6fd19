"""The geometry of Mask R-CNN on fixed random numbers, on TensorFlow or JAX.

KERAS_BACKEND=jax python -m tests.support.geometry FOLDER

writes FOLDER/geometry.npz, what `compute` returns on JAX.
"""

import pathlib
import sys

import numpy as np
from keras import ops

from kerasseg.instances import (
    anchors,
    boxes,
    detections,
    levels,
    mask_targets,
    matching,
    nms,
    pasting,
    proposals,
    roi_align,
    sampling,
)

HEIGHT, WIDTH = 61, 83
STRIDES = (4, 8)


def drawn():
    """Draws the inputs: two images with two levels, 30 boxes and 5 objects each."""
    random = np.random.default_rng(0)
    sizes = [(-(-HEIGHT // s), -(-WIDTH // s)) for s in STRIDES]
    counts = [3 * height * width for height, width in sizes]
    corner = random.integers(0, 60, (2, 35, 2))
    all_boxes = np.concatenate(
        [corner, corner + random.integers(0, 40, (2, 35, 2))], -1
    )

    def normal(*shape):
        return random.normal(size=shape).astype("float32")

    return {
        "maps": [normal(2, *size, 4) for size in sizes],
        "scores": [normal(2, count) for count in counts],
        "codes": [0.3 * normal(2, count, 4) for count in counts],
        "boxes": all_boxes[:, :30].astype("float32"),
        "objects": all_boxes[:, 30:].astype("float32"),
        "classes": np.array([[1, 3, 2, 0, 0], [2, 2, 1, 1, 3]], "int32"),
        "is_crowd": np.array([[0, 0, 1, 0, 0], [1, 0, 0, 0, 0]], "bool"),
        "random": random.uniform(size=(2, 35)).astype("float32"),
        "logits": 2 * normal(2, 30, 4),
        "class_codes": normal(2, 30, 4, 4),
        "ids": random.integers(0, 4, (2, 2, HEIGHT, WIDTH)).astype("int32"),
        "masks": random.uniform(size=(2, 30, 28, 28)).astype("float32"),
    }


def compute(given):
    """Calls each function; returns tensors by name."""
    maps, rois = given["maps"], given["boxes"]
    valid = ops.ones((2, 30), "bool")
    sizes = [map_.shape[1:3] for map_ in maps]
    grid = anchors.pyramid_anchors(sizes, STRIDES, (16, 32))
    objects = given["objects"], given["classes"], given["is_crowd"]
    codes = boxes.encode(rois, rois[:, ::-1])
    options = {"num_before": 40, "num_after": 30}
    proposed = proposals.propose(
        given["scores"], given["codes"], grid, (HEIGHT, WIDTH), **options
    )
    detected = detections.detect(
        given["logits"],
        given["class_codes"],
        rois,
        valid,
        image_size=(HEIGHT, WIDTH),
        count=20,
    )
    chosen = sampling.sample_rois(
        rois,
        valid,
        *objects[:2],
        is_crowd=objects[2],
        random=given["random"],
        count=16,
        positive_fraction=0.5,
    )
    level = ops.minimum(levels.assign(rois, min_level=1), 1)
    found = {
        "iou": boxes.iou(rois, given["objects"]),
        "coverage": boxes.coverage(rois, given["objects"]),
        "encode": codes,
        "decode": boxes.clip(boxes.decode(codes, rois), HEIGHT, WIDTH),
        "anchors": ops.concatenate(grid),
        "levels": level,
        "nms": nms.suppress(rois, valid, 0.3),
        "nms_indices": nms.nms(rois, valid, 12, 0.3)[0],
        "match_anchors": matching.match_anchors(grid[0], *objects)[0],
        "match_proposals": matching.match_proposals(rois, *objects)[0],
        "paste": pasting.paste_tensors(given["masks"], rois, HEIGHT, WIDTH),
    }
    for aligned in (True, False):
        pooling = {"strides": STRIDES, "aligned": aligned}
        values = roi_align.pyramid_roi_align(maps, rois, level, 5, **pooling)
        found[f"roi_align_{aligned}"] = values
        layers, ids = ops.zeros((2, 30), "int32"), ops.ones((2, 30), "int32")
        found[f"mask_targets_{aligned}"] = mask_targets.mask_targets(
            rois, layers, ids, given["ids"], 6, aligned=aligned
        )
    for name, parts in (("propose", proposed), ("detect", detected), ("rois", chosen)):
        found |= {f"{name}_{key}": part for key, part in parts._asdict().items()}
    return found


def pooled_sum(maps, given):
    """A function of the feature maps whose gradient is compared."""
    level = ops.minimum(levels.assign(given["boxes"], min_level=1), 1)
    values = roi_align.pyramid_roi_align(
        maps, given["boxes"], level, 5, strides=STRIDES
    )
    return ops.sum(ops.square(values))


def main(folder):
    """Computes on JAX, compiled, with gradients of RoIAlign."""
    import jax

    given = drawn()
    found = dict(jax.jit(compute)(given))
    for i, slope in enumerate(jax.grad(pooled_sum)(given["maps"], given)):
        found[f"slope_{i}"] = slope
    arrays = {name: np.asarray(value) for name, value in found.items()}
    np.savez(pathlib.Path(folder) / "geometry.npz", **arrays)


if __name__ == "__main__":
    if "tensorflow" in sys.modules:
        sys.exit("This needs KERAS_BACKEND=jax.")
    main(sys.argv[1])
