"""BiSeNetV2: its branches and their aggregation."""

import keras
import numpy as np
import pytest

from kerasseg import models
from kerasseg.models import bisenet_v2
from tests.support import reference

RNG = np.random.default_rng(0)
AUX = ["aux_stage2", "aux_stage3", "aux_stage4", "aux_stage5"]


def small(**options):
    options = models.metadata("bisenet_v2").test_options | options
    return models.build_model("bisenet_v2", 3, **options)


def taps(model, *names):
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


def test_parts_have_the_parameters_of_third_party_code():
    model = models.build_model("bisenet_v2", 19, aux=True)
    parts = {
        ("detail",): 519_232,
        ("stem", "stage", "context"): 1_159_504,
        ("guide",): 478_720,
        ("head", "classify"): 1_201_171,
        ("aux",): 5_231_487 - 3_358_627,
    }
    for prefixes, params in parts.items():
        weights = [v for v in model.trainable_variables if v.path.startswith(prefixes)]
        assert sum(np.prod(v.shape) for v in weights) == params
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == 5_231_487


@pytest.mark.parametrize("size", [(512, 1024), (65, 97)])
def test_the_branches_have_their_strides(size):
    model = small(image_size=size)
    for name, stride, filters in (
        ("detail3_3_relu", 8, 64),
        ("stem_fuse_relu", 4, 8),
        ("stage3_2_out", 8, 16),
        ("stage4_2_out", 16, 32),
        ("stage5_4_out", 32, 64),
        ("context_last_relu", 32, 64),
        ("guide_last_relu", 8, 64),
    ):
        cells = tuple(-(-side // stride) for side in size)
        assert model.get_layer(name).output.shape[1:] == (*cells, filters), name


def test_gates_are_0_5_if_the_semantic_branch_is_0():
    model = small()
    for name in ("fine_sense_conv", "coarse_point"):
        kernel = model.get_layer(f"guide_{name}").kernel
        kernel.assign(0 * kernel)
    image = RNG.uniform(0, 255, (1, 65, 97, 3)).astype("float32")
    gates = taps(model, "guide_fine_gate", "guide_coarse_gate")(image)
    for gate in gates:
        np.testing.assert_array_equal(gate, np.full(gate.shape, 0.5))


def test_the_aggregation_layer_equals_that_in_numpy():
    detail, semantic = keras.Input((12, 16, 8)), keras.Input((3, 4, 8))
    merged = bisenet_v2.guided_aggregation(detail, semantic, name="g")
    model = keras.Model([detail, semantic], merged)
    reference.shake(model)
    d = RNG.normal(size=(2, 12, 16, 8)).astype("float32")
    s = RNG.normal(size=(2, 3, 4, 8)).astype("float32")

    def kernel(name):
        return np.asarray(model.get_layer(name).kernel)

    def normalized(x, name):
        return reference.batch_norm(x, model.get_layer(f"{name}_bn"))

    def depthwise(x, name):
        x = reference.depthwise(x, kernel(f"{name}_depthwise"))
        return normalized(x, name)

    def conv(x, name, stride=1):
        x = reference.conv(x, kernel(f"{name}_conv"), stride=stride, padding=1)
        return normalized(x, name)

    def point(x, name):
        return reference.conv(x, kernel(f"{name}_point"))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    fine = point(depthwise(d, "g_fine"), "g_fine")
    coarse = conv(d, "g_coarse", stride=2)
    coarse = reference.windows(reference.pad(coarse, 1), 3, stride=2).mean((3, 4))
    fine_gate = reference.resize(conv(s, "g_fine_sense"), 12, 16)
    coarse_gate = point(depthwise(s, "g_coarse_sense"), "g_coarse")
    total = fine * sigmoid(fine_gate)
    total += reference.resize(coarse * sigmoid(coarse_gate), 12, 16)
    expected = reference.relu(conv(total, "g_last"))
    np.testing.assert_allclose(model([d, s]), expected, atol=1e-4)


def test_a_gather_and_expansion_layer_expands_6_times_and_is_residual():
    x = keras.Input((6, 7, 4))
    model = keras.Model(x, bisenet_v2.gather_and_expand(x, name="ge"))
    assert model.get_layer("ge_expand_depthwise").output.shape[-1] == 6 * 4
    last = model.get_layer("ge_project_bn")
    last.gamma.assign(0 * last.gamma)
    image = RNG.normal(size=(1, 6, 7, 4)).astype("float32")
    np.testing.assert_array_equal(model(image), np.maximum(image, 0))


def test_auxiliary_heads_cover_every_pixel_and_change_no_other_names():
    with_aux, without = small(aux=True), small()
    paths = {v.path for v in without.weights}
    assert paths < {v.path for v in with_aux.weights}
    outputs = with_aux(np.zeros((2, 45, 33, 3)))
    assert sorted(outputs) == [*AUX, "logits"]
    assert {x.shape for x in outputs.values()} == {(2, 45, 33, 3)}
    assert all(x.dtype == "float32" for x in outputs.values())


def test_filters_must_be_a_multiple_of_8():
    with pytest.raises(ValueError, match="filters=20` of 'bisenet_v2' must be a mult"):
        small(filters=20)


def test_nearest_upsampling_repeats_each_gate_four_times():
    model = small(upsampling="nearest")
    image = RNG.uniform(0, 255, (1, 65, 97, 3)).astype("float32")
    x, up = taps(model, "guide_fine_sense_bn", "guide_fine_up")(image)
    # At stride 32, 3x4 cells; at stride 8, 9x13.
    assert x.shape[1:3] == (3, 4) and up.shape[1:3] == (9, 13)
    expected = np.repeat(np.repeat(x, 4, axis=1), 4, axis=2)[:, :9, :13]
    np.testing.assert_array_equal(up, expected)


def test_an_unknown_upsampling_is_an_error():
    with pytest.raises(ValueError, match="`upsampling=cubic` of 'bisenet_v2' must be"):
        small(upsampling="cubic")
