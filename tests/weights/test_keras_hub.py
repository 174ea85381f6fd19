"""Presets of KerasHub: recognized and filled, by a table of their arrays."""

import functools

import h5py
import numpy as np
import pytest

from kerasseg import errors, models
from kerasseg.models import imported
from kerasseg.weights import families, files, filling
from tests.support import initializers

FILTERS, DEPTHS = (16, 32, 40, 64), (1, 2, 1, 1)
ENCODER = "layers/functional/layers"
ASPP = "layers/spatial_pyramid_pooling"
CLASSIFY = "task/layers/conv2d"


def numbered(name, number):
    return f"{name}_{number}" if number else name


def of_layer(module, *shapes):
    """Returns the shapes of the variables of a layer by name."""
    return {f"{module}/vars/{i}": shape for i, shape in enumerate(shapes)}


def conv_bn(modules, kernel):
    """Returns the shapes of a convolution and of its batch normalization."""
    conv, norm = modules
    return {**of_layer(conv, kernel), **of_layer(norm, *[kernel[-1:]] * 4)}


def deeplab(classes=21):
    kernels, channels = [(7, 7, 3, 64)], 64
    for stage, units in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for unit in range(units):
            kernels.append((1, 1, channels, width))
            kernels.append((3, 3, width, width))
            if unit == 0:
                kernels.append((1, 1, channels, 4 * width))
            kernels.append((1, 1, width, 4 * width))
            channels = 4 * width
    shapes = {}
    for number, kernel in enumerate(kernels):
        kinds = ("conv2d", "batch_normalization")
        names = [numbered(f"{ENCODER}/{kind}", number) for kind in kinds]
        shapes.update(conv_bn(names, kernel))
    for i, size in enumerate((1, 3, 3, 3, 1)):
        start = numbered(f"{ASPP}/aspp_parallel_channels/sequential", i) + "/layers"
        names = f"{start}/conv2d", f"{start}/batch_normalization"
        shapes.update(conv_bn(names, (size, size, 2048, 256)))
    start = f"{ASPP}/projection/layers"
    names = f"{start}/conv2d", f"{start}/batch_normalization"
    shapes.update(conv_bn(names, (1, 1, 1280, 256)))
    names = "layers/conv2d", "layers/batch_normalization"
    shapes.update(conv_bn(names, (1, 1, 256, 48)))
    names = "layers/conv2d_1", "layers/batch_normalization_1"
    shapes.update(conv_bn(names, (1, 1, 304, 256)))
    return {**shapes, **of_layer(CLASSIFY, (1, 1, 256, classes))}


def segformer(classes=19):
    shapes, block, before = {}, 0, 3
    for stage, (width, depth) in enumerate(zip(FILTERS, DEPTHS, strict=True)):
        vector, square, reduction = (width,), (width, width), (8, 4, 2, 1)[stage]
        start = numbered(f"{ENCODER}/overlapping_patching_and_embedding", stage)
        side = 3 if stage else 7
        shapes.update(of_layer(f"{start}/proj", (side, side, before, width), vector))
        shapes.update(of_layer(f"{start}/norm", vector, vector))
        for _ in range(depth):
            start = numbered(f"{ENCODER}/hierarchical_transformer_encoder", block)
            for name in ("q", "k", "v", "proj"):
                shapes.update(of_layer(f"{start}/attn/{name}", square, vector))
            if reduction > 1:
                kernel = (reduction, reduction, width, width)
                shapes.update(of_layer(f"{start}/attn/sr", kernel, vector))
                shapes.update(of_layer(f"{start}/attn/norm", vector, vector))
            for name in ("norm1", "norm2"):
                shapes.update(of_layer(f"{start}/{name}", vector, vector))
            wide = 4 * width
            shapes.update(of_layer(f"{start}/mlp/fc1", (width, wide), (wide,)))
            shapes.update(of_layer(f"{start}/mlp/dwconv", (3, 3, wide, 1), (wide,)))
            shapes.update(of_layer(f"{start}/mlp/fc2", (wide, width), vector))
            block += 1
        name = numbered(f"{ENCODER}/layer_normalization", stage)
        shapes.update(of_layer(name, vector, vector))
        shapes.update(of_layer(numbered("layers/dense", 3 - stage), (width, 24), (24,)))
        before = width
    start = "layers/sequential/layers"
    names = f"{start}/conv2d", f"{start}/batch_normalization"
    shapes.update(conv_bn(names, (1, 1, 96, 24)))
    return {**shapes, **of_layer(CLASSIFY, (1, 1, 24, classes), (classes,))}


def arrays_of(shapes):
    """Returns arrays, each filled with another number."""
    pairs = enumerate(shapes.items())
    return {name: np.full(shape, i, "float32") for i, (name, shape) in pairs}


