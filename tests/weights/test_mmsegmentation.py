"""Names of MMSegmentation's arrays, as its modules write them, and what they become.

tests/parity/test_mmseg.py compares the outputs, where the library is installed.
"""

import numpy as np
import pytest

from kerasseg import errors
from kerasseg.models import imported
from kerasseg.weights import families

CLASSES = 19


class Table(dict):
    """Shapes by name, added as modules of PyTorch would."""

    def conv(self, name, inputs, outputs, size=1, *, bias=False):
        self[f"{name}.weight"] = (outputs, inputs, size, size)
        if bias:
            self[f"{name}.bias"] = (outputs,)

    def norm(self, name, channels):
        for array in ("weight", "bias", "running_mean", "running_var"):
            self[f"{name}.{array}"] = (channels,)
        self[f"{name}.num_batches_tracked"] = ()

    def both(self, conv, norm, inputs, outputs, size=1):
        self.conv(conv, inputs, outputs, size)
        self.norm(norm, outputs)

    def unit(self, name, inputs, outputs, size=1):
        """Adds a ConvModule."""
        self.both(f"{name}.conv", f"{name}.bn", inputs, outputs, size)

    def separable(self, name, inputs, outputs, *, norm=True, size=3):
        """Adds a DepthwiseSeparableConvModule."""
        self.unit(f"{name}.depthwise_conv", 1, inputs, size)
        if norm:
            self.unit(f"{name}.pointwise_conv", inputs, outputs)
        else:
            self.conv(f"{name}.pointwise_conv.conv", inputs, outputs, bias=True)

    def attend(self, name, channels):
        """Adds linear layers of queries, keys, values and of the result."""
        self[f"{name}.in_proj_weight"] = (3 * channels, channels)
        self[f"{name}.in_proj_bias"] = (3 * channels,)
        self.linear(f"{name}.out_proj", channels)

    def linear(self, name, channels):
        self[f"{name}.weight"], self[f"{name}.bias"] = (channels, channels), (channels,)

    def layer_norm(self, name, channels):
        self[f"{name}.weight"], self[f"{name}.bias"] = (channels,), (channels,)


def resnet18(table, *, deep=True):
    """Adds ResNetV1c of 18 layers; ResNet if it is not deep."""
    if deep:
        for i, (inputs, outputs) in enumerate(((3, 32), (32, 32), (32, 64))):
            stem = "backbone.stem."
            table.both(f"{stem}{3 * i}", f"{stem}{3 * i + 1}", inputs, outputs, 3)
    else:
        table.both("backbone.conv1", "backbone.bn1", 3, 64, 7)
    inputs = 64
    for stage in range(1, 5):
        channels = 32 * 2**stage
        for unit in (0, 1):
            name = f"backbone.layer{stage}.{unit}."
            table.both(f"{name}conv1", f"{name}bn1", inputs, channels, 3)
            table.both(f"{name}conv2", f"{name}bn2", channels, channels, 3)
            if inputs != channels:
                down = f"{name}downsample."
                table.both(f"{down}0", f"{down}1", inputs, channels)
            inputs = channels


def with_aux(table, filters=64):
    table.unit("auxiliary_head.convs.0", 256, filters, 3)
    table.conv("auxiliary_head.conv_seg", filters, CLASSES, bias=True)


def with_classifier(table, filters, name="decode_head"):
    table.conv(f"{name}.conv_seg", filters, CLASSES, bias=True)


def fcn():
    table = Table()
    resnet18(table, deep=False)
    table.unit("decode_head.convs.0", 512, 128, 3)
    table.unit("decode_head.convs.1", 128, 128, 3)
    table.unit("decode_head.conv_cat", 640, 128, 3)
    with_classifier(table, 128)
    with_aux(table)
    return table


def pyramid(table, filters):
    for i in range(4):
        table.unit(f"decode_head.psp_modules.{i}.1", 512, filters)
    table.unit("decode_head.bottleneck", 512 + 4 * filters, filters, 3)
    with_classifier(table, filters)


