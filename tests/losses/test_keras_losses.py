"""Promises of the Keras class of every registered loss."""

import inspect
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import kerasseg
from kerasseg import losses, metrics
from tests.losses.test_losses import QUARTER, pixels
from tests.support.networks import others_slow

CLASSES = losses.CLASSES
# Each class with the defaults of its function and with each of its test options.
OPTIONS = [
    (name, options)
    for name, loss_class in CLASSES.items()
    for options in losses.test_options(loss_class.function.__name__)
]
PIXEL_SUMS = [
    name
    for name, loss_class in CLASSES.items()
    if "pixel_weights" in inspect.signature(loss_class.function).parameters
]
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(4, 6, 7, 3)).astype("float32")
LABELS = RANDOM.choice([0, 1, 2, 255], (4, 6, 7)).astype("uint8")
LOGITS = RANDOM.normal(size=(4, 6, 7, 3)).astype("float32")


def network():
    """Returns a network of one layer with logits of three classes."""
    image = keras.Input((None, None, 3))
    return keras.Model(image, keras.layers.Conv2D(3, 1, name="logits")(image))


def mean(name, labels, logits, **options):
    """Returns the value of the function of a class."""
    total, count = CLASSES[name].function(labels, logits, **options)
    return float(losses.mean(total, count))


def test_every_loss_has_one_class_which_is_an_attribute_of_the_package():
    functions = [loss_class.function for loss_class in CLASSES.values()]
    assert functions == list(losses.LOSSES.values())
    assert {"CrossEntropy", "Dice", "LovaszSoftmax"} <= set(CLASSES)
    for name, loss_class in CLASSES.items():
        assert getattr(losses, name) is loss_class
        assert name in dir(losses)
        assert keras.saving.get_registered_name(loss_class) == f"kerasseg>{name}"
    assert kerasseg.losses is losses and "losses" in dir(kerasseg)


def test_the_mean_loss_of_labeled_pixels_equals_that_worked_by_hand():
    labels, logits = pixels([0, 1, 255], [QUARTER] * 3)
    # (-log(1/4) - log(3/4)) / 2; the third pixel is ignored.
    expected = (1.386294 + 0.287682) / 2
    loss = losses.CrossEntropy(ignore_label=255)
    for dtype in ("uint8", "int64", "float16", "bfloat16", "float32", "float64"):
        given = tf.cast(labels, dtype)
        assert float(loss(given, logits)) == pytest.approx(expected, abs=1e-5)


def label_maps(num_images):
    """Draws labels in each form in which Keras passes them, with the uint8 labels."""
    shapes = st.tuples(st.just(num_images), st.integers(1, 3), st.integers(1, 4))
    seeds, ignored = st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 1.0])
    dtypes = st.sampled_from(["uint8", "int32", "int64", "float32", "float64"])

    def draw(shape, seed, ignored, num_classes, dtype, channel):
        random = np.random.default_rng(seed)
        labels = random.integers(0, num_classes, shape).astype("uint8")
        labels[random.uniform(size=shape) < ignored] = 255
        given = labels[..., np.newaxis] if channel else labels
        return labels, given.astype(dtype)

    return st.builds(
        draw, shapes, seeds, ignored, st.integers(1, 3), dtypes, st.booleans()
    )


@settings(max_examples=30, deadline=None)
@given(label_maps(2), st.sampled_from(OPTIONS))
def test_the_value_is_that_of_the_function_for_labels_of_any_type(maps, case):
    (labels, given), (name, options) = maps, case
    logits = np.random.default_rng(1).normal(size=(*labels.shape, 3)).astype("float32")
    value = float(CLASSES[name](**options)(given, logits))
    expected = mean(name, labels, logits, **options)
    assert value == pytest.approx(expected, rel=1e-6)
    if np.all(labels == 255):
        assert value == 0