@functools.cache
def of_segformer():
    """Returns arrays, their network, and the model with these arrays."""
    arrays = arrays_of(segformer())
    network = families.recognize(segformer())
    return arrays, network, imported.build(arrays, network)


def test_every_array_of_deeplab_has_one_place():
    arrays = arrays_of(deeplab())
    network = families.recognize(deeplab())
    assert network.options["backbone"] == "resnet50"
    assert network.options["normalization"] == "none"
    assert network.class_names[0] == "background"
    with initializers.zeros():
        model = imported.build(arrays, network)
    # Theirs has no bias of the classifier.
    assert len(model.weights) == len(arrays) + 1
    values = [float(np.ravel(v)[0]) for v in model.weights if "classify" not in v.path]
    assert len({*values}) == len(values)
    assert not np.any(model.get_layer("classify").bias)
    epsilons = {layer.name: getattr(layer, "epsilon", None) for layer in model.layers}
    assert epsilons["conv2_block1_0_bn"] == 1e-5
    assert epsilons["refine1_bn"] == epsilons["aspp_image_bn"] == 1e-3


def test_every_array_of_segformer_has_one_place():
    arrays, network, model = of_segformer()
    assert network.model == "segformer_b0"
    assert network.options["depths"] == DEPTHS
    assert network.options["normalization"] == "torch"
    assert network.class_names[0] == "road"
    kernel = np.asarray(model.get_layer("stage1_block1_attend_key_value").kernel)
    start = f"{ENCODER}/hierarchical_transformer_encoder/attn"
    assert np.all(kernel[:, :16] == arrays[f"{start}/k/vars/0"])
    assert np.all(kernel[:, 16:] == arrays[f"{start}/v/vars/0"])


@pytest.mark.parametrize("depths, name", [((2, 2, 2, 2), "b1"), ((3, 6, 40, 3), "b5")])
def test_sizes_of_the_paper_are_named(depths, name):
    shapes = segformer()
    module = "overlapping_patching_and_embedding"
    number = 0
    for stage, (width, depth) in enumerate(
        zip((64, 128, 320, 512), depths, strict=True)
    ):
        start = numbered(f"{ENCODER}/{module}", stage)
        shapes[f"{start}/proj/vars/0"] = (3, 3, 1, width)
        for _ in range(depth):
            start = numbered(f"{ENCODER}/hierarchical_transformer_encoder", number)
            shapes[f"{start}/norm1/vars/0"] = (width,)
            number += 1
    assert families.recognize(shapes).model == f"segformer_{name}"


@pytest.mark.parametrize(
    "scale, offset, kind",
    [
        (None, None, "none"),
        (1 / 127.5, -1.0, "tf"),
        (
            [0.01712475, 0.017507, 0.01742919],
            [-2.117904, -2.035714, -1.804444],
            "torch",
        ),
    ],
)
def test_the_image_converter_determines_the_normalization(scale, offset, kind):
    config = {"image_converter": {"config": {"scale": scale, "offset": offset}}}
    network = families.recognize(segformer(), config)
    assert network.options["normalization"] == kind


def test_an_unknown_scale_is_refused():
    config = {"image_converter": {"config": {"scale": 1 / 255, "offset": None}}}
    with pytest.raises(errors.UserError, match="scales images by"):
        families.recognize(segformer(), config)


@pytest.mark.parametrize("change", ["missing", "superfluous", "shape"])
def test_other_arrays_are_refused(change):
    arrays, network, model = of_segformer()
    arrays, name = dict(arrays), "layers/dense_2/vars/0"
    if change == "missing":
        del arrays[name]
    elif change == "superfluous":
        name = "layers/dense_4/vars/0"
        arrays[name] = np.zeros(3)
    else:
        arrays[name] = np.zeros((32, 25))
    with pytest.raises(errors.UserError, match=name):
        filling.fill(model, arrays, network)


def test_a_backbone_without_head_is_not_recognized():
    shapes = {n: s for n, s in deeplab().items() if not n.startswith("task/")}
    with pytest.raises(errors.UserError, match="not those of a network"):
        families.recognize(shapes)


def test_a_preset_is_read_from_two_files(tmp_path):
    for file, name in (("model", "layers/dense/vars/0"), ("task", "layers/a/vars/0")):
        with h5py.File(tmp_path / f"{file}.weights.h5", "w") as opened:
            opened[name] = np.ones(2, "float32")
    assert sorted(files.read(tmp_path)) == [
        "layers/dense/vars/0",
        "task/layers/a/vars/0",
    ]


def test_an_unknown_gelu_is_refused():
    with pytest.raises(errors.UserError, match="gelu=fast"):
        models.build_model("segformer_b0", 2, gelu="fast")
