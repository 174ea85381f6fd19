"""SegFormer: its table, its attention, its blocks."""

import math

import keras
import numpy as np
import pytest

from kerasseg import models
from kerasseg.models import segformer
from tests.support import reference

RNG = np.random.default_rng(0)


def small(**options):
    default = models.metadata("segformer_b0").test_options | {"depths": (1, 1, 2, 1)}
    options = default | options
    return models.build_model("segformer_b0", 3, **options)


def count(model, prefix=""):
    weights = [v for v in model.trainable_variables if v.path.startswith(prefix)]
    return sum(np.prod(v.shape) for v in weights)


def taps(model, *names):
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


def softmax(x):
    shares = np.exp(x - x.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def test_parts_of_b0_have_the_parameters_of_the_paper():
    model = models.build_model("segformer_b0", 150, image_size=(512, 512))
    for stage, params in enumerate((79_616, 118_272, 418_560, 800_000), start=1):
        assert count(model, f"stage{stage}_block1") == params
        assert count(model, f"stage{stage}_block2") == params
    assert count(model, "stage") == 3_319_392
    parts = [count(model, part) for part in ("head_c", "head_fuse", "classify")]
    assert parts == [132_096, 262_144 + 512, 38_550]
    # 512 pixels become 128, 64, 32 and 16 cells.
    for stage, cells, filters in (
        (1, 128, 32),
        (2, 64, 64),
        (3, 32, 160),
        (4, 16, 256),
    ):
        output = model.get_layer(f"stage{stage}_norm").output
        assert output.shape[1:] == (cells, cells, filters)


@pytest.mark.slow  # Big networks.
@pytest.mark.parametrize(
    "name, params",
    [
        ("segformer_b0", 3_719_027),
        ("segformer_b1", 13_682_131),
        ("segformer_b2", 27_361_235),
        ("segformer_b3", 47_237_075),
        ("segformer_b4", 64_007_635),
        ("segformer_b5", 84_607_955),
    ],
)
def test_every_variant_has_the_parameters_of_the_authors_for_19_classes(name, params):
    assert count(models.build_model(name, 19)) == params


@pytest.mark.slow
def test_a_head_of_256_channels_has_the_parameters_of_other_implementations():
    model = models.build_model("segformer_b2", 19, head_filters=256)
    assert model.count_params() == 24_727_507
    assert count(model) == 24_727_507 - 2 * 256  # Statistics of the batch norm.


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (1, 1)])
def test_stages_have_their_strides_and_the_head_concatenates_the_deepest_first(size):
    model = small(image_size=size)
    padded = [max(side, 32) for side in size]
    for stage, stride in enumerate((4, 8, 16, 32), start=1):
        cells = tuple(-(-side // stride) for side in padded)
        assert model.get_layer(f"stage{stage}_norm").output.shape[1:3] == cells
    names = [
        x._keras_history.operation.name for x in model.get_layer("head_concat").input
    ]
    assert names == ["head_c5_up", "head_c4_up", "head_c3_up", "head_c2"]


def test_keys_and_values_are_reduced_by_8_4_2_and_1():
    model = small(image_size=(64, 128))
    for stage, reduction in enumerate((8, 4, 2), start=1):
        layer = model.get_layer(f"stage{stage}_block1_attend_reduce")
        assert layer.kernel_size == layer.strides == (reduction, reduction)
        assert layer.output.shape[1:3] == (2, 4)
    names = {layer.name for layer in model.layers}
    assert "stage4_block1_attend_reduce" not in names


def test_heads_attend_independently():
    query = RNG.normal(size=(2, 3, 5, 8)).astype("float32")
    key_value = RNG.normal(size=(2, 2, 3, 16)).astype("float32")
    expected = np.zeros(query.shape)
    for head in (slice(0, 4), slice(4, 8)):  # Two heads of four channels.
        q = query[..., head].reshape(2, 15, 4)
        k = key_value[..., :8][..., head].reshape(2, 6, 4)
        v = key_value[..., 8:][..., head].reshape(2, 6, 4)
        weights = softmax(np.einsum("bqc,bkc->bqk", q, k) / math.sqrt(4))
        expected[..., head] = np.einsum("bqk,bkc->bqc", weights, v).reshape(2, 3, 5, 4)
    x = segformer.Attention(2)([query, key_value])
    np.testing.assert_allclose(x, expected, atol=1e-5)


def test_attention_to_a_single_cell_returns_its_value():
    query = RNG.normal(size=(1, 3, 5, 8)).astype("float32")
    key_value = RNG.normal(size=(1, 1, 1, 16)).astype("float32")
    x = segformer.Attention(4)([query, key_value])
    expected = np.broadcast_to(key_value[..., 8:], query.shape)
    np.testing.assert_allclose(x, expected, atol=1e-6)


def test_attention_in_float16_does_not_overflow():
    # 16 * 100 * 100 = 160,000 is above 65,504, 16 * 25 * 100 = 40,000 is not.
    query = np.full((1, 2, 2, 16), 100, "float16")
    key_value = np.full((1, 2, 2, 32), 100, "float16")
    x = segformer.Attention(1, dtype="float16")([query, key_value])
    assert x.dtype == "float16"
    np.testing.assert_array_equal(x, query)


def test_a_block_equals_its_equations_in_numpy():
    x = keras.Input((6, 8, 4))
    y = segformer.efficient_attention(x, 2, 2, name="a")
    y = segformer.mix(y, name="m")
    model = keras.Model(x, y)
    for variable in model.weights:
        variable.assign(RNG.normal(0, 0.5, variable.shape))
    value = RNG.normal(size=(1, 6, 8, 4)).astype("float32")

    def layer(name):
        return [np.asarray(w, "float64") for w in model.get_layer(name).get_weights()]

    def linear(z, name):
        kernel, bias = layer(name)
        return z @ kernel + bias

    reduced = reference.conv(value, *layer("a_reduce"), stride=2, padding=0)
    gamma, beta = layer("a_reduce_norm")
    deviation = np.sqrt(reduced.var(-1, keepdims=True) + 1e-5)
    reduced = (reduced - reduced.mean(-1, keepdims=True)) / deviation * gamma + beta
    query = linear(value, "a_query")
    key_value = linear(reduced, "a_key_value")
    attended = np.zeros(query.shape)
    for head in (slice(0, 2), slice(2, 4)):
        fit = np.einsum(
            "bijc,bklc->bijkl", query[..., head], key_value[..., :4][..., head]
        )
        weights = softmax(fit.reshape(1, 6, 8, 12) / math.sqrt(2))
        values = key_value[..., 4:][..., head].reshape(1, 12, 2)
        attended[..., head] = np.einsum("bijk,bkc->bijc", weights, values)
    z = linear(linear(attended, "a_project"), "m_widen")
    kernel, bias = layer("m_depthwise")
    z = reference.depthwise(z, kernel) + bias
    z = z * (1 + np.vectorize(math.erf)(z / math.sqrt(2))) / 2  # GELU
    expected = linear(z, "m_narrow")
    np.testing.assert_allclose(model(value), expected, atol=1e-4)


def test_norms_have_the_epsilons_of_the_authors():
    model = small()
    for name, epsilon in (
        ("stage1_embed_norm", 1e-5),
        ("stage1_block1_attend_norm", 1e-6),
        ("stage1_block1_attend_reduce_norm", 1e-5),
        ("stage1_block1_mix_norm", 1e-6),
        ("stage1_norm", 1e-6),
    ):
        assert model.get_layer(name).epsilon == epsilon


def test_the_skip_probability_increases_with_depth():
    model = small(stochastic_depth=0.2)  # Blocks of the stages: 1, 1, 2 and 1.
    blocks = ["stage1_block1", "stage2_block1", "stage3_block1", "stage3_block2"]
    blocks.append("stage4_block1")
    for part in ("attend", "mix"):
        rates = [model.get_layer(f"{block}_{part}_skip").rate for block in blocks]
        np.testing.assert_allclose(rates, [0, 0.05, 0.1, 0.15, 0.2])


def test_a_branch_is_skipped_for_whole_images_in_training_only():
    x, branch = keras.Input((4, 5, 3)), keras.Input((4, 5, 3))
    model = keras.Model([x, branch], segformer._add(x, branch, 0.5, name="a"))
    start, one = np.zeros((64, 4, 5, 3), "float32"), np.ones((64, 4, 5, 3), "float32")
    y = np.asarray(model([start, one], training=True))
    # Kept branches are doubled, so that the mean is unchanged.
    assert {tuple(np.unique(image)) for image in y} == {(0.0,), (2.0,)}
    np.testing.assert_array_equal(model([start, one]), one)


def test_layers_of_equal_shape_start_with_different_values():
    model = small()
    first, second = [
        np.asarray(model.get_layer(f"stage3_block{i}_mix_depthwise").kernel)
        for i in (1, 2)
    ]
    assert np.all(first != second)


@pytest.mark.parametrize(
    "options", [{"filters": (8, 8, 8, 8)}, {"depths": (1, 1)}, {"filters": (8, 8)}]
)
def test_wrong_filters_or_depths_are_errors(options):
    with pytest.raises(ValueError, match=r"'segformer_b0' must be four numbers each"):
        small(**options)
