"""CRF-RNN after every architecture: `build_model(..., crf_iterations=5)`."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from kerasseg import backbones, blocks, cli, exporting, losses, models

RNG = np.random.default_rng(0)
NUM_CLASSES = 5


def slow_except(quick):
    return [
        pytest.param(name, marks=[] if name in quick else pytest.mark.slow)
        for name in models.list_models("semantic")
    ]


# All are wrapped in the same way: one of each file is built, and one is run, always.
FILES = {
    models.metadata(n).builder.__module__: n
    for n in models.list_models("semantic")[::-1]
}
FAMILIES = slow_except(FILES.values())
NAMES = slow_except(["unet"])


def images(batch, height, width):
    return RNG.integers(0, 256, (batch, height, width, 3)).astype("float32")


def with_crf(name, iterations=1, **options):
    keras.utils.set_random_seed(0)
    options = {**models.metadata(name).test_options, **options}
    return models.build_model(name, NUM_CLASSES, crf_iterations=iterations, **options)


@pytest.mark.parametrize("name", slow_except(("deeplab_v3", "enet", "unet")))
def test_every_architecture_can_end_with_a_crf(name):
    model = with_crf(name)
    crf = model.get_layer("crf")
    image, logits = crf.input
    assert isinstance(crf, blocks.CrfRnn)
    assert image is model.input and model.output is crf.output
    assert logits.shape == model.output_shape == (None, None, None, NUM_CLASSES)
    assert model.name == name
    assert {v.path for v in crf.weights} < {v.path for v in model.trainable_variables}


@pytest.mark.parametrize("name", NAMES)
def test_images_of_all_sizes_get_logits_and_saved_models_the_same(name, tmp_path):
    model = with_crf(name)
    for size in ((1, 1), (33, 47)):
        logits = model(images(2, *size))
        assert logits.shape == (2, *size, NUM_CLASSES)
        assert logits.dtype == "float32"
        assert np.isfinite(logits).all()
    model.save(tmp_path / "model.keras")
    image = images(1, 33, 47)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(image), model(image))


def loss_and_gradients(model):
    """Returns the training loss of two images, and its gradients by path."""
    image = np.random.default_rng(1).integers(0, 256, (2, 33, 47, 3)).astype("float32")
    label = np.repeat(np.arange(33)[:, None] // 7, 47, axis=1)[None].repeat(2, axis=0)
    with tf.GradientTape() as tape:
        logits = model(image, training=True)
        loss = losses.mean(*losses.crossentropy(label, logits))
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    paths = [v.path for v in model.trainable_variables]
    return loss, dict(zip(paths, gradients, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_flow_into_and_through_the_crf(name):
    model = with_crf(name)
    _, gradients = loss_and_gradients(model)
    for path, gradient in gradients.items():
        assert np.isfinite(gradient).all(), path
    for variable in model.get_layer("crf").trainable_variables:
        assert np.any(gradients.pop(variable.path)), variable.path
    assert sum(np.any(gradient) for gradient in gradients.values()) > 1


def test_a_step_of_training_lowers_the_loss():
    model = with_crf("unet")  # Without dropout.
    before, gradients = loss_and_gradients(model)
    norm = tf.linalg.global_norm(list(gradients.values()))
    for variable in model.trainable_variables:
        variable.assign(variable - 0.01 / norm * gradients[variable.path])
    assert loss_and_gradients(model)[0] < before


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_float32_in_mixed_precision(name):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = with_crf(name)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {v.dtype for v in model.weights} == {"float32"}
    logits = model(images(1, 33, 47))
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_the_plain_network_carry_over(name):
    plain = models.build_model(name, NUM_CLASSES, **models.metadata(name).test_options)
    model = with_crf(name)
    left = backbones.copy_weights(plain, model)
    assert left == ["crf/gaussian", "crf/bilateral", "crf/compatibility"]
    for variable in model.get_layer("crf").weights:
        variable.assign(0 * variable)
    image = images(1, 33, 47)
    np.testing.assert_allclose(model(image), plain(image), atol=1e-5)


def test_auxiliary_outputs_do_not_change():
    name = next(
        name
        for name in models.list_models("semantic")
        if "aux" in inspect.signature(models.metadata(name).builder).parameters
    )
    options = {**models.metadata(name).test_options, "aux": True}
    plain = models.build_model(name, NUM_CLASSES, **options)
    model = with_crf(name, aux=True)
    backbones.copy_weights(plain, model)
    image = images(1, 33, 47)
    actual, expected = model(image), plain(image)
    assert set(actual) == set(expected)
    for key in set(actual) - {"logits"}:
        np.testing.assert_allclose(actual[key], expected[key], atol=1e-5)
    assert not np.allclose(actual["logits"], expected["logits"])


def test_the_option_is_read_from_the_command_line():
    builder = models.metadata("unet").builder
    given = cli.model_options(builder, ["crf_iterations=5"])
    assert given == {"crf_iterations": 5}
    assert "crf_iterations=5" in flags.FLAGS[cli.MODEL_OPTION.name].help


def test_wrong_numbers_of_iterations_are_errors_before_anything_is_built():
    with pytest.raises(ValueError, match="`crf_iterations='five'` of a CRF"):
        models.build_model("unet", 2, crf_iterations="five")
    with pytest.raises(ValueError, match=r"has no option .*'crf_iterations'"):
        models.build_model("unet", 2, crf_iteration=5)


@pytest.mark.slow
def test_an_export_computes_the_same_logits(tmp_path):
    model = with_crf("unet", iterations=2)
    colors = np.zeros((NUM_CLASSES, 3), np.uint8)
    path = exporting.export_saved_model(
        model, tmp_path, class_names=list("abcde"), palette=colors
    )
    exported = tf.saved_model.load(path).signatures["tensor"]
    for size in ((1, 1), (33, 47)):
        image = images(2, *size)
        expected = model(image)
        actual = exported(image=tf.constant(image))["logits"]
        np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


def test_fit_does_not_compile_the_crf_with_xla():
    model = with_crf("unet")
    model.compile("sgd", "mse")
    assert not model.jit_compile
