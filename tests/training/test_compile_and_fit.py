"""The code of docs/training.md trains with `compile` and `fit`."""

import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import kerasseg
from kerasseg import losses, metrics, models
from tests.support import tiny

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "training.md"


def section(title):
    """Returns the text of a section of the page."""
    return PAGE.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]


def network(name, num_classes, *, aux=False, **options):
    """Returns a small network with the outputs of one of the garden."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1.0, name=f"{name}_input")(image)
    logits = keras.layers.Conv2D(num_classes, 1, name="logits")(x)
    if not aux:
        assert options == {"backbone": "resnet50"}
        return keras.Model(image, logits)
    small = keras.layers.Conv2D(num_classes, 8, strides=8, name="small")(x)
    return keras.Model(image, {"logits": logits, "aux_conv4": small})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs code blocks of the section on small networks and records."""
    tiny.write_records(tmp_path / "records", train=8, val=2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kerasseg, "build_model", network)
    compile_model = keras.Model.compile
    monkeypatch.setattr(  # XLA takes seconds.
        keras.Model,
        "compile",
        lambda *args, **options: compile_model(*args, **options, jit_compile=False),
    )
    code = re.findall(
        r"^```python\n(.*?)^```", section("Training with compile and fit"), re.M | re.S
    )
    pairs = [tiny.image_and_label(i) for i in range(8)]
    known = {
        "images": np.stack([image for image, _ in pairs]),
        "labels": np.stack([label for _, label in pairs]),
    }

    def call(*numbers):
        for number in numbers:
            short = code[number].replace("epochs=10", "epochs=2")
            exec(short.replace("(256, 256)", "(32, 32)"), known)
        return known["model"].history.history

    return call


def test_the_code_on_arrays_and_on_records_trains(run):
    history = run(0)
    assert {"loss", "mean_iou"} == set(history)
    history = run(1)
    assert set(history) == {"loss", "mean_iou", "val_loss", "val_mean_iou"}
    assert np.all(np.isfinite(list(history.values())))


def test_the_code_on_auxiliary_heads_trains(run):
    history = run(0, 2)
    assert np.all(np.isfinite(list(history.values())))
    assert "mean_iou" in history
    total = history["logits_loss"][0] + 0.4 * history["aux_loss"][0]
    assert history["loss"][0] == pytest.approx(total)


def test_the_classes_of_the_page_exist():
    text = section("Training with compile and fit").partition("```")[0]
    names = set(re.findall(r"`([A-Z]\w+)`", text))
    scores = {name for name in names if hasattr(metrics, name)}
    assert len(scores) == 5 and names - scores <= set(losses.CLASSES)


@pytest.mark.slow
def test_the_code_trains_the_networks_that_it_names(run, monkeypatch):
    def build(name, num_classes, *, aux=False, **options):
        small = models.metadata(name).test_options
        more = {"aux": True} if aux else {}
        assert set(options) <= {"backbone"}
        return models.build_model(name, num_classes, **{**small, **more})

    monkeypatch.setattr(kerasseg, "build_model", build)
    for numbers in ((0, 1), (2,)):
        history = run(*numbers)
        assert np.all(np.isfinite(list(history.values())))


_SAVE = """
import sys
from kerasseg import losses, metrics, models

options = models.metadata("segformer_b0").test_options
model = models.build_model("segformer_b0", 3, **options)
model.compile("adam", losses.Dice(), metrics=[metrics.MeanIoU(3)])
model.save(sys.argv[1])
"""
_LOAD = """
import sys
import keras
from kerasseg import losses, metrics, models

models.list_models()
model = keras.models.load_model(sys.argv[1])
assert model.loss.name == "dice" and type(model.optimizer).__name__ == "Adam"
"""


@pytest.mark.slow
def test_another_process_loads_a_compiled_model(tmp_path):
    for code in (_SAVE, _LOAD):
        command = [sys.executable, "-c", code, str(tmp_path / "model.keras")]
        subprocess.run(command, check=True)


_REPLICAS = """
import keras
import numpy as np
import tensorflow as tf
from kerasseg import losses, metrics

cpu = tf.config.list_physical_devices("CPU")[0]
devices = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, devices)
labels = np.array([[[0, 0, 1]], [[0, 255, 255]]], "uint8")
images = np.zeros((2, 1, 3, 3), "float32")
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    image = keras.Input((1, 3, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(image))
    scores = metrics.SegmentationScores(2)
    model.compile(keras.optimizers.SGD(1.0), losses.CrossEntropy(), metrics=[scores])
model.fit(images, labels, batch_size=2, verbose=0)
# Softmax minus target, [1/2, 1/2] - [1, 0]: a third of it on the first replica, where
# two of three pixels are of class 0, the whole on the other: (1/6 + 1/2) / 2.
np.testing.assert_allclose(model.layers[-1].bias, [1 / 3, -1 / 3], atol=1e-6)
np.testing.assert_array_equal(scores.counts, [[3, 0], [1, 0]])
"""


@pytest.mark.slow
def test_replicas_average_their_means_and_pool_their_pixels():
    subprocess.run([sys.executable, "-c", _REPLICAS], check=True)
