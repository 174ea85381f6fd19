"""Every architecture and loss does on JAX what it does on TensorFlow, and learns."""

import importlib.util
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import losses, models
from tests import jax_process, on_jax, reference

ROOT = pathlib.Path(__file__).parent.parent
MODELS = models.list_models()
LOSSES = sorted(losses.LOSSES)
# To compile a training step takes seconds; of the others with -m slow.
QUICK = ("deeplab_v3_plus", "fcn_8s", "segformer_b0", "unet")
LEARNERS = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
    for name in MODELS
]

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("jax") is None,
        reason="JAX is not installed: pip install jax",
    ),
    pytest.mark.timeout(3600),
]


def liven(model):
    """Gives batch norms values and a picture's statistics, so that all is alive."""
    reference.shake(model)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(on_jax.pictures(64, 64)[0], training=True)


def write_model(path, name, learns):
    """Writes weights, pictures, TensorFlow's logits, and whether it is to learn."""
    keras.utils.set_random_seed(0)
    values, weights = {"learns": np.array(learns)}, None
    for kind, size in on_jax.SIZES.items():
        model = on_jax.build(name, kind)
        if weights is None:
            liven(model)
            weights = {v.path: np.array(v) for v in model.weights}
        for variable in model.weights:
            variable.assign(weights[variable.path])
        image, _ = on_jax.pictures(*size)
        values[f"{kind}/image"] = image
        values[f"{kind}/logits"] = model(image, training=False).numpy()
    np.savez(path, **values, **{f"weights/{k}": v for k, v in weights.items()})


def write_loss(path, name, _):
    """Writes labels and logits, and what TensorFlow makes of them."""
    random = np.random.default_rng(0)
    labels = random.choice([0, 1, 2, 255], (2, 9, 7)).astype("uint8")
    logits = random.normal(size=(2, 9, 7, 3)).astype("float32") * 3
    variable = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        total, count = losses.get(name)(labels, variable)
    slope = tape.gradient(total, variable)
    sums = [float(total), float(count)]
    np.savez(path, labels=labels, logits=logits, sums=sums, slope=slope)


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    """Runs all that the chosen tests name in one process, which is slow to start."""
    folder = tmp_path_factory.mktemp("jax")
    chosen: dict = {}
    for item in request.session.items:
        if item.path == request.path:
            key = item.callspec.params["kind"], item.callspec.params["name"]
            chosen.setdefault(key, set()).add(item.originalname)
    for (kind, name), tests in chosen.items():
        write = {"model": write_model, "loss": write_loss}[kind]
        learns = test_a_model_learns_on_jax.__name__ in tests
        write(folder / f"{kind}.{name}.npz", name, learns)
    _, output = jax_process.run("tests.on_jax", folder)
    (folder / "output").write_text(output)
    return folder


@pytest.fixture
def report(folder, kind, name):
    path = folder / f"{kind}.{name}.json"
    if not path.exists():
        pytest.fail(f"JAX ended before {name}: {(folder / 'output').read_text()}")
    report = json.loads(path.read_text())
    if "error" in report:
        pytest.fail(report["error"])
    return report


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", ["model"])
def test_logits_on_jax_are_those_on_tensorflow(report):
    assert report["odd"] < 1e-4  # Of the span of a class's logits.
    assert report["known"] < 1e-4


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("kind", ["model"])
def test_a_model_learns_on_jax(report):
    start, end = report["fit"]
    assert end < start


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", ["loss"])
def test_a_loss_on_jax_is_the_one_on_tensorflow(report, folder, name):
    given = np.load(folder / f"loss.{name}.npz")
    np.testing.assert_allclose(report["sums"], given["sums"], rtol=1e-5)
    np.testing.assert_allclose(report["slope"], given["slope"], atol=1e-5)
    assert not np.any(np.array(report["slope"])[given["labels"] == 255])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", ["loss"])
def test_a_loss_teaches_on_jax(report):
    start, end = report["fit"]
    assert end < start
