"""SegNet and SegNet-Basic: sizes, counts and fields of the released layers."""

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import models
from kerasseg.models import complexity
from tests.support import reference
from tests.support.networks import others_slow

RNG = np.random.default_rng(0)
NAMES = ["segnet", "segnet_basic"]
MEAN = (123.68, 116.779, 103.939)  # What the network's normalization makes zero.


def build(name, **options):
    """Builds a small model with random statistics and biases."""
    options = {**models.metadata(name).test_options, **options}
    model = models.build_model(name, 3, **options)
    reference.shake(model)
    return model


small = functools.cache(build)


def up_to(model, *layers):
    """Returns a model from the image to the outputs of layers."""
    outputs = [model.get_layer(name).output for name in layers]
    return keras.Model(model.input, outputs)


def count(model, prefix=""):
    """Counts the trainable parameters of layers by the prefix of their names."""
    variables = [v for v in model.trainable_variables if v.path.startswith(prefix)]
    return sum(math.prod(v.shape) for v in variables)


@functools.cache
def donor():
    """Returns a replacement of VGG16 with ImageNet weights."""
    return keras.applications.VGG16(weights=None, include_top=False)


@pytest.fixture(scope="module")
def paper_segnet():
    with pytest.MonkeyPatch.context() as patch:
        vgg16 = donor()
        patch.setattr(keras.applications, "VGG16", lambda **_: vgg16)
        return models.build_model(
            "segnet", 11, backbone_weights="imagenet", image_size=(360, 480)
        )


def test_an_image_of_360x480_becomes_12x15_cells_and_is_restored(paper_segnet):
    sides = [paper_segnet.get_layer(f"pool{i}").output[0].shape for i in range(1, 6)]
    assert [shape[1:3] for shape in sides] == [
        *((180, 240), (90, 120), (45, 60), (23, 30), (12, 15))  # Rounded up.
    ]
    sides = [paper_segnet.get_layer(f"unpool{i}").output.shape for i in (5, 4, 3)]
    assert [shape[1:3] for shape in sides] == [(23, 30), (45, 60), (90, 120)]
    assert paper_segnet.output_shape == (None, 360, 480, 11)
    assert round(complexity.count_multiply_adds(paper_segnet) / 1e9, 1) == 106.7


def test_the_last_convolution_of_a_decoder_reduces_the_channels(paper_segnet):
    filters = {
        stage: [
            layer.filters
            for layer in paper_segnet.layers
            if isinstance(layer, keras.layers.Conv2D)
            and layer.name.startswith(f"decoder{stage}_")
        ]
        for stage in (5, 4, 3, 2, 1)
    }
    assert filters == {
        5: [512, 512, 512],
        4: [512, 512, 256],
        3: [256, 256, 128],
        2: [128, 64],
        1: [64],
    }
    classifier = paper_segnet.get_layer("classify")
    assert classifier.kernel_size == (3, 3)
    assert paper_segnet.get_layer("logits").input[0] is classifier.output


def test_each_layer_has_the_parameters_of_the_released_one(paper_segnet):
    encoder = [count(paper_segnet, f"block{stage}") for stage in range(1, 6)]
    assert encoder == [38_976, 221_952, 1_476_864, 5_902_848, 7_082_496]
    decoder = [count(paper_segnet, f"decoder{stage}") for stage in range(5, 0, -1)]
    assert decoder == [7_082_496, 5_902_080, 1_476_480, 221_760, 37_056]
    assert count(paper_segnet, "classify") == 6_347
    biases = [v for v in paper_segnet.trainable_variables if v.path.endswith("bias")]
    assert sum(math.prod(v.shape) for v in biases) == 7_947


def test_the_encoder_loads_the_weights_of_vgg16(paper_segnet):
    for name in ("block1_conv1", "block5_conv3"):
        taken, given = paper_segnet.get_layer(name), donor().get_layer(name)
        np.testing.assert_array_equal(taken.get_weights()[0], given.get_weights()[0])
    batch_norm = paper_segnet.get_layer("block3_conv2_bn")
    assert batch_norm.epsilon == 1e-9
    np.testing.assert_allclose(batch_norm.beta, np.full(256, 0.001))


def test_the_encoder_loads_the_weights_of_a_saved_model(tmp_path):
    small("segnet").save(tmp_path / "trained.keras")
    path = str(tmp_path / "trained.keras")
    other = models.build_model("segnet", 5, filters=8, backbone_weights=path)
    for name in ("block1_conv1", "block5_conv3_bn"):
        expected = small("segnet").get_layer(name).get_weights()
        for taken, given in zip(
            other.get_layer(name).get_weights(), expected, strict=True
        ):
            np.testing.assert_array_equal(taken, given)
    with pytest.raises(ValueError, match="neither 'imagenet' nor"):
        models.build_model("segnet", 5, filters=8, backbone_weights="places")


def test_the_basic_one_has_64_channels_of_7x7_and_no_relu_in_its_decoder():
    model = models.build_model("segnet_basic", 11, image_size=(360, 480))
    sides = [model.get_layer(f"pool{i}").output[0].shape[1:3] for i in (3, 4)]
    assert sides == [(45, 60), (23, 30)]
    assert model.get_layer("unpool4").output.shape == (None, 45, 60, 64)
    # Kernels: 49 * 64 * (3 + 7 * 64) + 64 * 11; batch norm: 8 * 2 * 64; biases:
    # 8 * 64 + 11, which the paper does not have.
    assert count(model) == 1_415_040 + 1_024 + 523
    relus = [x.name for x in model.layers if isinstance(x, keras.layers.ReLU)]
    assert relus == [f"encoder{i}_relu" for i in range(1, 5)]
    # Each cell of 360x480, 180x240, 90x120 and 45x60 takes 49 * 64 * 64 in encoder and
    # decoder, except 49 * 3 * 64 in the first layer, and 64 * 11 in the classifier.
    cells = [360 * 480, 180 * 240, 90 * 120, 45 * 60]
    expected = 49 * 64 * 64 * 2 * sum(cells) - cells[0] * (49 * 61 * 64 - 64 * 11)
    assert complexity.count_multiply_adds(model) == expected


