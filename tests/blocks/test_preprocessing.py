"""Padding of images."""

import keras
import numpy as np
import pytest

from kerasseg import blocks


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1, 33), (32, 64)), ((64, 64), (64, 64)), ((240, 320), (256, 320))],
)
def test_images_are_padded_to_a_multiple(size, expected):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, blocks.PadToMultiple(32)(image))
    x = np.ones((2, *size, 3), np.float32)
    padded = np.array(model(x))
    assert padded.shape == (2, *expected, 3)
    np.testing.assert_array_equal(padded[:, : size[0], : size[1]], x)
    assert padded.sum() == x.sum()
    layer = blocks.PadToMultiple(32)
    assert layer.compute_output_spec(keras.KerasTensor((2, *size, 3))).shape[1:3] == (
        expected
    )


@pytest.mark.slow
def test_images_are_padded_to_a_multiple_in_onnx():
    onnx = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    from kerasseg.exporting.formats import onnx as onnx_format

    image = keras.Input((None, None, 3))
    x = blocks.PadToMultiple(32)(image)
    model = keras.Model(image, keras.layers.Conv2D(2, 1, name="logits")(x))
    session = onnx.InferenceSession(
        onnx_format.convert(model), providers=["CPUExecutionProvider"]
    )
    noise = np.random.default_rng(0).uniform(0, 1, (1, 40, 33, 3)).astype("float32")
    (found,) = session.run(["logits"], {"image": noise})
    np.testing.assert_allclose(found, model(noise), atol=1e-5)
