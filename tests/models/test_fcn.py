"""FCN: what paper and released code say of sizes, scales, alignment and stages."""

import functools
import subprocess
import sys

import keras
import numpy as np
import pytest

from kerasseg import backbones, models
from tests.support import reference

RNG = np.random.default_rng(0)
MEAN = np.array([123.68, 116.779, 103.939], "float32")  # Zero once it is normalized.
VGG16 = ["fcn_32s", "fcn_16s", "fcn_8s"]
CLASSIC = ["fcn_32s_alexnet", "fcn_32s_googlenet"]
# Field of view of a cell of the scores in pixels ([Long15] table 1; its 907 for
# GoogLeNet include the last average pool, 7 - 1 cells of 32 pixels, which the network
# does not have).
FIELD_OF_VIEW = dict.fromkeys(VGG16, 404) | {
    "fcn_32s_alexnet": 355,
    "fcn_32s_googlenet": 907 - 6 * 32,
}
TINY = {
    "fcn_32s": {"filters": 1, "hidden_units": 1},
    "fcn_32s_alexnet": {"filters": (2, 2, 2, 2, 2), "hidden_units": 1},
    "fcn_32s_googlenet": {"divisor": 16},
}


def small(name, num_classes=3, **options):
    """Builds the test model of an architecture."""
    options = {**models.metadata(name).test_options, **options}
    return models.build_model(name, num_classes, **options)


def part(model, *outputs):
    """Cuts a model off at some layers."""
    return keras.Model(model.input, [model.get_layer(name).output for name in outputs])


@pytest.mark.parametrize(
    "name, options, released",
    [
        ("fcn_32s", {}, 136_152_917),
        ("fcn_16s", {}, 134_815_994),
        ("fcn_8s", {}, 134_489_759),
        # One fixed factor per channel of pool4 and pool3, 512 + 256.
        ("fcn_8s", {"at_once": True, "filters": 64}, 134_490_527),
        ("fcn_32s_alexnet", {}, 58_704_590),
    ],
)
def test_trainable_and_fixed_weights_are_those_of_the_released_networks(
    name, options, released
):
    # The trainable ones are counted in test_models.
    model = small(name, 21, **options)
    fixed = sum(np.prod(v.shape) for v in model.non_trainable_weights)
    assert models.metadata(name).params + fixed == released


def test_googlenet_has_the_parameters_of_its_replication_except_the_classifier():
    classifier = 1024 * 1000 + 1000
    scores = 1024 * 21 + 21
    params = models.metadata("fcn_32s_googlenet").params
    assert params - scores == 6_998_552 - classifier


@functools.cache
def positive(name):
    """Builds a network in which nothing cancels out, of one class."""
    model = models.build_model(name, 1, **TINY[name])
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(np.full(layer.kernel.shape, 1 / layer.kernel.shape[2]))
            layer.bias.assign(np.zeros(layer.bias.shape))
    return model


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("name", ["fcn_32s", *CLASSIC])
def test_the_field_of_view_of_a_cell_is_around_its_upsampled_position(name, axis):
    model = positive(name)
    field, cell = FIELD_OF_VIEW[name], 13
    # Its center; that of VGG16 is between two pixels.
    middle = 32 * cell + (15.5 if name in VGG16 else 16)
    first, last = int(middle - (field - 1) / 2), int(middle + (field - 1) / 2)
    columns = [first - 1, first, last, last + 1]
    images = np.tile(MEAN, (4, 32, 27 * 32, 1))
    for image, column in zip(images, columns, strict=True):
        image[0, column] += 100
    scores = part(model, "score_fr")(np.swapaxes(images, axis, 2))
    depends = np.swapaxes(scores, axis, 2)[:, 0, cell, 0] > 0
    assert list(depends) == [False, True, True, False]
    # The upsampled scores of a single cell are largest at its center.
    lone = np.zeros((1, 1, 27, 1), "float32")
    lone[0, 0, cell] = 1
    enlarged = np.asarray(model.get_layer("upscore32")(lone))[0, 16, :, 0]
    assert np.average(np.arange(27 * 32), weights=enlarged) == pytest.approx(middle)


