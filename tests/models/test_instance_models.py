"""Promises of every model that detects objects, with its small `test_options`."""

import functools

import keras
import numpy as np
import pytest

from kerasseg import blocks, models
from kerasseg.models import complexity
from tests.support import initializers

NAMES = models.list_models("instance")
NUM_CLASSES = 4
RNG = np.random.default_rng(0)


@functools.cache
def small(name):
    """Builds a small model, with random weights that detect something."""
    keras.utils.set_random_seed(0)
    return models.build_model(name, NUM_CLASSES, **models.metadata(name).test_options)


def random_images(batch, height, width):
    return RNG.uniform(0, 255, (batch, height, width, 3)).astype("float32")


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 64), (129, 97)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_detections_are_padded_and_lie_in_the_image(name, size):
    options = models.metadata(name).test_options
    count, (height, width) = options["num_detections"], size
    found = {k: np.array(v) for k, v in small(name)(random_images(2, *size)).items()}
    assert {k: (v.shape[:2], v.dtype.name) for k, v in found.items()} == {
        **dict.fromkeys(("boxes", "scores", "masks"), ((2, count), "float32")),
        "classes": ((2, count), "int32"),
        "valid": ((2, count), "bool"),
    }
    assert found["boxes"].shape[2:] == (4,)
    cells = found["masks"].shape[2:]
    assert cells[0] == cells[1] and cells[0] in (14, 28)
    valid = found["valid"]
    y1, x1, y2, x2 = np.moveaxis(found["boxes"], -1, 0)
    assert ((y1 >= 0) & (y2 <= height) & (x1 >= 0) & (x2 <= width)).all()
    assert ((y1 < y2) & (x1 < x2))[valid].all()
    assert (np.diff(found["scores"], axis=1) <= 0).all()  # Padding, with 0, is last.
    assert (found["scores"][valid] > 0.05).all()
    assert np.isin(found["classes"][valid], range(1, NUM_CLASSES + 1)).all()
    assert ((found["masks"] >= 0) & (found["masks"] <= 1)).all()
    for key in ("boxes", "scores", "classes", "masks"):
        assert not found[key][~valid].any()


@pytest.mark.parametrize("name", NAMES)
def test_something_is_detected(name):
    assert np.array(small(name)(random_images(1, 64, 64))["valid"]).sum() >= 3


