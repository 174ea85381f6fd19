"""Values equal those of torchvision, where it is installed.

Its operators in C++ are not needed: a wheel for CUDA beside PyTorch for CPUs has
the same in Python, except for NMS.
"""

import contextlib
import importlib

import numpy as np
import pytest

from kerasseg.instances import anchors as anchor_ops
from kerasseg.instances import boxes as box_ops
from kerasseg.instances import nms, roi_align

torch = pytest.importorskip("torch")


def _import_torchvision():
    """Imports torchvision, also beside a PyTorch that its operators do not fit."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # Raised if they fit.
            library.define(f"{name}(Tensor d, Tensor s, float t) -> Tensor")
    try:
        import torchvision
        from torchvision.models.detection import _utils, anchor_utils, image_list
    except Exception as error:
        pytest.skip(f"torchvision cannot be imported: {error}", allow_module_level=True)
    return library, torchvision, _utils, anchor_utils, image_list


_LIBRARY, torchvision, _utils, anchor_utils, image_list = _import_torchvision()
_roi_align = importlib.import_module("torchvision.ops.roi_align")
SWAP = [1, 0, 3, 2]  # (y1, x1, y2, x2) from (x1, y1, x2, y2), and back.


def drawn_boxes(random, count, low=-20, high=130, sides=90):
    corner = random.uniform(low, high, (count, 2))
    sides = random.uniform(0, sides, (count, 2))
    return np.concatenate([corner, corner + sides], axis=-1).astype("float32")


def to_torch(boxes):
    return torch.tensor(np.ascontiguousarray(boxes[..., SWAP]))


def zero_outside(interpolate):
    """Adds what the version in Python lacks: samples far outside are 0 in C++."""

    def interpolate_and_zero(features, index, y, x, *masks):
        values = interpolate(features, index, y, x, *masks)
        height, width = features.shape[2:]
        rows = ((y >= -1) & (y <= height))[:, None, :, None, :, None]
        return values * rows * ((x >= -1) & (x <= width))[:, None, None, :, None, :]

    return interpolate_and_zero


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("size, sampling_ratio", [(7, 2), (14, 2), (3, 1), (2, 3)])
def test_roi_align(aligned, size, sampling_ratio, monkeypatch):
    name = "_bilinear_interpolate"
    monkeypatch.setattr(_roi_align, name, zero_outside(getattr(_roi_align, name)))
    random = np.random.default_rng(size)
    features = random.normal(size=(2, 30, 37, 5)).astype("float32")
    boxes = np.stack([drawn_boxes(random, 60) for _ in range(2)])
    found = roi_align.roi_align(
        features, boxes, size, stride=4, sampling_ratio=sampling_ratio, aligned=aligned
    )
    index = torch.arange(2.0).repeat_interleave(60)[:, None]
    given = (
        torch.tensor(features.transpose(0, 3, 1, 2)),
        torch.cat([index, to_torch(boxes.reshape(-1, 4))], dim=1),
    )
    oracle = _roi_align._roi_align.__wrapped__  # In Python, without `torch.compile`.
    expected = oracle(*given, 1 / 4, size, size, sampling_ratio, aligned)
    expected = expected.numpy().transpose(0, 2, 3, 1).reshape(found.shape)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_box_coding():
    random = np.random.default_rng(0)
    boxes, references = (drawn_boxes(random, 200, sides=300) for _ in range(2))
    for each in (boxes, references):
        each[:, 2:] += 1  # Sides of at least one pixel.
    for weights in (box_ops.ROI_WEIGHTS, box_ops.RPN_WEIGHTS):
        coder = _utils.BoxCoder(weights)
        expected = coder.encode_single(to_torch(boxes), to_torch(references)).numpy()
        codes = np.array(box_ops.encode(boxes, references, weights))
        np.testing.assert_allclose(codes, expected[:, SWAP], rtol=1e-5, atol=1e-5)
        codes = random.normal(size=(200, 4)).astype("float32") * 4
        decoded = coder.decode_single(to_torch(codes), to_torch(references)).numpy()
        found = box_ops.decode(codes, references, weights)
        np.testing.assert_allclose(found, decoded[:, SWAP], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("size", [(1024, 1024), (800, 1344), (97, 130), (320, 224)])
def test_anchors(size):
    strides = (4, 8, 16, 32, 64)
    sizes = [[-(-side // stride) for side in size] for stride in strides]
    generator = anchor_utils.AnchorGenerator(
        tuple((s,) for s in anchor_ops.SIZES), (anchor_ops.RATIOS,) * 5
    )
    maps = [torch.zeros(1, 1, *map_size) for map_size in sizes]
    (expected,) = generator(
        image_list.ImageList(torch.zeros(1, 3, *size), [size]), maps
    )
    levels = anchor_ops.pyramid_anchors(sizes, anchor_ops.strides(size, sizes))
    found = np.concatenate([np.array(level) for level in levels])
    np.testing.assert_array_equal(found, expected.numpy()[:, SWAP])


def test_iou():
    random = np.random.default_rng(0)
    first, second = drawn_boxes(random, 50), drawn_boxes(random, 40)
    expected = torchvision.ops.box_iou(to_torch(first), to_torch(second)).numpy()
    np.testing.assert_allclose(box_ops.iou(first, second), expected, atol=1e-6)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_nms(threshold):
    random = np.random.default_rng(0)
    boxes, scores = drawn_boxes(random, 300, high=60), -np.arange(300.0)
    given = to_torch(boxes), torch.tensor(scores)
    try:
        expected = torchvision.ops.nms(*given, threshold).tolist()
    except (RuntimeError, NotImplementedError):
        pytest.skip("this torchvision has no NMS for CPUs")
    kept = nms.suppress(boxes[None], np.ones((1, 300), bool), threshold)
    assert np.flatnonzero(kept).tolist() == expected
