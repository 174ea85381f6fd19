"""G-FRNet: sizes, gates and refinement, by hand and against NumPy."""

import functools

import keras
import numpy as np
import pytest

from kerasseg import models
from kerasseg.backbones import vgg
from kerasseg.models import gfrnet
from tests.support import reference

RNG = np.random.default_rng(0)


@functools.cache
def small(**options):
    """Builds the test model at CamVid's size."""
    options = {"filters": 8, "image_size": (360, 480), **options}
    return models.build_model("gfrnet", 11, **options)


def noise(*shape):
    return RNG.normal(size=shape).astype("float32")


def test_six_predictions_double_from_stage_to_stage():
    # 360 -> 180 -> 90 -> 45 -> 23 -> 12: pools round up.
    outputs = small(aux=True).output
    sizes = [tuple(outputs[f"aux_pred{i}"].shape[1:]) for i in range(1, 6)]
    assert sizes == [
        *((12, 15, 11), (23, 30, 11), (45, 60, 11), (90, 120, 11), (180, 240, 11))
    ]
    assert outputs["logits"].shape == (None, 360, 480, 11)
    assert len(outputs) == 6
    assert {x.dtype for x in outputs.values()} == {"float32"}


def test_options_do_not_change_the_variables():
    plain = {(v.path, tuple(v.shape)) for v in small().weights}
    for options in ({"aux": True}, {"gate_relu": True}):
        assert {(v.path, tuple(v.shape)) for v in small(**options).weights} == plain


def test_the_coarse_input_of_a_gate_is_from_the_encoder_one_stage_deeper():
    # It is not the decoder's prediction. Only the deepest has no batch norm.
    model = small()
    before = ["coarse1", *(f"features{stage}_bn" for stage in range(2, 6))]
    for stage, name in enumerate(before, start=2):
        fine = model.get_layer(f"features{stage}_bn").output
        context = model.get_layer(name).output
        assert model.get_layer(f"gate{stage}_up").input == [context, fine]


def test_gate_relu_applies_relu_to_the_inputs_of_gates():
    model = small(gate_relu=True)
    contexts = [model.get_layer(f"gate{stage}_up").input[0] for stage in range(2, 7)]
    names = [x._keras_history.operation.name for x in contexts]
    assert names[0] == "coarse1_relu"
    assert names[1:] == [f"features{stage}_relu" for stage in range(2, 6)]


def gate(fine_size, coarse_size):
    """Builds a single gate."""
    fine, coarse = keras.Input((*fine_size, 3)), keras.Input((*coarse_size, 3))
    return keras.Model([fine, coarse], gfrnet.gate(fine, coarse, name="gate"))


def test_the_output_of_a_gate_of_zeros_is_beta():
    model = gate((5, 7), (3, 4))
    beta = np.array([1.5, -2.0, 0.25], "float32")
    model.get_layer("gate_bn").beta.assign(beta)
    gated = model([noise(2, 5, 7, 3), np.zeros((2, 3, 4, 3), "float32")])
    np.testing.assert_allclose(gated, np.broadcast_to(beta, (2, 5, 7, 3)))


def test_a_gate_of_ones_passes_its_input():
    model = gate((5, 7), (3, 4))
    assert np.asarray(model.get_layer("gate_bn").beta) == pytest.approx(0.001)
    model.get_layer("gate_bn").beta.assign([0.0, 0.0, 0.0])
    fine = noise(2, 5, 7, 3)
    gated = model([fine, np.ones((2, 3, 4, 3), "float32")])
    np.testing.assert_allclose(gated, fine, rtol=1e-5)


def test_a_stage_equals_that_in_numpy():
    fine, coarse, last = (keras.Input((*size, 3)) for size in ((9, 6), (5, 3), (4, 3)))
    gated = gfrnet.gate(fine, coarse, name="gate")
    model = keras.Model(
        [fine, coarse, last], gfrnet.refine(last, gated, name="refined")
    )
    reference.shake(model)
    inputs = [noise(2, 9, 6, 3), noise(2, 5, 3, 3), noise(2, 4, 3, 3)]
    product = inputs[0] * reference.resize(inputs[1], 9, 6, aligned=True)
    x = reference.batch_norm(product, model.get_layer("gate_bn"))
    x = np.concatenate([x, reference.resize(inputs[2], 9, 6, aligned=True)], axis=-1)
    kernel, bias = model.get_layer("refined").get_weights()
    np.testing.assert_allclose(
        model(inputs), reference.conv(x, kernel, bias), atol=1e-4
    )


@pytest.mark.parametrize(
    "before, after",
    [((3, 3), (5, 5)), ((2, 15), (23, 30)), ((1, 1), (4, 2)), ((6, 5), (1, 3))],
)
def test_aligned_resizing_keeps_corners(before, after):
    x, like = noise(2, *before, 3), np.zeros((2, *after, 1), "float32")
    found = np.asarray(gfrnet.AlignedResizeLike()([x, like]))
    np.testing.assert_allclose(
        found, reference.resize(x, *after, aligned=True), atol=1e-5
    )
    if min(after) > 1:
        np.testing.assert_array_equal(found[:, -1, -1], x[:, -1, -1])


def test_an_aligned_ramp_stays_a_ramp():
    ramp = np.arange(3, dtype="float32").reshape(1, 1, 3, 1)
    wide = gfrnet.AlignedResizeLike()([ramp, np.zeros((1, 1, 5, 1), "float32")])
    assert np.ravel(wide).tolist() == [0, 0.5, 1, 1.5, 2]


def test_dropout_is_after_the_last_three_pools_and_both_new_convolutions():
    kind = keras.layers.Dropout
    rates = {x.name: x.rate for x in small().layers if isinstance(x, kind)}
    names = ["pool3", "pool4", "pool5", "conv6", "conv7"]
    assert rates == {f"{name}_dropout": 0.5 for name in names}
    for name in ("conv6", "coarse1"):
        dropped = small().get_layer("pool5_dropout").output
        assert small().get_layer(name).input is dropped


def test_imagenet_weights_can_be_loaded(monkeypatch):
    asked = []
    monkeypatch.setattr(vgg, "load_weights", lambda *given: asked.append(given))
    models.build_model("gfrnet", 2, backbone_weights="imagenet", filters=8)
    ((encoder, weights),) = asked
    assert weights == "imagenet"
    kinds = [x for x in encoder.layers if isinstance(x, keras.layers.Conv2D)]
    convolutions = zip((1, 2, 3, 4, 5), (2, 2, 3, 3, 3), strict=True)
    names = [f"block{i}_conv{k}" for i, n in convolutions for k in range(1, n + 1)]
    assert [x.name for x in kinds] == names
    assert kinds[0].kernel.shape == (3, 3, 3, 8)