def pspnet():
    table = Table()
    resnet18(table)
    pyramid(table, 128)
    with_aux(table)
    return table


def upernet():
    table = Table()
    resnet18(table)
    pyramid(table, 32)
    for i in range(3):
        table.unit(f"decode_head.lateral_convs.{i}", 64 * 2**i, 32)
        table.unit(f"decode_head.fpn_convs.{i}", 32, 32, 3)
    table.unit("decode_head.fpn_bottleneck", 128, 32, 3)
    with_aux(table, 16)
    return table


def deeplab_v3(*, plus=False):
    table = Table()
    resnet18(table)
    table.unit("decode_head.image_pool.1", 512, 128)
    table.unit("decode_head.aspp_modules.0", 512, 128)
    for i in (1, 2, 3):
        name = f"decode_head.aspp_modules.{i}"
        if plus:
            table.separable(name, 512, 128)
        else:
            table.unit(name, 512, 128, 3)
    table.unit("decode_head.bottleneck", 640, 128, 3)
    if plus:
        table.unit("decode_head.c1_bottleneck", 64, 12)
        table.separable("decode_head.sep_bottleneck.0", 140, 128)
        table.separable("decode_head.sep_bottleneck.1", 128, 128)
    with_classifier(table, 128)
    with_aux(table)
    return table


def deeplab_v3_plus():
    return deeplab_v3(plus=True)


def hrnet(table, width=8):
    """Adds an HRNet with one unit and one module in each place."""
    names = "backbone."
    table.both(f"{names}conv1", f"{names}bn1", 3, 64, 3)
    table.both(f"{names}conv2", f"{names}bn2", 64, 64, 3)
    unit = f"{names}layer1.0."
    for i, (inputs, outputs, size) in enumerate(
        ((64, 64, 1), (64, 64, 3), (64, 256, 1))
    ):
        table.both(f"{unit}conv{i + 1}", f"{unit}bn{i + 1}", inputs, outputs, size)
    table.both(f"{unit}downsample.0", f"{unit}downsample.1", 64, 256)
    first = f"{names}transition1."
    table.both(f"{first}0.0", f"{first}0.1", 256, width, 3)
    table.both(f"{first}1.0.0", f"{first}1.0.1", 256, 2 * width, 3)
    for stage in (2, 3, 4):
        if stage > 2:
            new = f"{names}transition{stage - 1}.{stage - 1}.0."
            last = width * 2 ** (stage - 2)
            table.both(f"{new}0", f"{new}1", last, 2 * last, 3)
        exchange(table, f"{names}stage{stage}.0.", [width * 2**i for i in range(stage)])


def exchange(table, name, channels):
    """Adds a module of several branches."""
    for i, width in enumerate(channels):
        for k in (1, 2):
            unit = f"{name}branches.{i}.0."
            table.both(f"{unit}conv{k}", f"{unit}bn{k}", width, width, 3)
        for j, other in enumerate(channels):
            fuse = f"{name}fuse_layers.{i}.{j}."
            if j > i:
                table.both(f"{fuse}0", f"{fuse}1", other, width)
            for step in range(i - j):
                outputs = width if step == i - j - 1 else other
                table.both(f"{fuse}{step}.0", f"{fuse}{step}.1", other, outputs, 3)


def fcn_hrnet():
    table = Table()
    hrnet(table)
    table.unit("decode_head.convs.0", 120, 120)
    with_classifier(table, 120)
    return table


def ocrnet():
    table = Table()
    hrnet(table)
    table.unit("decode_head.0.convs.0", 120, 120)
    with_classifier(table, 120, "decode_head.0")
    table.unit("decode_head.1.bottleneck", 120, 512, 3)
    block = "decode_head.1.object_context_block."
    for part in ("query", "key"):
        table.unit(f"{block}{part}_project.0", 512, 256)
        table.unit(f"{block}{part}_project.1", 256, 256)
    table.unit(f"{block}value_project", 512, 256)
    table.unit(f"{block}out_project", 256, 512)
    table.unit(f"{block}bottleneck", 1024, 512)
    with_classifier(table, 512, "decode_head.1")
    return table


