"""Mask R-CNN computes what torchvision's network computes, with the same weights.

Skipped without torch and torchvision: `pip install torch torchvision`.
"""

import contextlib

import numpy as np
import pytest

from kerasseg import models

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

NUM_CLASSES = 4
SIZES = [(128, 192), (192, 128)]  # Multiples of 64: torchvision's stride of P6 is 64.


@pytest.fixture(scope="module")
def torchvision():
    """Imports torchvision; without its C operators, plain ones take their place."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):  # Importing it registers fake ones.
        with contextlib.suppress(RuntimeError):  # It has its own.
            library.define(f"{name}(Tensor d, Tensor s, float t) -> Tensor")
    torchvision = pytest.importorskip("torchvision")
    from torchvision.ops import boxes

    def nms(found, scores, threshold):
        order, kept = scores.argsort(descending=True, stable=True), []
        while len(order):
            kept.append(int(order[0]))
            rest = order[1:]
            overlaps = boxes.box_iou(found[order[:1]], found[rest])[0]
            order = rest[overlaps <= threshold]
        return torch.tensor(kept, dtype=torch.int64)

    if not torchvision.extension._has_ops():
        boxes.nms, boxes._assert_has_ops = nms, lambda: None
    return torchvision


@pytest.fixture(scope="module")
def reference(torchvision):
    """A network of torchvision with random weights that detects something."""
    torch.manual_seed(0)
    network = torchvision.models.detection.maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=NUM_CLASSES + 1,
        min_size=128,
        max_size=192,
    )
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif "bn" in name and name.endswith("weight"):
                tensor.uniform_(0.2, 0.6)
            elif name.endswith(("running_mean", "bias")):
                tensor.normal_(std=0.1)
        for layer in (network.rpn.head.cls_logits, network.rpn.head.bbox_pred):
            layer.weight.normal_(std=0.05)
        network.roi_heads.box_predictor.cls_score.weight.normal_(std=0.2)
        network.roi_heads.box_predictor.bbox_pred.weight.normal_(std=0.1)
    network.transform.postprocess = lambda found, *_: found  # Masks of 28x28 cells.
    return network.eval()


@pytest.fixture(scope="module")
def model(reference):
    model = models.build_model(
        "mask_rcnn",
        NUM_CLASSES,
        backbone="resnet50",
        stride_on="3x3",
        normalization="torch",
        roi_aligned=False,
    )
    state = {name: x.numpy() for name, x in reference.state_dict().items()}
    for path, array in converted(state).items():
        variable = variables(model)[path]
        assert tuple(variable.shape) == array.shape, path
        variable.assign(array)
    return model


def variables(model):
    return {v.path: v for v in model.variables}


def converted(state):
    """Returns the arrays of a state dict by the paths of the model's variables."""
    arrays = {}
    for name, array in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        layer, kind = name.rsplit(".", 1)
        target = target_of(layer)
        if target.endswith("_bn"):
            kinds = {"weight": "gamma", "bias": "beta"}
            arrays[f"{target}/{kinds.get(kind, kind.replace('running', 'moving'))}"] = (
                array
            )
            continue
        arrays[f"{target}/{'kernel' if kind == 'weight' else kind}"] = arranged(
            target, array
        )
    return {
        path.replace("moving_var", "moving_variance"): x for path, x in arrays.items()
    }


def target_of(layer):
    """Returns the name of the layer that has the weights of one of torchvision."""
    fixed = {
        "backbone.body.conv1": "conv1_conv",
        "backbone.body.bn1": "conv1_bn",
        "rpn.head.conv.0.0": "rpn_conv",
        "rpn.head.cls_logits": "rpn_objectness",
        "rpn.head.bbox_pred": "rpn_deltas",
        "roi_heads.box_head.fc6": "box_fc1",
        "roi_heads.box_head.fc7": "box_fc2",
        "roi_heads.box_predictor.cls_score": "box_scores",
        "roi_heads.box_predictor.bbox_pred": "box_deltas",
        "roi_heads.mask_predictor.conv5_mask": "mask_deconv",
        "roi_heads.mask_predictor.mask_fcn_logits": "mask_scores",
    }
    if layer in fixed:
        return fixed[layer]
    parts = layer.split(".")
    if layer.startswith("backbone.fpn.inner_blocks"):
        return f"fpn_lateral{int(parts[3]) + 2}"
    if layer.startswith("backbone.fpn.layer_blocks"):
        return f"p{int(parts[3]) + 2}"
    if layer.startswith("roi_heads.mask_head"):
        return f"mask_conv{int(parts[2]) + 1}"
    stage, unit, part = parts[2], int(parts[3]) + 1, parts[4]
    block = f"conv{int(stage[-1]) + 1}_block{unit}"
    if part == "downsample":
        return f"{block}_0_{'conv' if parts[5] == '0' else 'bn'}"
    return f"{block}_{part[-1]}_{part[:-1]}"


def arranged(target, array):
    """Returns weights in the order of Keras, with boxes as (y, x) instead of (x, y)."""
    if target in ("rpn_deltas", "box_deltas"):  # dx, dy, dw, dh.
        array = array.reshape(-1, 4, *array.shape[1:])[:, [1, 0, 3, 2]]
        array = array.reshape(-1, *array.shape[2:])
    if target == "box_fc1" and array.ndim == 2:  # Channels come first in torch.
        array = array.reshape(len(array), -1, 7, 7).transpose(0, 2, 3, 1)
        array = array.reshape(len(array), -1)
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T


def image(size):
    height, width = size
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + y / (7 + k)) + np.cos(x / (5 + k)) for k in range(3)]
    return (127.5 + 60 * np.stack(waves, -1)).round().astype("float32")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_boxes_scores_and_masks_are_those_of_torchvision(model, reference, size):
    rgb = image(size)
    with torch.no_grad():
        (expected,) = reference([torch.tensor(rgb.transpose(2, 0, 1) / 255)])
    expected = {name: x.numpy() for name, x in expected.items()}
    found = {name: np.asarray(x)[0] for name, x in model(rgb[None]).items()}
    count = len(expected["scores"])
    assert count >= 20
    assert found["valid"].sum() == count
    np.testing.assert_allclose(found["scores"][:count], expected["scores"], atol=1e-3)
    np.testing.assert_array_equal(found["classes"][:count], expected["labels"])
    yx = found["boxes"][:count, [1, 0, 3, 2]]
    np.testing.assert_allclose(yx, expected["boxes"], atol=1e-3 * max(size))
    np.testing.assert_allclose(
        found["masks"][:count], expected["masks"][:, 0], atol=1e-3
    )
