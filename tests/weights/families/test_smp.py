"""Files of segmentation_models.pytorch, by tables of its names and shapes."""

import functools
import itertools

import numpy as np
import pytest

from kerasseg import errors
from kerasseg.models import imported
from kerasseg.weights import families, filling
from tests.support import initializers

CHANNELS = (64, 64, 128, 256, 512)  # Of the stages of ResNet-18.


def conv(name, filters, channels, size=1, *, bias=False):
    table = {f"{name}.weight": (filters, channels, size, size)}
    return {**table, f"{name}.bias": (filters,)} if bias else table


def affine(name, channels):
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def norm(name, channels):
    statistics = dict.fromkeys(("running_mean", "running_var"), (channels,))
    table = {f"{name}.{key}": shape for key, shape in statistics.items()}
    return {**affine(name, channels), **table, f"{name}.num_batches_tracked": ()}


def conv_norm(name, filters, channels, size=1, *, start=0):
    table = conv(f"{name}.{start}", filters, channels, size)
    return {**table, **norm(f"{name}.{start + 1}", filters)}


def resnet18():
    table = {**conv("encoder.conv1", 64, 3, 7), **norm("encoder.bn1", 64)}
    for stage, (before, filters) in enumerate(itertools.pairwise(CHANNELS), start=1):
        for unit in (0, 1):
            name = f"encoder.layer{stage}.{unit}"
            first = before if unit == 0 else filters
            table |= conv(f"{name}.conv1", filters, first, 3)
            table |= conv(f"{name}.conv2", filters, filters, 3)
            table |= norm(f"{name}.bn1", filters) | norm(f"{name}.bn2", filters)
            if first != filters:
                table |= conv_norm(f"{name}.downsample", filters, first)
    return table


def unet():
    table, below = {}, 512
    widths, links = (40, 32, 24, 16, 8), (256, 128, 64, 64, 0)
    for i, (filters, link) in enumerate(zip(widths, links, strict=True)):
        name = f"decoder.blocks.{i}"
        table |= conv_norm(f"{name}.conv1", filters, below + link, 3)
        table |= conv_norm(f"{name}.conv2", filters, filters, 3)
        below = filters
    return table | head(8, 3)


def linknet():
    table = {}
    for i, (below, filters) in enumerate(
        ((512, 256), (256, 128), (128, 64), (64, 64), (64, 32))
    ):
        name, inside = f"decoder.blocks.{i}.block", below // 4
        table |= conv_norm(f"{name}.0", inside, below)
        table |= {f"{name}.1.0.weight": (inside, inside, 4, 4)}
        table |= {f"{name}.1.0.bias": (inside,)} | norm(f"{name}.1.1", inside)
        table |= conv_norm(f"{name}.2", filters, inside)
    return table | head(32)


def fpn():
    table = conv("decoder.p5", 256, 512, bias=True)
    for level, channels in ((4, 256), (3, 128), (2, 64)):
        table |= conv(f"decoder.p{level}.skip_conv", 256, channels, bias=True)
    for block, steps in enumerate((3, 2, 1, 1)):
        for step in range(steps):
            name = f"decoder.seg_blocks.{block}.block.{step}.block"
            table |= conv(f"{name}.0", 128, 128 if step else 256, 3)
            table |= affine(f"{name}.1", 128)
    return table | head(128)


def pspnet():
    table = conv("decoder.psp.blocks.0.pool.1.0", 32, 128, bias=True)
    for block in (1, 2, 3):
        table |= conv_norm(f"decoder.psp.blocks.{block}.pool.1", 32, 128)
    return table | conv_norm("decoder.conv", 64, 256) | head(64, 3)


def pyramid(name, filters, *, separable):
    table = conv_norm(f"{name}.convs.0", filters, 512)
    for i in (1, 2, 3):
        if separable:
            table |= separable_norm(f"{name}.convs.{i}", filters, 512)
        else:
            table |= conv_norm(f"{name}.convs.{i}", filters, 512, 3)
    table |= conv_norm(f"{name}.convs.4", filters, 512, start=1)
    return table | conv_norm(f"{name}.project", filters, 5 * filters)


def separable_norm(name, filters, channels, start=0):
    table = {f"{name}.{start}.0.weight": (channels, 1, 3, 3)}
    table |= conv(f"{name}.{start}.1", filters, channels)
    return table | norm(f"{name}.{start + 1}", filters)


def deeplab_v3():
    table = pyramid("decoder.aspp", 16, separable=False)
    table |= conv("decoder.conv", 16, 16, 3) | norm("decoder.bn", 16)
    return table | head(16)


def deeplab_v3_plus():
    table = pyramid("decoder.aspp.0", 16, separable=True)
    table |= separable_norm("decoder.aspp", 16, 16, start=1)
    table |= conv_norm("decoder.block1", 48, 64)
    return table | separable_norm("decoder.block2", 16, 48 + 16) | head(16)


