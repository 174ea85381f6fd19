"""DecoupledNet: counts, bridging layers, inference as released, and its two stages."""

import functools
import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import models
from kerasseg.models import decoupled_net
from tests.support import bridges_on_jax, jax_process, reference
from tests.support.networks import others_slow

RNG = np.random.default_rng(0)
NAMES = ["decoupled_net", "decoupled_net_small"]
SMALL_FIRST = others_slow(NAMES, ("decoupled_net_small",))
# Three classes besides the background: one, and two together.
CLASSES = np.array([[0, 1, 0], [1, 0, 1]], "float32")


def build(name, **options):
    """Builds a small model with random statistics and biases."""
    keras.utils.set_random_seed(1)
    options = {**models.metadata(name).test_options, **options}
    return reference.shake(models.build_model(name, 4, **options))


small = functools.cache(build)


def set_scores(model, scores):
    """Makes the scores of all images differ from `scores` by at most 0.5."""
    score = model.get_layer("score" if model.name == "decoupled_net" else "tags_score")
    kernel, bias = score.get_weights()
    given = np.asarray(decoupled_net.parts(model).classification(images()))
    score.set_weights([kernel * 0.2 / np.abs(given - bias).max(), np.float32(scores)])


def images(height=64, width=96, batch=2):
    return RNG.uniform(0, 255, (batch, height, width, 3)).astype("float32")


def softmax(logits):
    return np.asarray(keras.ops.softmax(logits))


def count(layers):
    return sum(int(np.prod(v.shape)) for x in layers for v in x.trainable_variables)


def test_parameters_and_sizes_are_those_of_the_released_networks():
    # Without values: the networks have 307 million weights.
    with keras.StatelessScope(initialize_variables=False):
        model = models.build_model("decoupled_net", 21)
        parts = decoupled_net.parts(model)
    assert count(parts.classification.layers) == 134_342_484
    assert count(parts.segmentation_layers) == 173_107_906
    names = ("resize", "pool5", "fc6", "score", "segment_bridged_bn", "segment_concat")
    tensors = [keras.tree.flatten(model.get_layer(x).output)[0] for x in names]
    assert [x.shape[1:] for x in tensors] == [
        (320, 320, 3),
        (10, 10, 512),
        (4, 4, 4096),
        (4, 4, 20),
        (10, 10, 512),
        (10, 10, 1024),
    ]
    names = ("fc6", "fc6_deconv", "5_conv3", "4_conv3", "3_conv3", "2_conv2", "1_conv2")
    shapes = [
        model.get_layer(f"segment{'_' * (x[0] == 'f')}{x}").output.shape for x in names
    ]
    assert [shape[2:] for shape in shapes] == [
        (4, 2048),
        (10, 512),
        (20, 512),
        (40, 256),
        (80, 128),
        (160, 64),
        (320, 64),
    ]
    assert model.get_layer("binary").output.shape[1:] == (320, 320, 2)


@pytest.mark.parametrize("name", SMALL_FIRST)
def test_the_bridged_map_is_the_gradient_of_the_seeded_scores(name):
    model, image = small(name), images()
    encoder, head = bridges_on_jax.head(model)
    features = tf.constant(encoder(image))
    with tf.GradientTape() as tape:
        tape.watch(features)
        scores = head(features)
    seeds = CLASSES / (1 + np.exp(-scores))
    gradient = np.asarray(tape.gradient(scores, features, seeds))
    bridged = np.asarray(decoupled_net.parts(model).bridge([image, CLASSES]))
    assert bridged.shape == features.shape
    assert np.abs(gradient).max(axis=(1, 2, 3)).min() > 1e-3
    np.testing.assert_allclose(bridged, gradient, atol=1e-5 * np.abs(gradient).max())


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("jax") is None,
    reason="JAX is not installed: pip install jax",
)
@pytest.mark.parametrize("name", NAMES)
def test_the_bridged_map_is_the_gradient_on_jax(name, tmp_path):
    model, image = bridges_on_jax.build(name), images(*bridges_on_jax.SIZE)
    reference.shake(model)
    weights = model.get_weights()
    np.savez(tmp_path / f"{name}.npz", *weights, image=image, classes=CLASSES)
    status, output = jax_process.run("tests.support.bridges_on_jax", tmp_path)
    assert status == 0, output
    on_jax = np.load(tmp_path / f"{name}.jax.npz")
    scale = np.abs(on_jax["gradient"]).max()
    assert scale > 1e-3
    np.testing.assert_allclose(on_jax["bridged"], on_jax["gradient"], atol=1e-5 * scale)
    bridged = decoupled_net.parts(model).bridge([image, CLASSES])
    np.testing.assert_allclose(on_jax["bridged"], bridged, atol=1e-5 * scale)


@pytest.mark.parametrize("name", SMALL_FIRST)
def test_the_map_of_an_absent_class_is_almost_zero(name):
    model, image = build(name), images()
    set_scores(model, [5.0, -30.0, 5.0])  # The sigmoid of -30 is 1e-13.
    bridge = decoupled_net.parts(model).bridge
    absent, present = (
        np.abs(bridge([image, np.tile(np.float32(classes), (2, 1))])).max()
        for classes in ([0, 1, 0], [1, 0, 1])
    )
    assert absent < 1e-12 * present


