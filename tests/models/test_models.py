"""Promises of every architecture, tested with its small `test_options`."""

import functools
import hashlib
import inspect
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import blocks, models
from kerasseg.models import __main__ as table
from kerasseg.models import complexity
from tests.support import initializers
from tests.support.networks import NUM_CLASSES, others_slow, same_as, small

NAMES = models.list_models("semantic")
WITH_AUXILIARY = [
    name
    for name in NAMES
    if "aux" in inspect.signature(models.metadata(name).builder).parameters
]
RNG = np.random.default_rng(0)
# Hashes of the names by which old files hold the weights.
HASHES = json.loads(
    (pathlib.Path(__file__).parents[1] / "golden" / "names.json").read_text()
)["models"]


@functools.cache
def predict(name):
    """Returns a small model as one graph for all sizes, traced once."""
    if same_as(name) != name:
        return predict(same_as(name))
    signature = [tf.TensorSpec([None, None, None, 3], tf.float32)]
    return tf.function(functools.partial(small(name), training=False), signature)


@functools.lru_cache(maxsize=2)  # Both policies, for the next variant.
def in_half_precision(name, policy):
    """Builds a small model with a Keras policy of half precision, once."""
    keras.config.set_dtype_policy(policy)
    try:
        options = models.metadata(name).test_options
        return models.build_model(name, NUM_CLASSES, **options)
    finally:
        keras.config.set_dtype_policy("float32")


@functools.cache
def with_auxiliary(name):
    """Builds a model with its auxiliary heads, once."""
    keras.utils.set_random_seed(0)
    options = models.metadata(name).test_options
    return models.build_model(name, NUM_CLASSES, aux=True, **options)


def random_images(batch, height, width):
    """Returns uniform noise from 0 to 255."""
    return RNG.uniform(0, 255, (batch, height, width, 3)).astype("float32")


SIZES = [(1, (1, 1)), (3, (65, 97)), (3, (33, 47)), (1, (64, 64)), (1, (224, 160))]


def names_and_sizes():
    """By default, all networks get one pixel, and few of them another size."""
    for param in others_slow(NAMES):
        for i, (batch, size) in enumerate(SIZES):
            quick = i == 0 or (i == 1 and not param.marks)
            marks = [] if quick else [pytest.mark.slow]
            (name,) = param.values
            yield pytest.param(name, size, batch, marks=marks)


@pytest.mark.parametrize(("name", "size", "batch"), [*names_and_sizes()], ids=str)
def test_logits_cover_every_pixel(name, size, batch):
    logits = predict(name)(random_images(batch, *size))
    assert logits.shape == (batch, *size, NUM_CLASSES)
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", others_slow(NAMES))
def test_a_known_image_size_gives_the_same_logits(name):
    options = models.metadata(name).test_options
    fixed = models.build_model(name, NUM_CLASSES, image_size=(33, 20), **options)
    assert fixed.output_shape == (None, 33, 20, NUM_CLASSES)
    fixed.set_weights(small(name).get_weights())
    image = random_images(1, 33, 20)
    np.testing.assert_allclose(fixed(image), small(name)(image), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_bytes_and_floats_give_the_same_logits(name):
    image = random_images(1, 64, 64).astype("uint8")
    logits = small(name)(image)
    np.testing.assert_array_equal(logits, small(name)(image.astype("float32")))
    assert small(name).input.dtype == "float32"


@pytest.mark.parametrize("name", NAMES)
def test_the_logits_of_an_image_do_not_depend_on_its_batch(name):
    image = random_images(3, 33, 47)
    together, alone = small(name)(image), small(name)(image[1:2])
    np.testing.assert_allclose(together[1:2], alone, atol=1e-4)


@pytest.mark.parametrize(
    "policy",
    ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("name", others_slow(NAMES))
def test_logits_are_float32_in_mixed_precision(name, policy):
    model = in_half_precision(same_as(name), policy)
    assert {v.dtype for v in model.weights} == {"float32"}
    half = {layer.compute_dtype for layer in model.layers} & {"float16", "bfloat16"}
    assert half == {policy.removeprefix("mixed_")}
    for size in ((1, 1), (65, 97)):
        logits = model(random_images(1, *size))
        assert logits.shape == (1, *size, NUM_CLASSES)
        assert logits.dtype == "float32"
        assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", others_slow(NAMES))
def test_a_saved_model_loads_without_custom_objects(name, tmp_path):
    small(name).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    image = random_images(1, 33, 47)
    np.testing.assert_array_equal(loaded(image), small(name)(image))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_trainable_variable(name):
    model = small(name)
    before = model.get_weights()
    image = random_images(3, 64, 64)
    weights = RNG.normal(size=(3, 64, 64, NUM_CLASSES))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(image, training=True) * weights)
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    model.set_weights(before)
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
        assert np.any(gradient), variable.path


@pytest.mark.parametrize("name", WITH_AUXILIARY)
def test_auxiliary_outputs_are_named_and_float32(name):
    outputs = with_auxiliary(name)(random_images(2, 65, 97))
    assert outputs["logits"].shape == (2, 65, 97, NUM_CLASSES)
    assert len(outputs) > 1
    for key, logits in outputs.items():
        assert key == "logits" or key.startswith("aux_")
        assert logits.shape[0] == 2 and logits.shape[3] == NUM_CLASSES
        assert logits.shape[1] <= 65 and logits.shape[2] <= 97
        assert logits.dtype == "float32"
        assert np.isfinite(logits).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_AUXILIARY)
