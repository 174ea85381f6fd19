"""`build_model(weights=...)`: networks of other programs, whole or in part."""

import functools

import keras
import numpy as np
import pytest

from kerasseg import errors, models
from kerasseg.weights.encoders import resnet
from kerasseg.weights.families import torchvision
from kerasseg.weights.networks import Network
from tests.support import foreign as arrays

safetensors = pytest.importorskip("safetensors.numpy")
BACKBONE = "resnet18_quarter"
OPTIONS = {
    "backbone": BACKBONE,
    "output_stride": 8,
    "aux": True,
    "resize": "half_pixel",
    "stride_on": "3x3",
    "first_rate": "old",
    "normalization": "torch",
}
IMAGE = np.random.default_rng(0).uniform(0, 255, (1, 33, 47, 3)).astype("float32")


@pytest.fixture(autouse=True)
def small_backbone(monkeypatch):
    """Recognizes a small ResNet, which torchvision does not have."""

    def name(shapes, prefix):
        return BACKBONE if f"{prefix}layer1.0.conv1.weight" in shapes else None

    monkeypatch.setattr(resnet, "name", name)


def foreign(model):
    """Returns the arrays of a model with the names and axes of torchvision."""
    module = functools.partial(resnet.module, prefix="backbone.")
    source = functools.partial(torchvision._source, "fcn_resnet", module)
    network = Network(family="torchvision", model="fcn_resnet", source=source)
    return arrays.of_torch(model, network)


@pytest.fixture(scope="module")
def original():
    """A model of 3 classes with random statistics and epsilons of PyTorch."""
    keras.utils.set_random_seed(3)
    model = models.build_model("fcn_resnet", 3, batch_norm_epsilon=1e-5, **OPTIONS)
    rng = np.random.default_rng(1)
    for variable in model.weights:
        if "moving" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


@pytest.fixture(scope="module")
def path(original, tmp_path_factory):
    """The file of its weights."""
    found = tmp_path_factory.mktemp("weights") / "fcn.safetensors"
    safetensors.save_file(foreign(original), found)
    return str(found)


def test_the_network_of_the_weights_is_built(original, path):
    model = models.build_model("fcn_resnet", 3, weights=path)
    ours, expected = model(IMAGE), original(IMAGE)
    assert {*ours} == {*expected} and "logits" in ours
    for key, value in expected.items():
        np.testing.assert_allclose(ours[key], value, rtol=1e-4, atol=1e-4)


def test_options_of_the_user_go_first(original, path, caplog):
    model = models.build_model(
        "fcn_resnet", 3, weights=path, aux=False, backbone_weights="imagenet"
    )
    expected = original(IMAGE)["logits"]
    np.testing.assert_allclose(model(IMAGE), expected, rtol=1e-4, atol=1e-4)
    assert not caplog.text  # All variables of the model have weights.
    model = models.build_model("fcn_resnet", 3, weights=path, batch_norm_epsilon=0.01)
    assert model.get_layer("conv1_bn").epsilon == 0.01


def test_another_number_of_classes_leaves_the_classifier(original, path, caplog):
    model = models.build_model("fcn_resnet", 7, weights=path)
    assert model(IMAGE)["logits"].shape[-1] == 7
    values = {variable.path: variable for variable in original.weights}
    different = [
        variable.path
        for variable in model.weights
        if variable.shape != values[variable.path].shape
    ]
    assert len(different) == 4  # Kernel and bias, also of the auxiliary head.
    for variable in model.weights:
        if variable.path not in different:
            np.testing.assert_array_equal(variable, values[variable.path])
    assert f"4 of {len(model.weights)} variables of fcn_resnet" in caplog.text
    assert different[0] in caplog.text
    assert model.get_layer("conv1_bn").epsilon == 1e-5


def test_images_of_more_channels_keep_the_kernels_of_colors(original, path, caplog):
    model = models.build_model("fcn_resnet", 3, weights=path, channels=5)
    kernel = np.asarray(model.get_layer("conv1_conv").kernel)
    expected = np.asarray(original.get_layer("conv1_conv").kernel)
    np.testing.assert_array_equal(kernel[:, :, :3], expected)
    assert not kernel[:, :, 3:].any() and not caplog.text


def test_weights_of_another_architecture_are_refused(path):
    with pytest.raises(errors.UserError, match=r"'fcn_resnet' with 3 classes.*'unet'"):
        models.build_model("unet", 3, weights=path)


def test_options_that_leave_nothing_are_refused(path, monkeypatch):
    monkeypatch.setattr(
        "kerasseg.backbones.copy_weights", lambda _, model: list(model.weights)
    )
    with pytest.raises(errors.UserError, match="no variable in common"):
        models.build_model("fcn_resnet", 4, weights=path)


def test_damaged_weights_are_refused(original, tmp_path):
    arrays = foreign(original)
    arrays.pop("classifier.4.bias")
    safetensors.save_file(arrays, tmp_path / "part.safetensors")
    with pytest.raises(errors.UserError, match=r"no classifier\.4\.bias"):
        models.build_model("fcn_resnet", 3, weights=str(tmp_path / "part.safetensors"))