def bisenet_v2():
    """BiSeNetV2 with an eighth of the channels."""
    table = Table()
    detail = "backbone.detail.detail_branch."
    for stage, channels in enumerate(((3, 8, 8), (8, 8, 8, 8), (8, 16, 16, 16))):
        for unit in range(len(channels) - 1):
            table.unit(f"{detail}{stage}.{unit}", *channels[unit : unit + 2], 3)
    stem = "backbone.semantic.stage1."
    table.unit(f"{stem}conv_first", 3, 2, 3)
    table.unit(f"{stem}convs.0", 2, 1)
    table.unit(f"{stem}convs.1", 1, 2, 3)
    table.unit(f"{stem}fuse_last", 4, 2, 3)
    for stage, units in ((2, 2), (3, 2), (4, 4)):
        outputs = 2**stage
        for unit in range(units):
            name = f"backbone.semantic.stage{stage}.{unit}."
            inputs = outputs if unit else outputs // 2
            table.unit(f"{name}conv1", inputs, inputs, 3)
            table.unit(f"{name}dwconv.0", 1, 6 * inputs, 3)
            if not unit:
                table.unit(f"{name}dwconv.1", 1, 6 * inputs, 3)
                table.separable(f"{name}shortcut.0", inputs, outputs)
            table.unit(f"{name}conv2.0", 6 * inputs, outputs)
    context = "backbone.semantic.stage4_CEBlock."
    table.norm(f"{context}gap.1", 16)
    table.unit(f"{context}conv_gap", 16, 16)
    table.unit(f"{context}conv_last", 16, 16, 3)
    table.separable("backbone.bga.detail_dwconv.0", 16, 16, norm=False)
    table.unit("backbone.bga.detail_down.0", 16, 16, 3)
    table.unit("backbone.bga.semantic_conv.0", 16, 16, 3)
    table.separable("backbone.bga.semantic_dwconv.0", 16, 16, norm=False)
    table.unit("backbone.bga.conv", 16, 16, 3)
    table.unit("decode_head.convs.0", 16, 128, 3)
    with_classifier(table, 128)
    table.unit("auxiliary_head.0.convs.0", 2, 16, 3)  # Left out.
    return table


def segformer():
    """SegFormer B0."""
    table = Table()
    inputs = 3
    for stage, channels in enumerate((32, 64, 160, 256)):
        name = f"backbone.layers.{stage}."
        size, reduction = 3 if stage else 7, 2 ** (3 - stage)
        table.conv(f"{name}0.projection", inputs, channels, size, bias=True)
        table.layer_norm(f"{name}0.norm", channels)
        for block in (0, 1):
            start = f"{name}1.{block}."
            table.layer_norm(f"{start}norm1", channels)
            table.layer_norm(f"{start}norm2", channels)
            table.attend(f"{start}attn.attn", channels)
            if reduction > 1:
                table.conv(f"{start}attn.sr", channels, channels, reduction, bias=True)
                table.layer_norm(f"{start}attn.norm", channels)
            mix = f"{start}ffn.layers."
            table.conv(f"{mix}0", channels, 4 * channels, bias=True)
            table.conv(f"{mix}1", 1, 4 * channels, 3, bias=True)
            table.conv(f"{mix}4", 4 * channels, channels, bias=True)
        table.layer_norm(f"{name}2", channels)
        table.unit(f"decode_head.convs.{stage}", channels, 256)
        inputs = channels
    table.unit("decode_head.fusion_conv", 1024, 256)
    with_classifier(table, 256)
    return table


TABLES = {
    fcn: "fcn_resnet",
    pspnet: "pspnet",
    upernet: "upernet",
    deeplab_v3: "deeplab_v3",
    deeplab_v3_plus: "deeplab_v3_plus",
    fcn_hrnet: "hrnet_ocr",
    ocrnet: "hrnet_ocr",
    bisenet_v2: "bisenet_v2",
    segformer: "segformer_b0",
}