def test_auxiliary_outputs_are_float32_in_mixed_precision(name):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        options = models.metadata(name).test_options
        half = models.build_model(name, NUM_CLASSES, aux=True, **options)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {tensor.dtype for tensor in half.output.values()} == {"float32"}


@pytest.mark.parametrize("name", WITH_AUXILIARY)
def test_auxiliary_outputs_have_the_size_of_their_strides(name):
    model = with_auxiliary(name)
    outputs = model(random_images(1, 65, 97))
    for layer in model.layers:
        if isinstance(layer, blocks.AtStride):
            cells = -(-65 // layer.stride), -(-97 // layer.stride)
            assert outputs[layer.name].shape[1:3] == cells


@pytest.mark.parametrize("name", WITH_AUXILIARY)
def test_a_model_with_auxiliary_outputs_contains_the_one_without(name):
    plain, extended = small(name), with_auxiliary(name)
    weights = {v.path: v for v in extended.weights}
    for variable in plain.weights:
        assert weights[variable.path].shape == variable.shape, variable.path
        weights[variable.path].assign(variable)
    assert len(weights) == len(extended.weights) >= len(plain.weights)
    image = random_images(1, 33, 47)
    np.testing.assert_allclose(extended(image)["logits"], plain(image), atol=1e-5)


@pytest.mark.parametrize("name", WITH_AUXILIARY)
def test_gradients_reach_every_variable_of_auxiliary_outputs(name):
    model = with_auxiliary(name)
    image = random_images(3, 64, 64)
    with tf.GradientTape() as tape:
        outputs = model(image, training=True).values()
        loss = sum(tf.reduce_sum(x * RNG.normal(size=x.shape)) for x in outputs)
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
        assert np.any(gradient), variable.path


@pytest.mark.parametrize("name", NAMES)
def test_the_metadata_states_parameters_and_multiply_adds(name):
    metadata = models.metadata(name)
    with initializers.no_values():  # They would take most of the time.
        model = models.build_model(name, image_size=(513, 513), **metadata.setting)
    count = sum(np.prod(v.shape) for v in model.trainable_variables)
    macs = complexity.count_multiply_adds(model)
    assert (int(count), macs) == (metadata.params, metadata.macs)
    maps = {side for layer in model.layers for side in sides(layer)}
    assert maps & {513 // metadata.output_stride, -(-513 // metadata.output_stride)}
    assert metadata.paper.startswith("https://")


def sides(layer):
    """Returns the heights of a layer's output feature maps."""
    outputs = keras.tree.flatten(layer.output)
    return [tensor.shape[1] for tensor in outputs if len(tensor.shape) == 4]


@pytest.mark.parametrize("name", HASHES)
def test_layers_and_variables_are_named_as_in_old_files(name):
    model = small(name)
    names = [variable.path for variable in model.variables]
    names += [layer.name for layer in model.layers if layer.weights]
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    assert digest[:16] == HASHES[name]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_layers_and_variables_are_unique(name):
    model = small(name)
    assert model.name == name
    for names in (
        [layer.name for layer in model.layers],
        [v.path for v in model.weights],
    ):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", models.list_models())
def test_every_option_is_a_keyword_and_documented(name):
    builder = models.metadata(name).builder
    parameters = list(inspect.signature(builder).parameters.values())
    assert [p.name for p in parameters[:2]] == ["num_classes", "image_size"]
    for parameter in parameters:
        assert f"{parameter.name}:" in builder.__doc__
    for parameter in parameters[2:]:
        assert parameter.kind == parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_classes": 0}, "num_classes=0` of '{}' must be at least 1"),
        ({"num_classes": 2.5}, "num_classes=2.5` of '{}' must be an integer"),
        ({"image_size": (0, 5)}, r"image_size=\(0, 5\)` must be \(height, width\)"),
        ({"image_size": (5,)}, r"image_size=\(5,\)` must be"),
        ({"image_size": 64}, "image_size=64` must be"),
        ({"output_strife": 8}, r"'{}' has no option \['output_strife'\]; it has"),
    ],
)
def test_wrong_arguments_are_errors(name, options, message):
    with pytest.raises(ValueError, match=message.format(name)):
        models.build_model(name, **{"num_classes": 2, **options})


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("unet", {"dropout": 50.0}, r"'unet' .* with dropout=50.0: .* between 0 and 1"),
        ("bisenet_v2", {"filters": 0}, "with filters=0: .* strictly positive value"),
    ],
)
def test_errors_of_keras_layers_name_the_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model(name, **{"num_classes": 2, **options})