@pytest.mark.parametrize(
    "name, layer, cell, first, last",
    [
        ("segnet", "pool5", 5, 5 * 32 - 90, 5 * 32 + 121),  # 212 pixels.
        ("segnet_basic", "encoder4_relu", 20, 20 * 8 - 45, 20 * 8 + 52),  # 98.
        ("segnet_basic", "pool4", 10, 10 * 16 - 45, 10 * 16 + 60),  # 106.
    ],
)
def test_the_field_of_view_is_that_of_the_paper(name, layer, cell, first, last):
    model = models.build_model(name, 2, filters=1)
    for variable in model.weights:
        if variable.path.endswith("kernel"):  # All positive: nothing cancels.
            variable.assign(np.full(variable.shape, 1 / variable.shape[2]))
        elif variable.path.endswith("beta"):
            variable.assign(np.zeros(variable.shape))
    dark = np.zeros(3) + (MEAN if name == "segnet" else 0)
    images = np.tile(dark.astype("float32"), (4, 32, 320, 1))
    for image, column in zip(images, (first - 1, first, last, last + 1), strict=True):
        image[:, column] += 100
    maps = keras.tree.flatten(up_to(model, layer)(images))[0]
    reached = np.asarray(maps)[:, :, cell].max(axis=(1, 2)) > 0
    assert reached.tolist() == [False, True, True, False]


def test_a_logit_depends_only_on_its_field_of_view():
    # Through decoder and encoder, the field of view of pixel 192 is 186 pixels to the
    # left and 185 to the right. Depending on the position it is 372 to 404 pixels,
    # 392 in the mean.
    image = RNG.uniform(0, 255, (1, 32, 480, 3)).astype("float32")
    far, near = image.copy(), image.copy()
    far[:, :, :6] = far[:, :, 378:] = 0
    near[:, :, 6:378] = 0
    logits = [np.asarray(small("segnet")(x))[:, :, 192] for x in (image, far, near)]
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-5)
    assert np.abs(logits[2] - logits[0]).max() > 1e-2


def unpool(x, before):
    """Unpools cells to the maxima of 2x2 windows of `before`."""
    result = np.zeros(before.shape)
    for batch, row, column, channel in np.ndindex(x.shape):
        rows, columns = slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2)
        window = before[batch, rows, columns, channel]
        i, j = np.unravel_index(window.argmax(), window.shape)
        place = batch, 2 * row + i, 2 * column + j, channel
        result[place] = x[batch, row, column, channel]
    return result


def test_a_decoder_stage_equals_that_in_numpy():
    # 40x56 pixels become 5x7 cells at stage 4, both odd, and 3x4 at stage 5.
    model = small("segnet")
    layers = (
        "block4_conv3_relu",
        "decoder5_conv1_relu",
        "unpool4",
        "decoder4_conv1_relu",
    )
    image = RNG.uniform(0, 255, (2, 40, 56, 3)).astype("float32")
    before, x, unpooled, result = map(np.asarray, up_to(model, *layers)(image))
    assert before.shape == (2, 5, 7, 64) and x.shape == (2, 3, 4, 64)
    x = unpool(x, before)
    np.testing.assert_array_equal(unpooled, x)
    for unit in (3, 2, 1):
        kernel, bias = model.get_layer(f"decoder4_conv{unit}").get_weights()
        x = reference.conv(x, kernel, bias)
        x = reference.batch_norm(x, model.get_layer(f"decoder4_conv{unit}_bn"))
        x = reference.relu(x)
    assert x.max() > 0.1
    np.testing.assert_allclose(result, x, atol=1e-4 * x.max())


@pytest.mark.parametrize(
    "name, places",
    [
        ("segnet", ["pool3", "pool4", "pool5", "decoder5", "decoder4", "decoder3"]),
        ("segnet_basic", ["pool3", "pool4", "decoder4", "decoder3"]),
    ],
)
def test_dropout_is_that_of_the_bayesian_variant(name, places):
    model = build(name, dropout=0.5)
    found = {
        x.name: x.rate for x in model.layers if isinstance(x, keras.layers.Dropout)
    }
    assert found == {f"{place}_dropout": 0.5 for place in places}
    paths = [[v.path for v in m.trainable_variables] for m in (model, small(name))]
    assert paths[0] == paths[1]


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_the_basic_one_becomes_tflite_without_custom_operations():
    model = build("segnet_basic", image_size=(45, 52))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    image = RNG.uniform(0, 255, (1, 45, 52, 3)).astype("float32")
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(logits, model(image), atol=1e-3)


@pytest.mark.parametrize("name", others_slow(NAMES, ("segnet_basic",)))
def test_a_saved_model_accepts_images_of_any_size(name, tmp_path):
    small(name).export(tmp_path, verbose=False)
    loaded = tf.saved_model.load(tmp_path)
    for size in ((33, 47), (64, 64), (1, 90)):
        image = RNG.uniform(0, 255, (1, *size, 3)).astype("float32")
        logits = loaded.serve(image)
        assert logits.shape == (1, *size, 3)
        np.testing.assert_allclose(logits, small(name)(image), atol=1e-3)