@pytest.mark.parametrize("name", NAMES)
def test_the_detections_of_an_image_do_not_depend_on_its_batch(name):
    image = random_images(2, 65, 97)
    together, alone = small(name)(image), small(name)(image[1:])
    for key, expected in alone.items():
        np.testing.assert_allclose(together[key][1:], expected, atol=1e-3, err_msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_loads_without_custom_objects(name, tmp_path):
    small(name).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    image = random_images(1, 65, 97)
    expected = small(name)(image)
    for key, found in loaded(image).items():
        np.testing.assert_array_equal(found, expected[key], err_msg=key)
    frozen = [layer.trainable for layer in small(name).layers]
    assert [layer.trainable for layer in loaded.layers] == frozen


@pytest.mark.parametrize("name", NAMES)
def test_a_known_image_size_gives_the_same_detections(name):
    options = models.metadata(name).test_options
    fixed = models.build_model(name, NUM_CLASSES, image_size=(65, 33), **options)
    fixed.set_weights(small(name).get_weights())
    image = random_images(1, 65, 33)
    expected = small(name)(image)
    for key, found in fixed(image).items():
        np.testing.assert_allclose(found, expected[key], atol=1e-4, err_msg=key)


@pytest.mark.parametrize(
    "policy",
    ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("name", NAMES)
def test_detections_are_float32_in_mixed_precision(name, policy):
    keras.config.set_dtype_policy(policy)
    try:
        options = models.metadata(name).test_options
        model = models.build_model(name, NUM_CLASSES, **options)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {v.dtype for v in model.weights} == {"float32"}
    found = model(random_images(1, 65, 97))
    kinds = {"classes": "int32", "valid": "bool"}
    for key, value in found.items():
        assert value.dtype == kinds.get(key, "float32"), key
        assert np.isfinite(np.array(value, float)).all(), key


@pytest.mark.parametrize("name", NAMES)
def test_the_metadata_states_parameters_and_multiply_adds(name):
    metadata = models.metadata(name)
    with initializers.no_values():
        model = models.build_model(name, image_size=(513, 513), **metadata.setting)
    count = sum(np.prod(v.shape) for v in model.trainable_variables)
    macs = complexity.count_multiply_adds(model)
    assert (int(count), macs) == (metadata.params, metadata.macs)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crf_iterations": 5}, "`crf_iterations=5`: .* predicts objects"),
        ({"freeze_at": 6}, "`freeze_at=6` must be from 0 to 5"),
        ({"batch_norm": "none"}, "`batch_norm=none` must be one of"),
        ({"anchor_sizes": (32, 0, 1, 1, 1)}, r"`anchor_sizes=\(32, 0, 1, 1, 1\)`"),
        ({"stride_on": "7x7"}, "`stride_on=7x7` of 'resnet101' must be one of"),
        ({"anchors": 3}, r"no option \['anchors'\]"),
    ],
)
def test_wrong_options_are_errors(name, options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model(name, 2, **options)


def test_another_encoder_than_a_resnet_has_no_last_stage_for_regions():
    with pytest.raises(ValueError, match=r"`backbone=vgg16` of 'mask_rcnn_c4' must be"):
        models.build_model("mask_rcnn_c4", 2, backbone="vgg16")


@pytest.mark.parametrize(
    "backbone",
    [
        "efficientnet_lite0",
        pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
    ],
)
def test_a_pyramid_is_built_on_every_encoder(backbone):
    options = {**models.metadata("mask_rcnn").test_options, "backbone": backbone}
    model = models.build_model("mask_rcnn", 2, **options)
    assert model(random_images(1, 50, 70))["boxes"].shape == (1, 10, 4)


def test_batch_norm_of_every_backbone_can_be_frozen():
    # The rewritten models of Keras, such as MobileNet, have the layer of kerasseg, too.
    options = {**models.metadata("mask_rcnn").test_options, "backbone": "mobilenet"}
    model = models.build_model("mask_rcnn", 2, **{**options, "batch_norm": "affine"})
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert norms
    assert all(isinstance(x, blocks.BatchNormalization) for x in norms)
    assert all(x.trainable and x.frozen_statistics for x in norms)


# Parts with 91 outputs, by hand: laterals (256 + 512 + 1024 + 2048) * 256 + 4 * 256 and
# outputs 4 * (9 * 256 * 256 + 256) of the pyramid; 9 * 256 * 256 + 256 + 257 * (3 + 12)
# of the proposals; 7 * 7 * 256 * 1024 + 1024 + 1025 * 1024 + 1025 * 5 * 91 of the box
# head; 4 * (9 * 256 * 256 + 256) + 4 * 256 * 256 + 256 + 257 * 91 of the mask head.
PARTS = {
    "fpn_lateral": 984_064,
    "p": 2_360_320,
    "rpn": 593_935,
    "box": 13_895_680 + 466_375,
    "mask": 2_360_320 + 262_400 + 23_387,
}


def test_the_parts_have_the_parameters_of_the_authors():
    with initializers.zeros():
        model = models.build_model(
            "mask_rcnn", 90, backbone="resnet50", batch_norm="affine", freeze_at=0
        )
    of_layers = {
        layer.name: layer.count_params() for layer in model.layers if layer.weights
    }
    assert {
        "fpn_lateral": sum(of_layers[f"fpn_lateral{i}"] for i in (2, 3, 4, 5)),
        "p": sum(of_layers[f"p{i}"] for i in (2, 3, 4, 5)),
        "rpn": sum(n for name, n in of_layers.items() if name.startswith("rpn")),
        "box": of_layers["box_head"],
        "mask": of_layers["mask_head"],
    } == PARTS
    # The affine weights of batch norm, 53,120, are trained, its statistics are not.
    count = sum(np.prod(v.shape) for v in model.trainable_variables)
    assert count == 44_454_513
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    before = [np.array(layer.moving_mean) for layer in norms]
    model(random_images(1, 64, 64), training=True)
    for layer, mean in zip(norms, before, strict=True):
        np.testing.assert_array_equal(layer.moving_mean, mean)


@pytest.mark.parametrize("stages", [0, 2, 5])
def test_the_first_stages_are_not_trained(stages):
    options = {**models.metadata("mask_rcnn").test_options, "freeze_at": stages}
    model = models.build_model("mask_rcnn", 2, **options)
    trained = {v.path.split("/")[0] for v in model.trainable_variables}
    stages_trained = {
        name
        for name in ("conv1", "conv2", "conv3", "conv4", "conv5")
        if any(each.startswith(f"{name}_") for each in trained)
    }
    assert stages_trained == {f"conv{i}" for i in range(stages + 1, 6)}
