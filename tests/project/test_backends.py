"""Every architecture and loss computes the same on JAX as on TensorFlow, and trains."""

import importlib.util
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import losses, models
from tests.support import jax_process, on_jax, reference
from tests.support.networks import others_slow, same_as

ROOT = pathlib.Path(__file__).parents[2]
# Compiling takes seconds.
MODELS = others_slow(models.list_models("semantic"), ("segformer_b0",))
LOSSES = sorted(losses.LOSSES)
pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("jax") is None,
        reason="JAX is not installed: pip install jax",
    ),
    pytest.mark.timeout(3600),
]


def randomize(model):
    """Sets random batch norm weights, with the moving statistics of an image."""
    reference.shake(model)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(on_jax.samples(64, 64)[0], training=True)


def write_model(path, name):
    """Writes weights, images and logits on TensorFlow."""
    keras.utils.set_random_seed(0)
    values, weights = {}, None
    for kind, size in on_jax.SIZES.items():
        model = on_jax.build(name, kind)
        if weights is None:
            randomize(model)
            weights = {v.path: np.array(v) for v in model.weights}
        for variable in model.weights:
            variable.assign(weights[variable.path])
        image, _ = on_jax.samples(*size)
        values[f"{kind}/image"] = image
        values[f"{kind}/logits"] = model(image, training=False).numpy()
    np.savez(path, **values, **{f"weights/{k}": v for k, v in weights.items()})


def write_loss(path, name):
    """Writes labels and logits, and loss and gradient on TensorFlow."""
    random = np.random.default_rng(0)
    labels = random.choice([0, 1, 2, 255], (2, 9, 7)).astype("uint8")
    logits = random.normal(size=(2, 9, 7, 3)).astype("float32") * 3
    variable = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        total, count = losses.get(name)(labels, variable)
    gradient = tape.gradient(total, variable)
    sums = [float(total), float(count)]
    np.savez(path, labels=labels, logits=logits, sums=sums, gradient=gradient)


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    """Runs JAX once for all selected tests, because the process is slow to start."""
    folder = tmp_path_factory.mktemp("jax")
    write = {"model": write_model, "loss": write_loss}
    selected = [item for item in request.session.items if item.path == request.path]
    for kind, name in {
        (item.callspec.params["kind"], computed(**item.callspec.params))
        for item in selected
    }:
        write[kind](folder / f"{kind}.{name}.npz", name)
    _, output = jax_process.run("tests.support.on_jax", folder)
    (folder / "output").write_text(output)
    return folder


def computed(kind, name):
    """Returns the name under which a model or loss is computed."""
    return same_as(name) if kind == "model" else name


@pytest.fixture
def report(folder, kind, name):
    path = folder / f"{kind}.{computed(kind, name)}.json"
    if not path.exists():
        pytest.fail(f"JAX ended before {name}: {(folder / 'output').read_text()}")
    report = json.loads(path.read_text())
    if "error" in report:
        pytest.fail(report["error"])
    return report


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", ["model"])
def test_logits_on_jax_equal_those_on_tensorflow(report):
    assert report["odd"] < 1e-4  # Relative to the range of the logits of a class.
    assert report["known"] < 1e-4


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", ["model"])
def test_a_model_trains_on_jax(report):
    start, end = report["fit"]
    assert end < start


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", ["loss"])
def test_a_loss_on_jax_equals_that_on_tensorflow(report, folder, name):
    given = np.load(folder / f"loss.{name}.npz")
    np.testing.assert_allclose(report["sums"], given["sums"], rtol=1e-5)
    np.testing.assert_allclose(report["gradient"], given["gradient"], atol=1e-5)
    assert not np.any(np.array(report["gradient"])[given["labels"] == 255])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", ["loss"])
def test_a_model_trains_with_the_loss_on_jax(report):
    start, end = report["fit"]
    assert end < start