def convnext_tiny():
    table = conv("encoder.model.stem_0", 96, 3, 4, bias=True)
    table |= affine("encoder.model.stem_1", 96)
    for stage, (filters, depth) in enumerate(
        ((96, 3), (192, 3), (384, 9), (768, 3)),
    ):
        start = f"encoder.model.stages_{stage}"
        if stage:
            table |= affine(f"{start}.downsample.0", filters // 2)
            down = f"{start}.downsample.1"
            table |= conv(down, filters, filters // 2, 2, bias=True)
        for block in range(depth):
            name = f"{start}.blocks.{block}"
            table |= {f"{name}.gamma": (filters,)} | affine(f"{name}.norm", filters)
            table |= conv(f"{name}.conv_dw", filters, 1, 7, bias=True)
            table |= linear(f"{name}.mlp.fc1", 4 * filters, filters)
            table |= linear(f"{name}.mlp.fc2", filters, 4 * filters)
    return table


def upernet(features=CHANNELS[1:]):
    table = {}
    for i, channels in enumerate(features):
        table |= affine(f"decoder.feature_norms.{i}", channels)
        table |= conv_norm(f"decoder.psp.blocks.{i}.1", 16, features[-1])
    for i, channels in enumerate(features[2::-1]):
        lateral = f"decoder.fpn_lateral_blocks.{i}.conv_norm_relu"
        table |= conv_norm(lateral, 16, channels)
        table |= conv_norm(f"decoder.fpn_conv_blocks.{i}", 16, 16, 3)
    table |= conv_norm("decoder.psp.out_conv", 16, features[-1] + 4 * 16, 3)
    return table | conv_norm("decoder.fusion_block", 16, 4 * 16, 3) | head(16)


def segformer():
    table, before = {}, 3
    for s, filters in enumerate((32, 64, 160, 256), start=1):
        name = f"encoder.patch_embed{s}"
        table |= conv(f"{name}.proj", filters, before, 7 if s == 1 else 3, bias=True)
        table |= affine(f"{name}.norm", filters) | affine(f"encoder.norm{s}", filters)
        for block in (0, 1):
            table |= transformer_block(f"encoder.block{s}.{block}", filters, 16 >> s)
        table |= linear(f"decoder.mlp_stage.{4 - s}.linear", 24, filters)
        before = filters
    return table | conv_norm("decoder.fuse_stage", 24, 4 * 24) | head(24)


def linear(name, filters, channels):
    return {f"{name}.weight": (filters, channels), f"{name}.bias": (filters,)}


def transformer_block(name, filters, reduction):
    table = affine(f"{name}.norm1", filters) | affine(f"{name}.norm2", filters)
    table |= linear(f"{name}.attn.q", filters, filters)
    table |= linear(f"{name}.attn.kv", 2 * filters, filters)
    table |= linear(f"{name}.attn.proj", filters, filters)
    if reduction > 1:
        table |= conv(f"{name}.attn.sr", filters, filters, reduction, bias=True)
        table |= affine(f"{name}.attn.norm", filters)
    table |= linear(f"{name}.mlp.fc1", 4 * filters, filters)
    table |= conv(f"{name}.mlp.dwconv.dwconv", 4 * filters, 1, 3, bias=True)
    return table | linear(f"{name}.mlp.fc2", filters, 4 * filters)


def head(channels, size=1):
    return conv("segmentation_head.0", 3, channels, size, bias=True)


def table_of(name):
    """Returns the names and shapes of the arrays of a network."""
    encoder, decoder = NETWORKS[name]
    return encoder() | decoder()


NETWORKS = {
    "Unet": (resnet18, unet),
    "Linknet": (resnet18, linknet),
    "FPN": (resnet18, fpn),
    "PSPNet": (resnet18, pspnet),
    "DeepLabV3": (resnet18, deeplab_v3),
    "DeepLabV3Plus": (resnet18, deeplab_v3_plus),
    "UPerNet": (resnet18, upernet),
    "UPerNet on ConvNeXt": (
        convnext_tiny,
        functools.partial(upernet, (96, 192, 384, 768)),
    ),
    "Segformer": (dict, segformer),
}


def build(table, config=None):
    """Builds the network; each array is filled with its number in the table."""
    arrays = {
        name: np.full(shape, number, "float32")
        for number, (name, shape) in enumerate(table.items())
    }
    network = families.recognize(table, config)
    with initializers.zeros():
        return imported.build(arrays, network), network


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_each_array_fills_one_variable(name):
    table = table_of(name)
    model, network = build(table)
    assert (network.family, network.num_classes) == ("smp", 3)
    numbers = [int(v.numpy().flat[0]) for v in model.weights]
    assert all(v.numpy().min() == v.numpy().max() for v in model.weights)
    unused = ("num_batches_tracked",)
    if name == "PSPNet":
        unused = (*unused, "encoder.layer3", "encoder.layer4")
    expected = [
        number
        for number, array in enumerate(table)
        if not any(part in array for part in unused)
    ]
    assert sorted(numbers) == expected


def test_links_of_unet_come_first_here():
    table = table_of("Unet")
    arrays = {name: np.zeros(shape, "float32") for name, shape in table.items()}
    first = "decoder.blocks.0.conv1.0.weight"
    arrays[first][:, :512] = 1  # From below: after the 256 channels of the link.
    with initializers.zeros():
        model = imported.build(arrays, families.recognize(table))
    kernel = model.get_layer("expand4_1_conv").kernel.numpy()
    assert kernel[:, :, :256].max() == 0
    assert kernel[:, :, 256:].min() == 1


def test_the_map_comes_first_in_the_pyramid_of_pspnet_here():
    table = table_of("PSPNet")
    arrays = {name: np.zeros(shape, "float32") for name, shape in table.items()}
    arrays["decoder.conv.0.weight"][:, 128:] = 1
    with initializers.zeros():
        model = imported.build(arrays, families.recognize(table))
    kernel = model.get_layer("head_refine_conv").kernel.numpy()
    assert kernel[:, :, :128].min() == 1
    assert kernel[:, :, 128:].max() == 0


def test_a_missing_a_superfluous_and_a_wrong_array_are_refused():
    table = table_of("Linknet")
    model, network = build(table)
    arrays = {name: np.zeros(shape, "float32") for name, shape in table.items()}
    name = "decoder.blocks.2.block.1.0.bias"
    missing = {key: array for key, array in arrays.items() if key != name}
    with pytest.raises(errors.UserError, match=f"the file has no {name}"):
        filling.fill(model, missing, network)
    with pytest.raises(errors.UserError, match=r"not used, such as decoder\.other"):
        filling.fill(model, {**arrays, "decoder.other.weight": np.zeros(1)}, network)
    with pytest.raises(errors.UserError, match=f"{name} has "):
        filling.fill(model, {**arrays, name: np.zeros(5)}, network)
    unused = filling.fill(
        model, arrays | {"classification_head.3.bias": np.zeros(7)}, network
    )
    assert "classification_head.3.bias" in unused


@pytest.mark.parametrize(
    "name, config",
    [
        ("Unet", {"decoder_attention_type": "scse"}),
        ("Unet", {"decoder_use_norm": "identity"}),
        ("Unet", {"decoder_interpolation": "bilinear"}),
        ("Unet", {"activation": "sigmoid"}),
        ("FPN", {"decoder_merge_policy": "cat"}),
        ("FPN", {"upsampling": 1}),
        ("PSPNet", {"upsampling": 16}),
        ("DeepLabV3", {"decoder_aspp_separable": True}),
        ("DeepLabV3", {"decoder_atrous_rates": [5, 10, 15]}),
        ("UPerNet", {"encoder_depth": 4}),
    ],
)
def test_options_that_our_networks_do_not_have_are_refused(name, config):
    with pytest.raises(errors.UserError, match=next(iter(config))):
        families.recognize(table_of(name), config)


def test_a_binary_network_can_end_in_a_sigmoid():
    table = {**table_of("Linknet"), "segmentation_head.0.weight": (1, 32, 1, 1)}
    network = families.recognize(table, {"activation": "sigmoid"})
    assert network.num_classes == 1


def test_other_encoders_and_images_are_refused():
    table = table_of("Unet")
    with pytest.raises(errors.UserError, match="images of 4 channels"):
        families.recognize({**table, "encoder.conv1.weight": (64, 4, 7, 7)})
    with pytest.raises(errors.UserError, match="another encoder"):
        families.recognize({**table, "encoder.layer1.0.conv2.weight": (64, 4, 3, 3)})
    with pytest.raises(errors.UserError, match="5 blocks in the decoder"):
        families.recognize({k: s for k, s in table.items() if "blocks.4" not in k})
    with pytest.raises(errors.UserError, match="another encoder"):
        families.recognize(unet())


def test_the_output_stride_and_the_rates_are_those_of_the_config():
    config = {"encoder_output_stride": 16, "decoder_atrous_rates": [6, 12, 18]}
    network = families.recognize(table_of("DeepLabV3"), config)
    assert network.options["output_stride"] == 16
    assert network.options["rates"] == [6, 12, 18]
    # Without it they are the defaults: (12, 24, 36) at 8, twice those at 16.
    network = families.recognize(table_of("DeepLabV3"))
    assert network.options["output_stride"] == 8
    assert network.options["rates"] == [6, 12, 18]
