"""Row 120: HRNet-OCR computes what its authors' code does, where resizes agree.

`hrnet_ocr_of_authors.npz` holds every eighth pixel of the outputs of
`lib/models/seg_hrnet_ocr.py` (HRNet/HRNet-Semantic-Segmentation, branch HRNet-OCR) at
97x129 pixels, computed in float64. Its weights and its input are those of this file.

With other random weights the difference at this size was up to 1e-2 of the deviation
of the logits, 1e-4 in the mean. It was rounding: the authors' code in float32 differs
from itself in float64 by as much, because a softmax over scores of several hundred
amplifies the rounding of its input where two regions have nearly the same score.
"""

import pathlib
import re
import zlib

import numpy as np
import pytest
from keras import layers

from kerasseg import models
from kerasseg.models import hrnet_ocr

EXPECTED = np.load(pathlib.Path(__file__).with_name("hrnet_ocr_of_authors.npz"))
_BLOCK = "ocr_distri_head.object_context_block"
_HEADS = {  # Ours: the authors' convolution and batch norm.
    "stem1": ("conv1", "bn1"),
    "stem2": ("conv2", "bn2"),
    "regions": ("aux_head.0", "aux_head.1"),
    "context_pixels": ("conv3x3_ocr.0", "conv3x3_ocr.1"),
    "context_query1": (f"{_BLOCK}.f_pixel.0", f"{_BLOCK}.f_pixel.1.0"),
    "context_query2": (f"{_BLOCK}.f_pixel.2", f"{_BLOCK}.f_pixel.3.0"),
    "context_key1": (f"{_BLOCK}.f_object.0", f"{_BLOCK}.f_object.1.0"),
    "context_key2": (f"{_BLOCK}.f_object.2", f"{_BLOCK}.f_object.3.0"),
    "context_value": (f"{_BLOCK}.f_down.0", f"{_BLOCK}.f_down.1.0"),
    "context_widen": (f"{_BLOCK}.f_up.0", f"{_BLOCK}.f_up.1.0"),
    "context_fuse": tuple(f"ocr_distri_head.conv_bn_dropout.{k}" for k in ("0", "1.0")),
}
_BOTTLENECK = {"narrow": 1, "middle": 2, "widen": 3}


def authors_name(name):
    """Returns the name in the authors' state dict of a layer, without its variable."""
    if name in ("regions_classify", "classify"):
        return {"regions_classify": "aux_head.3", "classify": "cls_head"}[name]
    base, _, kind = name.rpartition("_")
    i = int(kind == "bn")
    if base in _HEADS:
        return _HEADS[base][i]
    if match := re.fullmatch(r"stage1_(\d)_short", base):
        return f"layer1.{int(match[1]) - 1}.downsample.{i}"
    if match := re.fullmatch(r"stage1_(\d)_(\w+)", base):
        return f"layer1.{int(match[1]) - 1}.{kind}{_BOTTLENECK[match[2]]}"
    if match := re.fullmatch(r"transition(\d)_(keep|new)", base):
        branch = "0" if match[2] == "keep" else f"{match[1]}.0"
        return f"transition{match[1]}.{branch}.{i}"
    stage, module, rest = re.fullmatch(r"stage(\d)_module(\d)_(.*)", base).groups()
    start = f"stage{stage}.{int(module) - 1}"
    if match := re.fullmatch(r"branch(\d)_(\d)_(first|second)", rest):
        branch, unit = int(match[1]) - 1, int(match[2]) - 1
        number = 1 if match[3] == "first" else 2
        return f"{start}.branches.{branch}.{unit}.{kind}{number}"
    source, target, step = re.fullmatch(r"from(\d)_to(\d)(?:_(\d))?", rest).groups()
    inner = i if step is None else f"{int(step) - 1}.{i}"
    return f"{start}.fuse_layers.{int(target) - 1}.{int(source) - 1}.{inner}"


def value(key, shape):
    """Returns a variable of the authors' network: kernels are [out, in, y, x]."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if len(shape) == 4:
        return rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    if key.endswith(("running_var", ".weight")):
        return rng.uniform(0.5, 1.5, shape)
    return rng.normal(0, 0.2, shape)


def fill(model):
    for layer in model.layers:
        if not layer.weights:
            continue
        key = authors_name(layer.name)
        if isinstance(layer, layers.BatchNormalization):
            names = ("weight", "bias", "running_mean", "running_var")
            shape = layer.gamma.shape
            layer.set_weights([value(f"{key}.{name}", shape) for name in names])
            continue
        height, width, inputs, outputs = layer.kernel.shape
        kernel = value(f"{key}.weight", (outputs, inputs, height, width))
        biases = [value(f"{key}.bias", (outputs,))] if layer.use_bias else []
        layer.set_weights([kernel.transpose(2, 3, 1, 0), *biases])


@pytest.mark.parametrize("output", ["aux_regions", "logits"])
def test_outputs_equal_those_of_the_authors_code(output):
    options = models.metadata("hrnet_ocr").test_options
    model = models.build_model("hrnet_ocr", 5, aux=True, **options)
    fill(model)
    small = np.random.default_rng(0).integers(0, 256, (1, 13, 17, 3))
    image = small.repeat(8, 1).repeat(8, 2)[:, :97, :129].astype("float32")
    found = np.asarray(model(image, training=False)[output])[0, ::8, ::8]
    expected = EXPECTED[output]
    deviation = (expected - expected.mean((0, 1))).std()
    assert np.abs(found - expected).max() < 5e-5 * deviation


def test_large_scores_amplify_the_rounding_of_attention():
    # In units of the deviation of the result. Scores grow with the square of the
    # factor, to some thousand, of which float32 keeps 4 digits behind the point.
    rng = np.random.default_rng(0)
    query = rng.normal(size=(1, 20, 20, 256))
    key, values = rng.normal(size=(2, 1, 19, 1, 256))
    errors = []
    for factor in (1, 20):
        inputs = [x.astype("float32") for x in (query * factor, key * factor, values)]
        found = np.asarray(hrnet_ocr.RegionAttention()(inputs))
        q, k, v = (x.astype("float64").reshape(-1, 256) for x in inputs)
        scores = q @ k.T / 16
        weights = np.exp(scores - scores.max(1, keepdims=True))
        expected = weights / weights.sum(1, keepdims=True) @ v
        errors.append(np.abs(found.reshape(-1, 256) - expected).max() / expected.std())
    assert errors[0] < 1e-5 < 3e-5 < errors[1]
