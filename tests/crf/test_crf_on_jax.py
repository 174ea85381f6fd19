"""The CRFs compute the same on JAX as on TensorFlow, and are trainable there."""

import importlib.util
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from kerasseg import blocks, crf
from tests.support import exact_crf, jax_process

ROOT = pathlib.Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,  # JAX compiles for a minute.
    pytest.mark.skipif(
        importlib.util.find_spec("jax") is None,
        reason="JAX is not installed: pip install jax",
    ),
    pytest.mark.timeout(3600),
]


def on_tensorflow(given):
    """Computes all that support.crf_on_jax computes, except for the fit."""
    layer = blocks.CrfRnn(2, bilateral_sxy=20.0, bilateral_srgb=20.0)
    logits = tf.constant(given["logits"])
    inputs = [given["images"], logits]
    layer(inputs)
    for variable in layer.weights:
        variable.assign(given[variable.path.split("/")[1]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        in_training = layer([given["images"], logits], training=True)
        loss = tf.reduce_sum(in_training * given["upstream"])
    names = ["logits", *(v.path.split("/")[1] for v in layer.weights)]
    slopes = tape.gradient(loss, [logits, *(v.value for v in layer.weights)])
    return {
        "refined": crf.dense_crf(
            given["image"], given["probabilities"], engine="keras"
        ),
        "at_test": layer(inputs),
        "in_training": in_training,
        **{f"slope_{k}": slope for k, slope in zip(names, slopes, strict=True)},
    }


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jax")
    random = np.random.default_rng(0)
    image, probabilities = exact_crf.drawn(0, 33, 47, num_classes=4)
    drawn = [exact_crf.drawn(seed, 12, 15, num_classes=3) for seed in (1, 2)]
    matrices = {"gaussian": 3, "bilateral": 5, "compatibility": -1}
    given = {
        "image": image,
        "probabilities": probabilities,
        "images": np.stack([image for image, _ in drawn]).astype("float32"),
        "logits": np.log(np.stack([each for _, each in drawn])),
        "upstream": random.normal(size=(2, 12, 15, 3)).astype("float32"),
        **{
            name: (gain * np.eye(3) + random.normal(0, 0.2, (3, 3))).astype("float32")
            for name, gain in matrices.items()
        },
    }
    np.savez(folder / "given.npz", **given)
    status, output = jax_process.run("tests.support.crf_on_jax", folder)
    assert status == 0, output
    return dict(np.load(folder / "found.npz")), on_tensorflow(given)


def test_results_on_jax_equal_those_on_tensorflow(both):
    actual, expected = both
    for name in ("refined", "at_test", "in_training"):
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-3, atol=1e-4)


def test_gradients_on_jax_equal_those_on_tensorflow(both):
    actual, expected = both
    for name in ("logits", "gaussian", "bilateral", "compatibility"):
        slope = np.asarray(expected[f"slope_{name}"])
        assert np.any(slope), name
        np.testing.assert_allclose(
            actual[f"slope_{name}"], slope, atol=1e-3 * np.abs(slope).max()
        )


def test_a_network_with_a_crf_is_trained_on_jax(both):
    start, end = both[0]["fit"]
    assert end < start
