"""The geometry has the same values on JAX as on TensorFlow."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from tests.support import geometry, jax_process

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("jax") is None,
        reason="JAX is not installed: pip install jax",
    ),
]


def test_values_and_gradients_on_jax_equal_those_on_tensorflow(tmp_path):
    status, output = jax_process.run("tests.support.geometry", tmp_path)
    assert status == 0, output
    given = geometry.drawn()
    maps = [tf.constant(map_) for map_ in given["maps"]]
    expected = geometry.compute(given)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        total = geometry.pooled_sum(maps, given)
    for i, slope in enumerate(tape.gradient(total, maps)):
        expected[f"slope_{i}"] = tf.convert_to_tensor(slope)
    actual = np.load(tmp_path / "geometry.npz")
    assert set(actual.files) == set(expected)
    for name in actual.files:
        value = np.array(expected[name])
        assert actual[name].dtype == value.dtype, name
        if value.dtype.kind == "f":
            np.testing.assert_allclose(
                actual[name], value, rtol=1e-4, atol=1e-4, err_msg=name
            )
        else:
            np.testing.assert_array_equal(actual[name], value, err_msg=name)
    # The comparison is of real values.
    for name in ("nms", "paste", "propose_valid", "detect_valid", "rois_valid"):
        assert actual[name].any()
    assert set(actual["match_anchors"].ravel()) == {-1, 0, 1}