@pytest.mark.parametrize("name", CLASSES)
def test_labels_that_are_no_class_give_nan(name):
    loss = CLASSES[name]()
    for bad in (3, -1, 254, 0.5, np.nan, np.inf, 2.0**32, 2.0**32 + 255):
        labels, logits = pixels([0.0, 1.0, bad], np.zeros((3, 3)))
        assert np.isnan(float(loss(labels, logits))), bad
    for wide in (2**24 + 1, 2**32 + 255):
        labels, logits = pixels([0, 1, wide], np.zeros((3, 3)))
        assert np.isnan(float(loss(labels, logits))), wide


@pytest.mark.parametrize("name", others_slow(CLASSES, ("CrossEntropy", "Dice")))
def test_weights_of_images_scale_the_sum_of_each_image(name):
    weights = np.array([2.0, 0.0, 1.0, 0.5], "float32")
    for options in losses.test_options(CLASSES[name].function.__name__):
        images = [
            CLASSES[name].function(LABELS[i : i + 1], LOGITS[i : i + 1], **options)
            for i in range(4)
        ]
        totals, counts = np.array(images, "float32").T
        expected = np.sum(weights * totals) / np.sum(counts)
        value = CLASSES[name](**options)(LABELS, LOGITS, weights)
        assert float(value) == pytest.approx(expected, rel=1e-5)


def test_weights_of_images_equal_those_worked_by_hand():
    labels = np.array([[[0, 255]], [[0, 1]]])
    logits = np.broadcast_to(QUARTER, (2, 1, 2, 2))
    # Images of 1.386294 and 1.386294 + 0.287682, over three labeled pixels.
    expected = (2 * 1.386294 + 0.5 * (1.386294 + 0.287682)) / 3
    value = losses.CrossEntropy()(labels, logits, np.array([2.0, 0.5]))
    assert float(value) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", CLASSES)
def test_weights_of_pixels_are_those_of_the_function(name):
    weights = RANDOM.uniform(size=LABELS.shape).astype("float32")
    loss = CLASSES[name]()
    if name not in PIXEL_SUMS:
        with pytest.raises(ValueError, match=r"for each image.*not a sum over pix"):
            loss(LABELS, LOGITS, weights)
        return
    expected = mean(name, LABELS, LOGITS, pixel_weights=weights)
    for weight_map in (weights, weights[..., np.newaxis]):
        value = float(loss(LABELS, LOGITS, weight_map))
        assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_a_loss_is_rebuilt_from_its_config(name, options):
    # Class weights are often arrays.
    given = {k: np.array(v) if np.ndim(v) else v for k, v in options.items()}
    loss = CLASSES[name](**given, name="own")
    config = keras.saving.serialize_keras_object(loss)
    assert config["registered_name"] == f"kerasseg>{name}"
    again = keras.saving.deserialize_keras_object(config)
    assert (type(again), again.name) == (CLASSES[name], "own")
    assert again.options == loss.options and options.items() <= again.options.items()
    assert float(again(LABELS, LOGITS)) == float(loss(LABELS, LOGITS))


@pytest.mark.parametrize("name", CLASSES)
def test_the_signature_and_the_docstring_are_those_of_the_options(name):
    function, loss_class = CLASSES[name].function, CLASSES[name]
    options = set(inspect.signature(function).parameters)
    options -= {"labels", "logits", "pixel_weights"}
    assert set(inspect.signature(loss_class).parameters) == {
        *options,
        "name",
        "multi_label",
    }
    assert loss_class().name == function.__name__
    assert f"losses.{name}(" in loss_class.__doc__
    assert inspect.getdoc(function) in loss_class.__doc__


def run_example(docstring, model):
    """Runs the example of a class's docstring."""
    code = textwrap.dedent(docstring.partition("Example:\n")[2].partition("\n\n")[0])
    known = {"losses": losses, "metrics": metrics, "model": model}
    exec(code, {**known, "images": IMAGES, "labels": LABELS})