def arrays_of(table):
    """Returns arrays of different values: of each, its number in the table."""
    return {
        name: np.full(shape, number, "float32")
        for number, (name, shape) in enumerate(table.items(), start=1)
    }


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_array_is_used_and_every_variable_has_one(table):
    shapes = table()
    network = families.recognize(shapes)
    assert (network.family, network.model) == ("mmsegmentation", TABLES[table])
    assert network.class_names[:2] == ("road", "sidewalk")
    arrays = arrays_of(shapes)
    model = imported.build(arrays, network)  # Refuses what is left on either side.
    values = {float(np.ravel(v)[0]) for v in model.variables if "seed" not in v.path}
    left_out = ("num_batches_tracked", "auxiliary_head.0.")
    used = [i + 1 for i, n in enumerate(shapes) if not any(s in n for s in left_out)]
    assert values - {0.0} == set(map(float, used))


@pytest.mark.parametrize(
    "change", ["missing", "superfluous", "of another shape"], ids=str
)
def test_other_arrays_are_refused(change):
    shapes = bisenet_v2()
    if change == "superfluous":
        shapes["decode_head.convs.1.conv.weight"] = (1, 1, 3, 3)
    elif change == "missing":
        del shapes["backbone.bga.conv.bn.bias"]
    else:
        shapes["backbone.bga.conv.conv.weight"] = (16, 16, 1, 1)
    with pytest.raises(errors.UserError, match="are not those of 'bisenet_v2'"):
        imported.build(arrays_of(shapes), families.recognize(shapes))


def test_queries_are_the_first_third_and_maps_are_reversed():
    shapes = segformer()
    arrays = arrays_of(shapes)
    projection = np.arange(96, dtype="float32")
    arrays["backbone.layers.0.1.0.attn.attn.in_proj_bias"] = projection
    fusion = arrays["decode_head.fusion_conv.conv.weight"]
    fusion[:, :256] = -1  # Of the finest map, the last of ours.
    model = imported.build(arrays, families.recognize(shapes))
    query = model.get_layer("stage1_block1_attend_query").bias
    rest = model.get_layer("stage1_block1_attend_key_value").bias
    np.testing.assert_array_equal(np.concatenate([query, rest]), projection)
    kernel = np.asarray(model.get_layer("head_fuse_conv").kernel)
    assert (kernel[:, :, -256:] == -1).all()
    assert (kernel[:, :, :-256] != -1).all()


def test_the_configuration_chooses_strides_dilations_and_corners():
    shapes = deeplab_v3()
    options = families.recognize(shapes).options
    assert (options["output_stride"], options["resize"]) == (8, "half_pixel")
    config = {"output_stride": 16, "multi_grid": [1, 2, 4], "align_corners": True}
    options = families.recognize(shapes, config).options
    assert (options["output_stride"], options["resize"]) == (16, "corners")
    # Rate 2, and at the first unit that of the block before.
    assert options["multi_grid"] == (1, 1, 2)


@pytest.mark.parametrize("num_classes", [59, 60])
def test_classes_of_pascal_context_have_their_own_order(num_classes):
    shapes = pspnet()
    for name in ("decode_head", "auxiliary_head"):
        filters = shapes[f"{name}.conv_seg.weight"][1]
        shapes[f"{name}.conv_seg.weight"] = (num_classes, filters, 1, 1)
        shapes[f"{name}.conv_seg.bias"] = (num_classes,)
    network = families.recognize(shapes)
    assert len(network.class_names) == len(network.palette) == num_classes
    assert network.class_names[num_classes - 59 :][:3] == ["aeroplane", "bag", "bed"]


def test_dilation_after_strides_is_not_recognized():
    shapes = pspnet()
    with pytest.raises(errors.UserError, match="not those of a network that is known"):
        families.recognize(shapes, {"output_stride": 32}, family="mmsegmentation")