def test_a_class_is_segmented_only_where_its_map_differs():
    # The segmentation network does not know the class: the same map, the same mask.
    model, image = build("decoupled_net_small"), images()
    score = model.get_layer("tags_score")
    kernel, bias = score.get_weights()
    kernel[..., 1], bias[1] = kernel[..., 0], bias[0]
    score.set_weights([kernel, bias])
    segmentation = decoupled_net.parts(model).segmentation
    first, second, third = (
        np.asarray(segmentation([image, np.tile(np.float32(classes), (2, 1))]))
        for classes in np.eye(3)
    )
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert np.abs(first - third).max() > 1e-3


@pytest.mark.parametrize(
    "scores",
    [
        (2.0, -9.0, 2.0),
        pytest.param((2.0, 2.0, 2.0), marks=pytest.mark.slow),
        pytest.param((-9.0, -9.0, -9.0), marks=pytest.mark.slow),
    ],
)
def test_inference_is_that_of_the_released_code(scores):
    # At the size of the network, at which nothing is interpolated.
    model, image = build("decoupled_net"), images(256, 256)
    set_scores(model, scores)
    parts = decoupled_net.parts(model)
    probabilities = 1 / (1 + np.exp(-np.asarray(parts.classification(image))))
    active = (probabilities > 0.5).astype("float32")
    assert {tuple(row) for row in active} == {tuple(float(x > 0) for x in scores)}
    maps = np.zeros((2, 256, 256, 4), "float32")
    maps[..., 0] = softmax(parts.segmentation([image, active]))[..., 0]
    for k in np.flatnonzero(active[0]):
        one = np.tile(np.eye(3, dtype="float32")[k], (2, 1))
        maps[..., k + 1] = softmax(parts.segmentation([image, one]))[..., 1]
    maps /= maps.sum(axis=-1, keepdims=True)
    logits = np.asarray(model(image))
    np.testing.assert_allclose(softmax(logits), maps, atol=1e-5)
    inactive = np.append(False, active[0] == 0)
    assert (logits[..., inactive] < -16).all() and (logits[..., ~inactive] > -16).all()


def test_a_wide_image_is_padded_to_a_black_square_and_cropped():
    model, image = small("decoupled_net"), images(128, 256, batch=1)
    square = np.concatenate([image, np.zeros_like(image)], axis=1)
    expected = np.asarray(model(square))[:, :128]
    np.testing.assert_allclose(model(image), expected, atol=1e-5)


@pytest.mark.parametrize("name", SMALL_FIRST)
def test_stage_2_trains_the_segmentation_and_not_the_classification(name):
    model, image = build(name), images()
    parts = decoupled_net.parts(model)
    parts.classification.trainable = False
    variables = parts.segmentation.trainable_variables
    own = [v for x in parts.segmentation_layers for v in x.trainable_variables]
    assert {v.path for v in variables} == {v.path for v in own}
    before = [np.asarray(parts.classification(image)), np.asarray(model(image))]
    target = RNG.integers(0, 2, (2, 64, 96))
    with tf.GradientTape() as tape:
        logits = parts.segmentation([image, CLASSES], training=True)
        loss = keras.losses.sparse_categorical_crossentropy(target, logits, True)
        loss = tf.reduce_mean(loss)
    gradients = tape.gradient(loss, [v.value for v in variables])
    assert logits.shape == (2, 64, 96, 2)
    assert all(np.any(gradient) for gradient in gradients)
    keras.optimizers.SGD(0.1).apply(gradients, variables)
    np.testing.assert_array_equal(parts.classification(image), before[0])
    assert np.abs(model(image) - before[1]).max() > 1e-3


@pytest.mark.slow
def test_stage_2_has_no_dropout():
    segmentation = decoupled_net.parts(build("decoupled_net")).segmentation
    image = images()
    first, second = (segmentation([image, CLASSES], training=True) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_a_loaded_model_has_the_same_parts(tmp_path):
    model, image = small("decoupled_net_small"), images()
    model.save(tmp_path / "model.keras")
    loaded = decoupled_net.parts(keras.models.load_model(tmp_path / "model.keras"))
    for actual, expected in zip(
        loaded[:3], decoupled_net.parts(model)[:3], strict=True
    ):
        inputs = [image, CLASSES] if isinstance(actual.input, list) else image
        np.testing.assert_allclose(actual(inputs), expected(inputs), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_there_must_be_a_class_besides_the_background(name):
    with pytest.raises(
        ValueError, match=f"num_classes=1` of '{name}' must be at least"
    ):
        models.build_model(name, 1)


@pytest.mark.parametrize("side", [192, 230])
def test_a_side_that_does_not_fit_the_network_is_an_error(side):
    with pytest.raises(
        ValueError, match=f"side={side}` .* multiple of 32, at least 224"
    ):
        models.build_model("decoupled_net", 2, side=side)


def test_other_models_have_no_parts():
    model = models.build_model("unet", 2, filters=2)
    with pytest.raises(ValueError, match="model=unet` is not a DecoupledNet"):
        decoupled_net.parts(model)