@pytest.mark.parametrize("name", others_slow(CLASSES, ("CrossEntropy",)))
def test_fit_decreases_the_loss_as_in_the_docstring(name):
    model = network()
    run_example(CLASSES[name].__doc__, model)
    assert type(model.loss) is CLASSES[name]
    model.compile(keras.optimizers.Adam(0.1), CLASSES[name](), run_eagerly=True)
    history = model.fit(IMAGES, LABELS, epochs=4, verbose=0).history["loss"]
    assert np.all(np.isfinite(history)) and history[-1] < history[0]


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", CLASSES)
def test_fit_is_compiled_in_any_precision(name, policy, jit_compile):
    keras.config.set_dtype_policy(policy)
    try:
        model = network()
    finally:
        keras.config.set_dtype_policy("float32")
    optimizer = keras.optimizers.Adam(0.1)
    model.compile(
        optimizer,
        CLASSES[name](),
        metrics=[metrics.MeanIoU(3)],
        jit_compile=jit_compile,
        auto_scale_loss=policy == "mixed_float16",
    )
    # The last batch is smaller.
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS, np.ones(4)))
    history = model.fit(data.batch(3), epochs=4, verbose=0, shuffle=False).history[
        "loss"
    ]
    assert np.all(np.isfinite(history)) and history[-1] < history[0]


def test_a_weighted_sum_is_the_sum_of_its_losses():
    loss = losses.WeightedSum(
        {"crossentropy": 1, "dice": 0.5}, class_weights=np.array([1, 2, 3])
    )
    first = mean("CrossEntropy", LABELS, LOGITS, class_weights=[1, 2, 3])
    second = mean("Dice", LABELS, LOGITS)
    assert float(loss(LABELS, LOGITS)) == pytest.approx(first + 0.5 * second)
    config = keras.saving.serialize_keras_object(loss)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == loss.get_config()
    assert float(again(LABELS, LOGITS)) == float(loss(LABELS, LOGITS))
    doubled = float(loss(LABELS, LOGITS, np.full(4, 2.0)))
    assert doubled == pytest.approx(2 * (first + 0.5 * second))


def test_wrong_weighted_sums_are_errors():
    with pytest.raises(ValueError, match="Unknown loss 'dise'"):
        losses.WeightedSum({"dise": 1})
    with pytest.raises(ValueError, match="None of the losses has an option `gamma`"):
        losses.WeightedSum({"dice": 1}, gamma=2)
    with pytest.raises(ValueError, match="dice is not a sum over pixels"):
        losses.WeightedSum({"dice": 1})(LABELS, LOGITS, np.ones(LABELS.shape))


@pytest.mark.slow
def test_fit_takes_a_weighted_sum_as_in_the_docstring():
    model = network()
    run_example(losses.WeightedSum.__doc__, model)
    assert np.isfinite(model.history.history["loss"][0])


def test_wrong_options_and_weights_are_errors():
    with pytest.raises(ValueError, match=r"Focal has no option `gama`\. It has gamma,"):
        losses.Focal(gama=2)
    with pytest.raises(ValueError, match=r"`gamma` must be at least 0 and finite"):
        losses.Focal(gamma=-1)(LABELS, LOGITS)
    with pytest.raises(ValueError, match=r"or for each pixel.*got shape \(4, 6\)"):
        losses.CrossEntropy()(LABELS, LOGITS, np.ones((4, 6)))
    with pytest.raises(ValueError, match=r"Resize the logits to the labels"):
        losses.CrossEntropy()(LABELS[:, ::2], LOGITS)
    one_hot = np.eye(3)[np.zeros((4, 6, 7), int)]
    with pytest.raises(ValueError, match=r"must have shape \[batch, height, width\]"):
        losses.CrossEntropy()(one_hot, LOGITS)


def test_the_functions_still_refuse_labels_that_are_floats():
    with pytest.raises(ValueError, match="integer type, got float32"):
        losses.crossentropy(LABELS.astype("float32"), LOGITS)
