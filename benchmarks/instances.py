r"""Seconds of the parts of Mask R-CNN, compared with a peer.

python benchmarks/instances.py [--peer=SCRIPT --peer_python=PYTHON]

The network is Mask R-CNN with ResNet-50 and a feature pyramid, 81 outputs, on one image
of 512 x 512 pixels. "trunk_s" is the time of encoder, pyramid and proposal network;
"box_head_s" that of the box head on 1000 regions of 7 x 7 cells; "mask_head_s" that of
the mask head on 100 regions of 14 x 14 cells; "parts_s" is their sum. "forward_s" is
the whole network, and "forced_forward_s" that with 1000 given proposals and 100 given
detections instead: without any suppression of boxes, and with the same
work on both sides. "roi_align_s" takes the features of 1000 regions and "nms_s"
suppresses 1000 boxes. "train_step_s" computes loss and gradients of one image with 512
regions, without the update. The peer is any script that prints a JSON line with some of
these. Both sides run alternately, each in its own process. Prints the medians and their
ratios to the peer's (below 1: ours is faster) as one JSON line.
"""

import json
import time

import keras
import numpy as np
import sides
import tensorflow as tf
from absl import app, flags

from kerasseg import models, training
from kerasseg.instances import levels, nms, roi_align
from kerasseg.training.instance_objective import InstanceObjective

_ONLY_OURS = flags.DEFINE_boolean("only_ours", False, "Measure in this process.")

_SIZE, _RUNS = 512, 5  # After one to warm up, as in the peer.


def ours() -> dict:
    """Measures the network in this process."""
    keras.utils.set_random_seed(0)
    model = models.build_model(
        "mask_rcnn", 80, backbone="resnet50", image_size=(_SIZE, _SIZE)
    )
    _, *rpn = model.get_layer("proposals").input
    _, *maps = model.get_layer("box_roi_align").input
    image = tf.random.stateless_uniform([1, _SIZE, _SIZE, 3], [1, 2], 0.0, 255.0)
    trunk = keras.Model(model.input, [rpn, maps])
    regions = [
        tf.random.normal([1000, 7, 7, 256]),
        tf.random.normal([100, 14, 14, 256]),
    ]
    box_head, mask_head = (model.get_layer(f"{name}_head") for name in ("box", "mask"))
    boxes = random_boxes(1000)
    parts = {
        "trunk_s": seconds(trunk, image),
        "box_head_s": seconds(box_head, regions[0]),
        "mask_head_s": seconds(mask_head, regions[1]),
    }
    features = trunk(image)[1]
    return {
        **parts,
        "parts_s": sum(parts.values()),
        "forward_s": seconds(model, image),
        "forced_forward_s": seconds(lambda x: forced(model, trunk, x, boxes), image),
        "roi_align_s": seconds(lambda x: pooled(features, x), boxes),
        "nms_s": seconds(
            lambda x: nms.suppress(x, tf.ones([1, 1000], bool), 0.7), boxes
        ),
        "train_step_s": train_step_seconds(model, image, boxes),
    }


def forced(model, trunk, image, boxes):
    """Returns the outputs of the heads for proposals, of which a tenth is detected."""
    rpn, maps = trunk(image)
    found = boxes[:, :100]
    box, mask = (model.get_layer(f"{name}_roi_align") for name in ("box", "mask"))
    return (
        rpn,
        model.get_layer("box_head")(box([boxes, *maps])),
        model.get_layer("mask_head")(mask([found, *maps])),
    )


def random_boxes(count):
    """Returns boxes of all sizes, `[1, count, 4]`."""
    random = np.random.default_rng(0)
    corner = random.uniform(0, _SIZE - 8, (1, count, 2))
    side = 8 * 2 ** random.uniform(0, 5, (1, count, 2))
    far = np.minimum(corner + side, _SIZE)
    return tf.constant(np.concatenate([corner, far], axis=-1), tf.float32)


def pooled(features, boxes):
    """Returns the features of boxes, 7 x 7 cells each."""
    strides = (4, 8, 16, 32)
    return roi_align.pyramid_roi_align(
        features, boxes, levels.assign(boxes), 7, strides=strides
    )


def train_step_seconds(model, image, boxes):
    """Returns the time of the losses and gradients of an image with ten objects."""
    objective = InstanceObjective(model, training.Recipe())
    numbers = tf.range(1, 11)[tf.newaxis]
    batch = {
        "boxes": boxes[:, :10],
        "classes": numbers,
        "is_crowd": tf.zeros([1, 10], bool),
        "layers": tf.zeros([1, 10], tf.int32),
        "ids": numbers,
        "maps": tf.zeros([1, 1, _SIZE, _SIZE], tf.int32),
    }
    variables = [v.value for v in model.trainable_variables]

    def step(image):
        with tf.GradientTape() as tape:
            sums = objective.sums(
                {**batch, "image": image}, tf.constant([0, 0], tf.int64)
            )
        return tape.gradient(sums.loss, variables)

    return seconds(step, image)


def seconds(function, x) -> float:
    """Returns the mean time of a few calls, after one to warm up."""
    call = tf.function(lambda x: function(x))
    tf.nest.map_structure(lambda y: y.numpy(), call(x))
    start = time.perf_counter()
    for _ in range(_RUNS):
        tf.nest.map_structure(lambda y: y.numpy(), call(x))
    return (time.perf_counter() - start) / _RUNS


def main(argv):
    """Runs both sides alternately."""
    del argv
    if _ONLY_OURS.value:
        print(json.dumps(ours()))
        return
    report = sides.measure(__file__, ["--only_ours"], [])
    for key in [key for key in report if key.startswith("peer_")]:
        name = key.removeprefix("peer_")
        report[f"ratio_{name}"] = report[f"ours_{name}"] / report[key]
    print(json.dumps(report))


if __name__ == "__main__":
    app.run(main)
