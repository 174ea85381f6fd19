"""Zoom-out: the features of each cell, and the trained layers."""

import keras
import numpy as np
import pytest

from kerasseg import models
from kerasseg.models import zoomout
from tests.support import initializers

RNG = np.random.default_rng(0)


def small(**options):
    options = {"filters": 2, "hidden_units": (8,), **options}
    return models.build_model("zoomout", 3, **options)


def random_images(*shape):
    return RNG.uniform(0, 255, (*shape, 3)).astype("float32")


def output_of(model, name):
    """Returns a model that ends at a layer."""
    return keras.Model(model.input, model.get_layer(name).output)


def params(layers):
    return sum(np.prod(v.shape) for layer in layers for v in layer.weights)


def test_features_and_parameters_are_those_of_the_paper():
    # 2 x 64 + 2 x 128 + 3 x 256 + 3 x 512 + 3 x 512, and 4096 of fc7.
    with initializers.no_values():
        model = models.build_model("zoomout", 21, image_size=(64, 84))
    assert model.get_layer("zoom_out").output.shape == (None, 16, 21, 8320)
    # 8320 x 1000 + 1000, 1000 x 1000 + 1000, 1000 x 21 + 21.
    head = [model.get_layer(name) for name in ("hidden1", "hidden2", "classify")]
    assert params(head) == 9_343_021
    # 8 x 8 x 21 x 21 + 21, between all classes.
    upsample = model.get_layer("upsample")
    assert params([upsample]) == 28_245
    assert params([model.get_layer("normalize_features")]) == 2 * 8320 + 1
    rest = {*head, upsample, model.get_layer("normalize_features")}
    assert params(x for x in model.layers if x not in rest) == 134_260_544


def test_a_constant_image_has_equal_cells_away_from_its_borders():
    # The field of view of conv5_3 is 98 pixels to each side, its stride 16.
    features, _ = zoomout.split(small())
    cells = np.asarray(features(np.full((1, 256, 240, 3), 77, "float32")))[0]
    inner = cells[112 // 4 : 144 // 4, 112 // 4 : 128 // 4]
    np.testing.assert_allclose(inner, np.broadcast_to(inner[0, 0], inner.shape))
    assert np.ptp(cells, axis=(0, 1)).max() > 0


def test_features_are_outputs_of_relu_and_fine_maps_are_subsampled():
    model = small(zoom_layers=("block1_conv2", "block2_conv1"))
    image = random_images(1, 45, 63)
    cells = np.asarray(output_of(model, "zoom_out")(image))
    assert cells.shape == (1, 12, 16, 2 + 4)
    assert cells.min() == 0
    fine = np.asarray(output_of(model, "block1_conv2_relu")(image))
    np.testing.assert_array_equal(cells[..., :2], fine[:, ::4, ::4])
    half = np.asarray(output_of(model, "block2_conv1_relu")(image))
    np.testing.assert_array_equal(cells[..., 2:], half[:, ::2, ::2])


def test_a_cell_of_stride_16_is_repeated_in_4_by_4():
    model = small(zoom_layers=("block5_conv2",))
    image = random_images(1, 64, 96)
    coarse = np.asarray(output_of(model, "block5_conv2_relu")(image))
    cells = np.asarray(zoomout.split(model)[0](image))
    assert coarse.shape[1:3] == (4, 6)
    np.testing.assert_array_equal(cells, coarse.repeat(4, axis=1).repeat(4, axis=2))


def test_the_scene_features_are_the_maximum_of_fc7_at_every_cell():
    model = small(zoom_layers=("block3_conv3", "fc7"))
    image = random_images(2, 64, 96)
    scene = np.asarray(output_of(model, "zoom_out")(image))[..., 8:]
    highest = np.asarray(output_of(model, "fc7")(image)).max(axis=(1, 2))
    assert scene.shape == (2, 16, 24, 128)
    np.testing.assert_array_equal(
        scene, np.broadcast_to(highest[:, None, None], scene.shape)
    )
    assert highest.min() == 0


def test_without_fc7_there_are_no_fully_connected_layers():
    names = {layer.name for layer in small(zoom_layers=("block4_conv1",)).layers}
    assert not names & {"fc6", "fc7", "block4_conv2"}


@pytest.mark.parametrize(
    "downsample, cells", [(1, (45, 63)), (2, (23, 32)), (8, (6, 8)), (16, (3, 4))]
)
def test_cells_can_be_finer_or_coarser(downsample, cells):
    layers = ("block1_conv1", "block4_conv1", "pool5", "fc7")
    model = small(zoom_layers=layers, downsample=downsample)
    features, _ = zoomout.split(model)
    assert features(random_images(1, 45, 63)).shape[1:3] == cells
    assert model(random_images(1, 45, 63)).shape == (1, 45, 63, 3)
    assert ("upsample" in {x.name for x in model.layers}) == (downsample > 1)


def test_with_a_frozen_trunk_only_the_classifier_is_trained(tmp_path):
    model = small(trainable_trunk=False)
    small(trainable_trunk=False).save(tmp_path / "frozen.keras")
    for each in (model, keras.models.load_model(tmp_path / "frozen.keras")):
        trained = {v.path.split("/")[0] for v in each.trainable_variables}
        assert trained == {"hidden1", "classify", "upsample"}
    assert {v.path for v in small().weights} == {v.path for v in model.weights}


def test_a_network_is_split_at_its_features():
    model = small()
    shape = model.get_layer("normalize_features").mean.shape
    model.get_layer("normalize_features").fill(np.ones(shape), np.full(shape, 4.0), 1)
    features, classifier = zoomout.split(model)
    image = random_images(1, 40, 56)
    described = np.asarray(features(image))
    expected = np.asarray(output_of(model, "classify")(image))
    np.testing.assert_allclose(classifier(described), expected, atol=1e-5)
    # Features of any elements, here the flattened cells.
    row = described.reshape(1, -1, 1, described.shape[-1])
    np.testing.assert_allclose(
        classifier(row), expected.reshape(1, -1, 1, 3), atol=1e-5
    )


def test_the_deconvolution_starts_bilinear():
    kernel, bias = small(zoom_layers=("pool1",)).get_layer("upsample").get_weights()
    assert kernel.shape == (8, 8, 3, 3)
    assert not bias.any()
    # 1 - |x - 3.5| / 4: 1/8 at the ends, 7/8 next to the center.
    ramp = np.array([1, 3, 5, 7, 7, 5, 3, 1]) / 8
    np.testing.assert_allclose(kernel[..., 1, 1], np.outer(ramp, ramp))
    assert not kernel[..., 0, 1].any()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"zoom_layers": ("conv1",)}, r"zoom_layers=\('conv1',\)` .* \['block1_conv1'"),
        ({"zoom_layers": ()}, r"zoom_layers=\(\)` of 'zoomout' must be one or more"),
        ({"downsample": 3}, r"downsample=3` .* \(1, 2, 4, 8, 16\)"),
    ],
)
def test_wrong_options_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
