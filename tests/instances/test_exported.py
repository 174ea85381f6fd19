"""The part of Mask R-CNN after the convolutions, exported at unknown sizes."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from kerasseg.instances import (
    anchors,
    detections,
    levels,
    pasting,
    proposals,
    roi_align,
)

pytestmark = pytest.mark.slow
STRIDES = (4, 8)


def weights(*shape, seed):
    random = np.random.default_rng(seed)
    return tf.constant(random.normal(0, shape[0] ** -0.5, shape), "float32")


def pooled(maps, boxes, size):
    level = tf.minimum(levels.assign(boxes, min_level=1), 1)
    return roi_align.pyramid_roi_align(maps, boxes, level, size, strides=STRIDES)


def network(image):
    """Averages colors into two feature maps, with random weights for the heads."""
    batch, height, width = tf.unstack(tf.shape(image)[:3])
    maps = [tf.nn.avg_pool2d(image, stride, stride, "SAME") for stride in STRIDES]
    sizes = [tf.unstack(tf.shape(map_)[1:3]) for map_ in maps]
    strides = anchors.strides((height, width), sizes)
    codes = [tf.tensordot(map_, weights(3, 12, seed=0), 1) for map_ in maps]
    proposed = proposals.propose(
        [tf.reshape(code[..., ::4], (batch, -1)) for code in codes],
        [tf.reshape(code * 0.2, (batch, -1, 4)) for code in codes],
        anchors.pyramid_anchors(sizes, strides, (16, 32)),
        (height, width),
        num_before=50,
        num_after=20,
    )
    flat = tf.reshape(pooled(maps, proposed.boxes, 7), (batch, 20, 7 * 7 * 3))
    found = detections.detect(
        tf.matmul(flat, weights(147, 3, seed=1)),
        tf.reshape(tf.matmul(flat, weights(147, 12, seed=2)), (batch, 20, 3, 4)),
        proposed.boxes,
        proposed.valid,
        image_size=(height, width),
        count=7,
    )
    masks = tf.sigmoid(pooled(maps, found.boxes, 14)[..., 0])
    return {
        **found._asdict(),
        "masks": pasting.paste_tensors(masks, found.boxes, height, width),
    }


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(3).normal(0, 3, (2, 61, 83, 3)).astype("float32")


@pytest.fixture(scope="module")
def compiled():
    signature = [tf.TensorSpec((None, None, None, 3), name="image")]
    return tf.function(network, input_signature=signature)


@pytest.fixture(scope="module")
def expected(compiled, image):
    outputs = {name: value.numpy() for name, value in compiled(image).items()}
    assert outputs["valid"].sum() > 5
    assert 0 < outputs["masks"].mean() < 0.5
    return outputs


def check(actual, expected):
    assert set(actual) == set(expected)
    for name, value in actual.items():
        if name in ("boxes", "scores"):
            np.testing.assert_allclose(value, expected[name], atol=1e-3, err_msg=name)
        else:  # A probability of 0.5 may fall on either side.
            share = np.mean(np.array(value) != expected[name])
            assert share <= (1e-4 if name == "masks" else 0), name


def test_xla_has_the_same_values(image, expected):
    check(tf.function(network, jit_compile=True)(tf.constant(image)), expected)


@pytest.mark.skipif(
    importlib.util.find_spec("tf2onnx") is None
    or importlib.util.find_spec("onnxruntime") is None,
    reason="needs the extra onnx: pip install kerasseg[onnx]",
)
def test_onnx_has_the_same_values(compiled, image, expected):
    import onnxruntime
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(
        compiled, input_signature=compiled.input_signature, opset=17
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    check(dict(zip(names, session.run(None, {"image": image}), strict=True)), expected)


def test_a_saved_model_has_the_same_values(tmp_path, compiled, image, expected):
    module = tf.Module()
    module.predict = compiled
    tf.saved_model.save(module, str(tmp_path))
    check(tf.saved_model.load(str(tmp_path)).predict(image), expected)
