"""Names of Hugging Face transformers, without its library."""

import re

import keras
import numpy as np
import pytest

from kerasseg import datasets, errors
from kerasseg.models import imported
from kerasseg.weights import families, hugging_face_config

RNG = np.random.default_rng(0)


def norm(name, channels):
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias")}


def linear(name, before, after, bias=True):
    shapes = {f"{name}.weight": (after, before)}
    return {**shapes, f"{name}.bias": (after,)} if bias else shapes


def conv(name, before, after, size, bias=True):
    shapes = {f"{name}.weight": (after, before, size, size)}
    return {**shapes, f"{name}.bias": (after,)} if bias else shapes


def batch_norm(name, channels):
    shapes = norm(name, channels)
    shapes.update({f"{name}.running_{x}": (channels,) for x in ("mean", "var")})
    return {**shapes, f"{name}.num_batches_tracked": ()}


def joined(*parts):
    return {name: shape for part in parts for name, shape in part.items()}


def segformer(widths=(16, 32, 40, 64), depths=(1, 2, 1, 1), head=24, classes=7):
    parts, before = [], 3
    for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        start = f"segformer.encoder.patch_embeddings.{i}"
        parts += [conv(f"{start}.proj", before, width, 3 if i else 7)]
        parts += [norm(f"{start}.layer_norm", width)]
        parts += [norm(f"segformer.encoder.layer_norm.{i}", width)]
        for j in range(depth):
            block = f"segformer.encoder.block.{i}.{j}"
            parts += [norm(f"{block}.layer_norm_{k}", width) for k in (1, 2)]
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                parts += [linear(f"{block}.attention.{part}", width, width)]
            if i < 3:
                parts += [conv(f"{block}.attention.self.sr", width, width, 8 >> i)]
                parts += [norm(f"{block}.attention.self.layer_norm", width)]
            parts += [linear(f"{block}.mlp.dense1", width, 4 * width)]
            parts += [conv(f"{block}.mlp.dwconv.dwconv", 1, 4 * width, 3)]
            parts += [linear(f"{block}.mlp.dense2", 4 * width, width)]
        parts += [linear(f"decode_head.linear_c.{i}.proj", width, head)]
        before = width
    parts += [conv("decode_head.linear_fuse", 4 * head, head, 1, bias=False)]
    parts += [batch_norm("decode_head.batch_norm", head)]
    return joined(*parts, conv("decode_head.classifier", head, classes, 1))


def in_memory(shapes):
    """Renames the arrays of SegFormer to what version 5 has in memory."""
    for before, after in (
        (r"encoder\.patch_embeddings\.(\d)", r"stages.\1.patch_embeddings"),
        (r"encoder\.layer_norm\.(\d)", r"stages.\1.layer_norm"),
        (r"encoder\.block\.(\d)\.(\d+)", r"stages.\1.blocks.\2"),
        (r"layer_norm_1", "layernorm_before"),
        (r"layer_norm_2", "layernorm_after"),
        (r"attention\.self\.layer_norm", "attention.sequence_reduction.layer_norm"),
        (r"self\.sr\.", "sequence_reduction.sequence_reduction."),
        (r"self\.(q|k|v)(uery|ey|alue)", r"\1_proj"),
        (r"attention\.output\.dense", "attention.o_proj"),
        (r"mlp\.dense", "mlp.fc"),
        (r"linear_c\.", "linear_projections."),
    ):
        shapes = {re.sub(before, after, name): s for name, s in shapes.items()}
    return shapes