@functools.cache
def shaken(name):
    model = small(name)
    reference.shake(model)
    return model


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("name", [*VGG16, *CLASSIC])
def test_an_image_shifted_by_32_pixels_shifts_its_scores_by_32(name, axis):
    model = shaken(name)
    # At this distance the borders of the image are in no field of view.
    margin = -(-(FIELD_OF_VIEW[name] // 2 + 48) // 32) * 32
    image = RNG.uniform(0, 255, (1, 32, 2 * margin + 96, 3)).astype("float32")
    scores = [
        np.swapaxes(model(np.swapaxes(view, axis, 2)), axis, 2)
        for view in (image[:, :, :-32], image[:, :, 32:])
    ]
    inside = scores[1][:, :, margin : margin + 32]
    assert np.ptp(inside, axis=2).max() > 1e-3
    scale = np.abs(inside).max()
    moved = scores[0][:, :, margin + 32 : margin + 64]
    np.testing.assert_allclose(moved / scale, inside / scale, atol=1e-5)


@pytest.mark.parametrize("size", [(75, 100), (64, 96), (33, 47)], ids=str)
def test_the_fusion_of_three_score_maps_equals_that_in_numpy(size):
    model = small("fcn_8s", 4)
    names = ["score_fr", "score_pool4", "score_pool3"]
    scores = [model.get_layer(name).output for name in names]
    fusion = keras.Model([model.input, *scores], model.output)
    cells = [[-(-side // stride) for side in size] for stride in (32, 16, 8)]
    maps = [RNG.normal(size=(2, *sides, 4)).astype("float32") for sides in cells]
    x = enlarged(maps[0], 2)[:, : cells[1][0], : cells[1][1]] + maps[1]
    x = enlarged(x, 2)[:, : cells[2][0], : cells[2][1]] + maps[2]
    x = enlarged(x, 8)[:, : size[0], : size[1]]
    logits = fusion([np.zeros((2, *size, 3), "float32"), *maps])
    np.testing.assert_allclose(logits, x, atol=1e-4)


def enlarged(x, stride):
    """Enlarges by a tent over each cell, two cells wide, cut off by half a cell."""
    at = (np.arange(2 * stride) + 0.5) / stride - 1
    tent = np.multiply.outer(1 - abs(at), 1 - abs(at))
    kernel = tent[:, :, None, None] * np.eye(x.shape[3])
    x = reference.conv_transpose(x, kernel, stride=stride)
    half = stride // 2
    return x[:, half:-half, half:-half]


def test_each_stage_starts_from_the_previous_one():
    before = None
    new = {
        "fcn_32s": None,
        "fcn_16s": ["upscore2", "score_pool4", "score_pool4", "upscore16"],
        "fcn_8s": ["upscore_pool4", "score_pool3", "score_pool3", "upscore8"],
    }
    for name in VGG16:
        model = models.build_model(name, 3, filters=8, hidden_units=32)
        if before is not None:
            before.get_layer("score_fr").kernel.assign(RNG.normal(size=(1, 1, 32, 3)))
            left = backbones.copy_weights(before, model)
            assert sorted(path.split("/")[0] for path in left) == sorted(new[name])
            for layer in ("block5_conv3", "fc6", "fc7", "score_fr"):
                for old, copied in zip(
                    before.get_layer(layer).get_weights(),
                    model.get_layer(layer).get_weights(),
                    strict=True,
                ):
                    np.testing.assert_array_equal(old, copied)
            # New layers add 0 at the start.
            score = model.get_layer({"fcn_16s": "score_pool4"}.get(name, "score_pool3"))
            assert not any(np.any(array) for array in score.get_weights())
        before = model


@pytest.mark.parametrize("name", ["fcn_8s", "fcn_32s_alexnet"])
def test_scores_start_at_zero_as_in_the_paper(name):
    model = small(name, score_initializer="zeros")
    image = RNG.uniform(0, 255, (1, 40, 50, 3))
    assert not np.any(model(image))


def test_at_once_scales_pool4_and_pool3_by_fixed_numbers():
    model = small("fcn_8s", at_once=True)
    names = ["pool4", "scale_pool4", "pool3", "scale_pool3"]
    image = RNG.uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    pool4, scaled4, pool3, scaled3 = part(model, *names)(image)
    np.testing.assert_allclose(scaled4, 0.01 * np.asarray(pool4), rtol=1e-5)
    np.testing.assert_allclose(scaled3, 0.0001 * np.asarray(pool3), rtol=1e-5)
    for scale, score in (
        ("scale_pool4", "score_pool4"),
        ("scale_pool3", "score_pool3"),
    ):
        assert not model.get_layer(scale).trainable_variables
        assert model.get_layer(score).input is model.get_layer(scale).output


@pytest.mark.parametrize(
    "name, learned",
    [("fcn_16s", ["upscore2"]), ("fcn_8s", ["upscore2", "upscore_pool4"])],
)
def test_the_last_upsampling_is_never_trained(name, learned):
    for option, expected in ((False, []), (True, learned)):
        model = small(name, learn_upsampling=option)
        paths = [v.path.split("/")[0] for v in model.trainable_variables]
        assert [path for path in paths if path.startswith("upscore")] == expected


class Layer:
    """Stands in for a layer of the classifier."""

    def __init__(self, name, inputs, filters):
        self.name = name
        self.weights = [RNG.normal(size=(inputs, filters)), RNG.normal(size=filters)]

    def get_weights(self):
        return self.weights


@pytest.mark.parametrize("name", VGG16)
def test_imagenet_weights_include_the_fully_connected_layers(name, monkeypatch):
    # pool5 has 8 channels, of 7 x 7 cells each: rows, then columns, then channels.
    fc1, fc2 = Layer("fc1", 7 * 7 * 8, 6), Layer("fc2", 6, 6)

    class Donor:
        layers = (fc1, fc2)

    def vgg16(weights, include_top):
        assert (weights, include_top) == ("imagenet", True)
        return Donor

    monkeypatch.setattr(keras.applications, "VGG16", vgg16)
    model = models.build_model(
        name, 3, backbone_weights="imagenet", filters=1, hidden_units=6
    )
    x = RNG.normal(size=(1, 7, 7, 8)).astype("float32")
    fc6 = np.asarray(model.get_layer("fc6")(x))[:, 3, 3]  # The middle sees all of it.
    expected = x.reshape(1, -1) @ fc1.weights[0] + fc1.weights[1]
    np.testing.assert_allclose(fc6, expected, rtol=1e-4, atol=1e-4)
    fc7 = np.asarray(model.get_layer("fc7")(fc6[:, None, None]))[:, 0, 0]
    expected = expected @ fc2.weights[0] + fc2.weights[1]
    np.testing.assert_allclose(fc7, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CLASSIC)
def test_other_classifiers_have_no_imagenet_weights(name):
    with pytest.raises(ValueError, match=r"no ImageNet weights of .*Net\. Set"):
        small(name, backbone_weights="imagenet")


def test_other_classifiers_load_weights_from_a_file(tmp_path):
    name = "fcn_32s_alexnet"
    first = models.build_model(name, 2, **TINY[name])
    first.save(tmp_path / "first.keras")
    options = {"backbone_weights": str(tmp_path / "first.keras"), **TINY[name]}
    second = models.build_model(name, 3, **options)
    for layer in ("conv1", "conv2", "fc7"):
        for theirs, ours in zip(
            first.get_layer(layer).get_weights(),
            second.get_layer(layer).get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(theirs, ours)


def test_a_saved_model_loads_in_a_new_process(tmp_path):
    path = tmp_path / "model.keras"
    name = "fcn_32s_alexnet"
    models.build_model(name, 2, **TINY[name]).save(path)
    code = f"import kerasseg; kerasseg.load({str(path)!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
