"""Frozen batch norm with the statistics of few steps: the loss of 0.0000."""

import keras
import numpy as np
import pytest
from keras import layers

from kerasseg import backbones
from kerasseg.training import frozen_statistics
from kerasseg.workdir import best_model
from tests.support import tiny
from tests.training.test_training import run


def deep_model(decay, *, trainable=True):
    """Builds 12 layers that multiply by 2 and normalize, and a classifier."""
    image = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 255)(image)
    for i in range(12):
        x = layers.Conv2D(3, 1, use_bias=False, name=f"conv{i}")(x)
        x = layers.BatchNormalization(momentum=decay, name=f"norm{i}")(x)
    model = keras.Model(image, layers.Conv2D(3, 1, name="classify")(x), name="deep")
    for i in range(12):
        model.get_layer(f"conv{i}").kernel.assign(2 * np.eye(3)[None, None])
        model.get_layer(f"norm{i}").trainable = trainable
    model.get_layer("classify").kernel.assign(np.diag([1, -1, -1.0])[None, None])
    return model


def loss_of_first_class(model, image):
    labels = np.zeros(image.shape[:3], int)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return float(loss(labels, model(image, training=False)))


@pytest.fixture(scope="module")
def images():
    return (
        np.random.default_rng(1).integers(128, 256, (6, 1, 8, 8, 3)).astype("float32")
    )


def test_the_loss_is_zero_where_six_steps_made_the_statistics(images):
    # Each layer doubles, and 0.9997**6 = 99.8 % of each variance is still 1: after 12
    # layers a pixel of 0.5 to 1 is near 2**12 times as large, 2,000 to 4,000. Class 0
    # leads the others by at least that, and exp(-2,000) is 0: the loss is exactly 0.
    few, many = deep_model(0.9997), deep_model(0.5)
    for image in images:
        few(image, training=True)
        many(image, training=True)
    assert loss_of_first_class(few, images[0]) == 0.0
    # With decay 0.5, 0.5**6 = 1.6 % is left: features of mean 0 and variance 1.
    assert loss_of_first_class(many, images[0]) > 0.1


def save(folder, model, step):
    facts = {"model": "deep", "num_classes": 3, "options": {}, "step": step}
    best_model.save_best(folder, model, {**facts, "scores": {}})
    return str(folder)


@pytest.mark.parametrize(
    ("step", "decay", "share"),
    [(6, 0.9997, "0.2%"), (100, 0.99, "63.4%"), (10_000, 0.9997, None)],
)
def test_frozen_statistics_of_few_steps_cause_a_warning(
    tmp_path, capsys, step, decay, share
):
    # 1 - 0.99**100 = 63.4 %; 1 - 0.9997**10,000 = 95 %.
    source = deep_model(decay)
    for i in range(12):  # As of ImageNet: not those of a new network.
        source.get_layer(f"norm{i}").moving_mean.assign([3.0, 2.0, 1.0])
    path = save(tmp_path, source, step)
    model = deep_model(decay, trainable=False)
    backbones.copy_weights(source, model)
    frozen_statistics.warn(model, path, source)
    printed = capsys.readouterr().out
    assert (share is None) == (printed == "")
    if share:
        assert (
            f"trained for {step:,} steps with decay {decay}: {share} of them" in printed
        )
    frozen_statistics.warn(deep_model(decay), path, source)
    assert not capsys.readouterr().out  # Not frozen.


def test_frozen_layers_of_a_new_network_cause_a_warning(tmp_path, capsys):
    model = deep_model(0.99, trainable=False)
    model.get_layer("norm3").moving_mean.assign([1.0, 1.0, 1.0])
    frozen_statistics.warn(model, None, None)
    expected = (
        "11 of 12 layers, such as norm0, have the moving averages of a new network"
    )
    assert expected in capsys.readouterr().out
    path = tmp_path / "model.keras"  # It names no step.
    model.save(path)
    frozen_statistics.warn(model, str(path), model)
    assert expected in capsys.readouterr().out


def test_a_second_stage_after_six_steps_prints_the_warning(tmp_path, capsys):
    folder = tiny.write_records(tmp_path / "records")
    few = {"training_number_of_steps": 6, "batch_norm_decay": 0.9997}
    run(folder, tmp_path / "first", **few)
    assert "Warning: batch norm" not in capsys.readouterr().out
    changes = {"training_number_of_steps": 1, "fine_tune_batch_norm": False}
    first = str(tmp_path / "first")
    run(folder, tmp_path / "second", initial_checkpoint=first, **changes)
    printed = capsys.readouterr().out
    assert "Warning: batch norm is frozen with the moving averages of" in printed
    assert "with decay 0.9997: 0.2% of them come from its data" in printed