def test_an_unknown_model_or_backbone_is_an_error():
    with pytest.raises(ValueError, match=r"Unknown model 'deeplab'.*deeplab_v3_plus"):
        models.build_model("deeplab", 2)
    with pytest.raises(ValueError, match=r"Unknown backbone 'vgg61'.*resnet50"):
        models.build_model("deeplab_v3", 2, backbone="vgg61")


def test_registering_a_name_twice_is_an_error():
    def deeplab_v3(num_classes, image_size):
        del num_classes, image_size

    with pytest.raises(ValueError, match="model named 'deeplab_v3' is already"):
        models.register(paper="https://", params=0, macs=0, output_stride=1)(deeplab_v3)


def test_the_layers_of_the_encoder_are_those_of_the_backbone():
    options = models.metadata("deeplab_v3").test_options
    encoder = models.encoder_layers("deeplab_v3", **options)
    weighted = {layer.name for layer in small("deeplab_v3").layers if layer.weights}
    head = weighted - encoder
    assert encoder < weighted
    assert {name.split("_")[0] for name in head} == {"aspp", "classify"}


@pytest.mark.parametrize(
    "name, head",
    [
        ("deeplab_v1", {"fc8", "picture", "pool1", "pool2", "pool3", "pool4"}),
        ("fcn_8s", {"score", "upscore2", "upscore", "upscore8"}),
        ("zoomout", {"normalize", "hidden1", "hidden2", "classify", "upsample"}),
    ],
)
def test_the_fully_connected_layers_of_vgg16_belong_to_the_encoder(name, head):
    weighted = {layer.name for layer in small(name).layers if layer.weights}
    encoder = models.encoder_layers(name)
    assert {name.split("_")[0] for name in weighted - encoder} == head


def test_fc6_and_fc7_of_every_branch_of_deeplab_v2_belong_to_the_encoder():
    model = models.build_model("deeplab_v2", 2, backbone="vgg16", head="aspp_l")
    weighted = {layer.name for layer in model.layers if layer.weights}
    head = weighted - models.encoder_layers("deeplab_v2", backbone="vgg16")
    assert head == {"fc8", "fc8_2", "fc8_3", "fc8_4"}


@pytest.mark.parametrize("name", ["enet", "segformer_b0", "unet"])
def test_a_learning_rate_of_the_head_needs_a_separate_encoder(name):
    with pytest.raises(ValueError, match=f"'{name}' has no encoder .*_rate_factor` at"):
        models.encoder_layers(name)


def test_the_table_has_a_row_for_every_architecture():
    heading, *lines = table.plain().splitlines()
    assert heading.split()[:2] == ["model", "parameters"]
    names = models.list_models()
    assert [line.split()[0] for line in lines] == names
    line = lines[names.index("deeplab_v3")].split()
    assert line == [
        *("deeplab_v3", "39.05", "M", "49.6", "G", "16"),
        "https://arxiv.org/abs/1706.05587",
    ]
