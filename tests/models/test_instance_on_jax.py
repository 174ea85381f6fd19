"""Detectors on JAX detect what they detect on TensorFlow."""

import importlib.util

import keras
import numpy as np
import pytest

from kerasseg import models
from tests.support import detectors_on_jax, jax_process

NAMES = models.list_models("instance")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("jax") is None,
        reason="JAX is not installed: pip install jax",
    ),
]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Detections on TensorFlow; those on JAX are in the folder."""
    folder, found = tmp_path_factory.mktemp("jax"), {}
    image = np.random.default_rng(0).uniform(0, 255, (2, *detectors_on_jax.SIZE, 3))
    image = image.astype("float32")
    for name in NAMES:
        keras.utils.set_random_seed(0)
        model = detectors_on_jax.build(name)
        np.savez(folder / f"{name}.npz", *model.get_weights(), image=image)
        found[name] = {key: np.asarray(x) for key, x in model(image).items()}
    jax_process.run("tests.support.detectors_on_jax", folder)
    return folder, found


@pytest.mark.parametrize("name", NAMES)
def test_detections_on_jax_equal_those_on_tensorflow(expected, name):
    folder, found = expected
    on_jax = np.load(folder / f"{name}.jax.npz")
    assert found[name]["valid"].any()
    for key, value in found[name].items():
        np.testing.assert_allclose(on_jax[key], value, atol=1e-3, err_msg=key)