def swin(prefix, width=32, depths=(2, 1, 1, 1), window=4):
    parts = [conv(f"{prefix}embeddings.patch_embeddings.projection", 3, width, 4)]
    parts += [norm(f"{prefix}embeddings.norm", width)]
    for i, depth in enumerate(depths):
        stage, channels = f"{prefix}encoder.layers.{i}", width * 2**i
        for j in range(depth):
            block = f"{stage}.blocks.{j}"
            parts += [norm(f"{block}.layernorm_{x}", channels) for x in ORDER]
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                parts += [linear(f"{block}.attention.{part}", channels, channels)]
            table = f"{block}.attention.self.relative_position_"
            parts += [{f"{table}bias_table": ((2 * window - 1) ** 2, channels // 32)}]
            parts += [{f"{table}index": (window**2, window**2)}]
            parts += [linear(f"{block}.intermediate.dense", channels, 4 * channels)]
            parts += [linear(f"{block}.output.dense", 4 * channels, channels)]
        if i < 3:
            down = f"{stage}.downsample"
            parts += [norm(f"{down}.norm", 4 * channels)]
            parts += [linear(f"{down}.reduction", 4 * channels, 2 * channels, False)]
    return joined(*parts)


ORDER = ("before", "after")
TINY = (96, 192, 384, 768)


def convnext(prefix, widths=TINY, depths=(3, 3, 9, 3)):
    parts = [conv(f"{prefix}embeddings.patch_embeddings", 3, widths[0], 4)]
    parts += [norm(f"{prefix}embeddings.layernorm", widths[0])]
    for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        stage = f"{prefix}encoder.stages.{i}"
        if i:
            down = f"{stage}.downsampling_layer"
            parts += [norm(f"{down}.0", widths[i - 1])]
            parts += [conv(f"{down}.1", widths[i - 1], width, 2)]
        for j in range(depth):
            block = f"{stage}.layers.{j}"
            parts += [{f"{block}.layer_scale_parameter": (width,)}]
            parts += [conv(f"{block}.dwconv", 1, width, 7)]
            parts += [norm(f"{block}.layernorm", width)]
            parts += [linear(f"{block}.pwconv1", width, 4 * width)]
            parts += [linear(f"{block}.pwconv2", 4 * width, width)]
    return joined(*parts)


def conv_bn(name, before, after, size):
    return joined(
        conv(f"{name}.conv", before, after, size, bias=False),
        batch_norm(f"{name}.batch_norm", after),
    )


def upernet(encoder, widths, filters=16, classes=7, aux=8):
    parts = [encoder]
    for i, width in enumerate(widths):
        parts += [norm(f"backbone.hidden_states_norms.stage{i + 1}", width)]
        pool = f"decode_head.psp_modules.{i}.1"
        parts += [conv_bn(pool, widths[-1], filters, 1)]
        if i < 3:
            parts += [conv_bn(f"decode_head.lateral_convs.{i}", width, filters, 1)]
            parts += [conv_bn(f"decode_head.fpn_convs.{i}", filters, filters, 3)]
    last = widths[-1] + 4 * filters
    parts += [conv_bn("decode_head.bottleneck", last, filters, 3)]
    parts += [conv_bn("decode_head.fpn_bottleneck", 4 * filters, filters, 3)]
    parts += [conv("decode_head.classifier", filters, classes, 1)]
    if aux:
        parts += [conv_bn("auxiliary_head.convs.0", widths[2], aux, 3)]
        parts += [conv("auxiliary_head.classifier", aux, classes, 1)]
    return joined(*parts)


SMALL = (32, 64, 128, 256)
CASES = {
    "segformer": segformer,
    "segformer in memory": lambda: in_memory(segformer()),
    "upernet, swin": lambda: upernet(swin("backbone."), SMALL),
    "upernet, swin in memory": lambda: upernet(swin("backbone.swin."), SMALL, aux=0),
    "swin": lambda: joined(
        swin("swin."), norm("swin.layernorm", 256), linear("classifier", 256, 9)
    ),
}


def arrays_of(shapes):
    return {
        name: np.asarray(RNG.normal(size=shape), "float32")
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("case", CASES)
def test_every_variable_has_an_array_and_every_array_a_variable(case):
    shapes = CASES[case]()
    network = families.recognize(shapes)
    assert network.family == "hugging_face"
    arrays = arrays_of(shapes)
    model = imported.build(arrays, network)
    unused = [n for n in shapes if any(re.fullmatch(p, n) for p in network.unused)]
    used = sum(arrays[name].size for name in shapes if name not in unused)
    assert model.count_params() == used
    rest = [name for name in shapes if name not in unused]
    for change in ("missing", "superfluous", "wrong"):
        changed = dict(arrays)
        if change == "missing":
            del changed[rest[-1]]
        elif change == "superfluous":
            changed["neck.weight"] = np.zeros(3, "float32")
        else:
            sides = [side + 1 for side in shapes[rest[0]]]
            changed[rest[0]] = np.zeros(sides, "float32")
        with pytest.raises(errors.UserError, match="not those of"):
            imported.filling.fill(model, changed, network)


@pytest.mark.parametrize(
    "widths, depths, head, name",
    [
        ((32, 64, 160, 256), (2, 2, 2, 2), 256, "segformer_b0"),
        ((64, 128, 320, 512), (2, 2, 2, 2), 256, "segformer_b1"),
        ((64, 128, 320, 512), (3, 4, 6, 3), 768, "segformer_b2"),
        ((64, 128, 320, 512), (3, 4, 18, 3), 768, "segformer_b3"),
        ((64, 128, 320, 512), (3, 8, 27, 3), 768, "segformer_b4"),
        ((64, 128, 320, 512), (3, 6, 40, 3), 768, "segformer_b5"),
    ],
)
def test_a_published_segformer_is_recognized(widths, depths, head, name):
    network = families.recognize(segformer(widths, depths, head, 150))
    assert (network.model, network.num_classes) == (name, 150)
    assert network.options == {"norm_epsilon": 1e-5, "normalization": "torch"}


@pytest.mark.parametrize(
    "name, width, depths, window",
    [
        ("swin_tiny", 96, (2, 2, 6, 2), 7),
        ("swin_small", 96, (2, 2, 18, 2), 7),
        ("swin_base", 128, (2, 2, 18, 2), 12),
        ("swin_large", 192, (2, 2, 18, 2), 12),
    ],
)
def test_a_published_upernet_on_swin_is_recognized(name, width, depths, window):
    widths = [width * 2**i for i in range(4)]
    encoder = swin("backbone.", width, depths, window)
    network = families.recognize(upernet(encoder, widths, 512, 150, 256))
    assert (network.model, network.num_classes) == ("upernet", 150)
    assert network.options == {
        "backbone": name,
        "window": window,
        "filters": 512,
        "aux": True,
        "convolve_first": True,
        "end_norms": True,
        "normalization": "torch",
    }


@pytest.mark.parametrize(
    "name, widths, depths",
    [
        ("convnext_tiny", TINY, (3, 3, 9, 3)),
        ("convnext_small", TINY, (3, 3, 27, 3)),
        ("convnext_base", (128, 256, 512, 1024), (3, 3, 27, 3)),
        ("convnext_large", (192, 384, 768, 1536), (3, 3, 27, 3)),
    ],
)
def test_a_published_upernet_on_convnext_is_recognized(name, widths, depths):
    encoder = convnext("backbone.", widths, depths)
    network = families.recognize(upernet(encoder, widths, 512, 150, 256))
    assert network.options["backbone"] == name
    assert network.options["crop"]


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["backbone.", "convnext."])
def test_arrays_of_convnext_are_those_of_the_model(prefix):
    shapes = convnext(prefix)
    if prefix == "backbone.":
        shapes = upernet(shapes, TINY)
    else:
        shapes = joined(shapes, norm("convnext.layernorm", 768))
    model = imported.build(arrays := arrays_of(shapes), families.recognize(shapes))
    tracked = sum(name.endswith("tracked") for name in shapes)
    assert model.count_params() == sum(a.size for a in arrays.values()) - tracked


def test_an_encoder_without_a_head_is_refused():
    shapes = {k: v for k, v in segformer().items() if "decode_head" not in k}
    with pytest.raises(errors.UserError, match="encoder without the head"):
        families.recognize({**shapes, "classifier.weight": (9, 64)})


def test_what_shapes_cannot_tell_is_read_from_the_config():
    with pytest.raises(errors.UserError, match=r"`num_attention_heads=\[1, 2, 4, 8\]`"):
        families.recognize(segformer(), {"num_attention_heads": [1, 2, 4, 8]})
    with pytest.raises(errors.UserError, match="`hidden_act=relu`"):
        shapes = upernet(swin("backbone."), SMALL)
        families.recognize(shapes, {"backbone_config": {"hidden_act": "relu"}})


def test_an_auxiliary_head_that_is_not_ours_is_left_out():
    network = families.recognize(upernet(swin("backbone."), SMALL, aux=12))
    assert not network.options["aux"]
    assert any(re.fullmatch(p, "auxiliary_head.a") for p in network.unused)


def test_class_names_give_the_palette_of_their_data_set():
    spec = datasets.get("cityscapes")
    labels = {str(i): f"{name} " for i, name in enumerate(spec.class_names)}
    found = hugging_face_config.classes({"id2label": labels}, 19)
    assert found["class_names"] == list(spec.class_names)
    assert found["palette"] == spec.palette.tolist()
    labels = {str(i): f"part {i}" for i in range(19)}
    found = hugging_face_config.classes({"id2label": labels}, 19)
    assert found == {"class_names": [f"part {i}" for i in range(19)]}
    labels = {str(i): f"LABEL_{i}" for i in range(19)}
    assert hugging_face_config.classes({"id2label": labels}, 19) == {}


IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@pytest.mark.parametrize(
    "values, expected",
    [
        ({}, "torch"),
        ({**IMAGENET, "rescale_factor": 0.00392156862745098}, "torch"),
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, "tf"),
        ({"do_normalize": False, "do_rescale": False}, "none"),
    ],
)
def test_the_preprocessor_gives_the_normalization(values, expected):
    found = hugging_face_config.normalization({"preprocessor": values})
    assert found == expected


@pytest.mark.parametrize(
    "values", [{"image_mean": [0.4] * 3, "image_std": [0.5] * 3}, {"do_rescale": True}]
)
def test_another_normalization_is_refused_with_its_values(values):
    values = {"do_normalize": "image_mean" in values, **values}
    with pytest.raises(errors.UserError, match=r"`image_mean=.* none of"):
        hugging_face_config.normalization({"preprocessor": values})


def test_the_queries_keys_and_values_are_in_this_order():
    shapes = upernet(swin("backbone."), SMALL, aux=0)
    arrays = arrays_of(shapes)
    model = imported.build(arrays, families.recognize(shapes))
    kernel = model.get_layer("stage1_block1_attend_query_key_value").kernel
    start = "backbone.encoder.layers.0.blocks.0.attention.self."
    for i, part in enumerate(("query", "key", "value")):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(kernel)[:, 32 * i : 32 * (i + 1)],
            arrays[f"{start}{part}.weight"].T,
        )
