"""Row 115: batch norm over micro-batches, and batches of one value per channel."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from kerasseg import blocks, models, training
from kerasseg.pipeline import augment
from kerasseg.training import asynchronous, batch_norm, network
from kerasseg.training import run as training_run
from kerasseg.training import step as steps
from tests.support import tiny


class Step:
    """The step function of a network, and its state."""

    def __init__(self, build, **changes):
        keras.utils.set_random_seed(3)
        values = {"learning_policy": "constant", "momentum": 0.0, "weight_decay": 0.0}
        self.recipe = training.Recipe(**{**values, **changes})
        self.state, self.objective = training_run.create_state(
            network.Network(build, 3), self.recipe
        )
        for layer in self.state.model._flatten_layers():
            if isinstance(layer, layers.Dropout):
                layer.rate = 0.0  # Its order of random numbers differs.
        self.function = steps.StepFunction(
            self.state, self.objective, self.recipe, tf.distribute.get_strategy()
        )

    def __call__(self, batch):
        return self.function(batch, tf.constant(0, tf.int64))

    def weights(self):
        return {v.path: np.array(v) for v in self.state.model.weights}


def registered(name, **options):
    """Returns a builder of a small registered network."""
    return training.Builder(name, {**models.metadata(name).test_options, **options})


def tiny_network(shared=1, momentum=0.9, kind=layers.BatchNormalization, pool=False):
    """Returns a builder of a network whose batch norm is called `shared` times."""

    def build(num_classes):
        image = keras.Input((None, None, 3), name="image")
        x = layers.Conv2D(4, 3, padding="same", name="encoder")(image)
        norm = kind(momentum=momentum, name="norm")
        if pool:
            mean = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
            x = layers.Add(name="add")([x, norm(mean)])
        else:
            for i in range(shared):
                x = layers.Rescaling(0.5, i + 1.0, name=f"scale{i}")(norm(x))
        return keras.Model(image, layers.Conv2D(num_classes, 1, name="classify")(x))

    return build


def batch(count, side=24):
    pairs = [tiny.image_and_label(i, side, side) for i in range(count)]
    images, labels = (np.stack(x) for x in zip(*pairs, strict=True))
    return {"image": tf.constant(images), "label": tf.constant(labels)}


def expected_averages(step, inputs, micro_batches):
    """Computes the averages after a step in float64, from all inputs of each layer."""
    model, before = step.objective.model, step.weights()
    norms = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, layers.BatchNormalization)
    ]
    nodes = [(n, node) for n in norms for node in n._inbound_nodes]
    probe = keras.Model(model.input, [node.input_tensors[0] for _, node in nodes])
    parts = [
        [np.asarray(x, "float64") for x in probe(part, training=True)]
        for part in tf.split(inputs["image"], micro_batches)
    ]
    for v in model.variables:  # The probe has moved them.
        v.assign(before[v.path]) if v.path in before else None
    expected = {}
    for (norm, _), x in zip(nodes, zip(*parts, strict=True), strict=True):
        x = np.concatenate(x)
        for average, value in (
            (norm.moving_mean, x.mean((0, 1, 2))),
            (norm.moving_variance, x.var((0, 1, 2))),
        ):
            old = expected.get(average.path, before[average.path].astype("float64"))
            expected[average.path] = norm.momentum * old + (1 - norm.momentum) * value
    return expected


def assert_averages(step, expected):
    assert expected
    found = step.weights()
    for path, value in expected.items():
        scale = np.maximum(1, np.abs(value))
        assert np.abs((found[path] - value) / scale).max() < 1e-6, path


@pytest.mark.parametrize(
    ("build", "micro_batches"),
    [
        pytest.param(registered("deeplab_v3_plus"), 4, marks=pytest.mark.slow),
        pytest.param(registered("unet"), 16, marks=pytest.mark.slow),
        (tiny_network(shared=2, kind=blocks.BatchNormalization), 16),
        (tiny_network(shared=2), 8),
    ],
    ids=["deeplab_v3_plus", "unet", "shared", "keras"],
)
def test_moving_averages_are_those_of_the_whole_batch(build, micro_batches):
    inputs = batch(16, side=64)
    step = Step(build, train_batch_size=16, gradient_accumulation_steps=micro_batches)
    expected = expected_averages(step, inputs, micro_batches)
    assert bool(step(inputs).updated)
    assert_averages(step, expected)


def test_averages_of_a_first_layer_do_not_depend_on_the_micro_batches():
    inputs, averages = batch(16), []
    for count in (1, 4, 8):
        step = Step(tiny_network(momentum=0.99), gradient_accumulation_steps=count)
        step(inputs)
        averages.append({k: v for k, v in step.weights().items() if "moving" in k})
    for found in averages[1:]:
        for path, value in averages[0].items():  # In units of the deviation.
            deviation = np.sqrt(averages[0]["norm/moving_variance"])
            scale = deviation**2 if "variance" in path else deviation
            assert np.abs((found[path] - value) / scale).max() < 1e-6, path


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 8),
    st.integers(1, 12),
    st.floats(-50, 50),
    st.floats(0.01, 20),
    st.integers(0, 2**31),
)
def test_moments_of_micro_batches_combine_to_those_of_the_batch(
    count, size, mean, spread, seed
):
    rng = np.random.default_rng(seed)
    x = (mean + spread * rng.normal(size=(count, size, 3))).astype("float32")
    x += rng.normal(size=(count, 1, 3)).astype("float32") * np.float32(spread)
    parts = [batch_norm._Moments(*tf.nn.moments(part, [0])) for part in x]
    total = batch_norm._total(parts)
    whole = x.reshape(-1, 3).astype("float64")
    scale = np.abs(whole).max()
    np.testing.assert_allclose(total.mean, whole.mean(0), atol=1e-6 * scale)
    # Of float32, the differences from the mean are exact to 1e-7 of the values.
    tolerance = 1e-6 * (whole.var(0).max() + scale * whole.std(0).max())
    np.testing.assert_allclose(total.variance, whole.var(0), atol=tolerance)


@pytest.mark.parametrize(
    "build",
    [
        tiny_network(pool=True),
        pytest.param(registered("deeplab_v3"), marks=pytest.mark.slow),
        pytest.param(registered("pspnet"), marks=pytest.mark.slow),
    ],
    ids=["tiny", "deeplab_v3", "pspnet"],
)
def test_single_images_with_frozen_batch_norm_equal_the_whole_batch(build):
    inputs, found = batch(16, side=33), []
    for count in (1, 16):
        step = Step(
            build,
            fine_tune_batch_norm=False,
            gradient_accumulation_steps=count,
        )
        before = step.weights()
        found.append((float(step(inputs).loss), step.weights()))
        for path, value in found[-1][1].items():
            assert "moving" not in path or (value == before[path]).all()
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    for path, value in found[0][1].items():
        np.testing.assert_allclose(found[1][1][path], value, atol=1e-5, err_msg=path)


LARGER = "a larger `train_batch_size`"


@pytest.mark.parametrize(
    ("build", "changes", "advice"),
    [
        (registered("deeplab_v3"), {}, LARGER),
        *(
            pytest.param(registered(name), {}, LARGER, marks=pytest.mark.slow)
            for name in ("deeplab_v3_plus", "pspnet", "bisenet_v2")
        ),
        (
            tiny_network(pool=True),
            {"train_batch_size": 4, "gradient_accumulation_steps": 4},
            "a smaller `gradient_accumulation_steps`",
        ),
        (
            tiny_network(pool=True),
            {"train_batch_size": training.recipe.FittedBatch(1)},
            "a smaller `train_crop_size`",
        ),
    ],
    ids=["v3", "v3_plus", "pspnet", "bisenet_v2", "accumulated", "auto"],
)
def test_one_value_per_channel_is_refused_before_anything_changes(
    build, changes, advice
):
    changes = {"train_batch_size": 1, **changes}
    step = Step(build, **changes)
    before = step.weights()
    with pytest.raises(ValueError) as raised:
        step(batch(int(changes["train_batch_size"]), side=32))
    message = str(raised.value)
    assert message.startswith("Batch norm layer '") and "\n" not in message
    assert "gets one value per channel in training" in message and advice in message
    assert message.endswith(
        "or `fine_tune_batch_norm=false`, which freezes batch norm."
    )
    for path, value in step.weights().items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)
    frozen = Step(build, **changes, fine_tune_batch_norm=False)
    assert bool(frozen(batch(int(changes["train_batch_size"]), side=32)).updated)


def test_a_refusal_of_an_asynchronous_worker_is_one_line(monkeypatch):
    class Coordinator:
        def __init__(self, strategy):
            pass

        def schedule(self, function, args):
            return function(*args)

    monkeypatch.setattr(tf.distribute.coordinator, "ClusterCoordinator", Coordinator)
    step = Step(tiny_network(pool=True), train_batch_size=1)
    take_step = asynchronous.AsynchronousStep(None, step.function, step.state, 2, 0)
    with pytest.raises(
        ValueError, match=r"^Batch norm layer 'norm' gets one .* norm\.$"
    ):
        take_step(batch(1), 0, 0.1)


def test_layers_are_as_before_after_a_refusal():
    step = Step(tiny_network(pool=True, momentum=0.7), train_batch_size=1)
    norm = step.state.model.get_layer("norm")
    with pytest.raises(ValueError, match="one value per channel"):
        step(batch(1))
    assert norm.momentum == 0.7 and "call" not in vars(norm)
    accumulated = Step(tiny_network(momentum=0.7), gradient_accumulation_steps=2)
    accumulated(batch(4))
    norm = accumulated.state.model.get_layer("norm")
    assert norm.momentum == 0.7 and "call" not in vars(norm)


def test_a_run_logs_by_what_it_normalizes(tmp_path, capsys):
    folder = tiny.write_records(tmp_path / "records")
    for count, freeze in ((1, False), (2, True), (2, False)):
        capsys.readouterr()
        training.train(
            tiny.Builder(),
            training.Data(records_dir=str(folder)),
            training.Recipe(
                training_number_of_steps=1,
                train_batch_size=4,
                gradient_accumulation_steps=count,
                fine_tune_batch_norm=not freeze,
            ),
            augment.Augmentation(crop_size=(24, 24)),
            workdir=str(tmp_path / f"{count}{freeze}"),
        )
        printed = capsys.readouterr().out
        assert ("statistics (images: 2)" in printed) == (count == 2 and not freeze)


@pytest.mark.slow
def test_averages_and_refusals_of_several_devices():
    # Two devices with 2 micro-batches of 2 and of 1 image, in a process of their own.
    root = pathlib.Path(__file__).parents[2]
    path = os.pathsep.join([str(root), *filter(None, sys.path)])
    subprocess.run(
        [sys.executable, "-m", "tests.support.replicated_norm"],
        check=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=300,
    )
