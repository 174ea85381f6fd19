"""A network worked by hand: the class of a pixel is its red // 64, 2 at most."""

import json

import keras
import numpy as np
from keras import layers

from kerasseg import models
from kerasseg.workdir import best_model
from tests.support import tiny


def red(values):
    """Returns an RGB image from its red values; the others are 0."""
    values = np.array(values, np.uint8)
    return np.stack([values, 0 * values, 0 * values], axis=-1)


IMAGE = red([[0, 63, 64], [127, 128, 255]])
CLASSES = [[0, 0, 1], [1, 2, 2]]


def build_model(num_classes=3, *, named=False):
    """Builds it; with `named` its output is a dict.

    With x = red / 64 the logits are 20 (k x - k (k + 1) / 2) + k / 10: class k beats
    class k - 1 where x > k - 1 / 200, which is red >= 64 k.
    """
    image = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 64, name="scale")(image)
    logits = layers.Conv2D(num_classes, 1, name="logits", dtype="float32")(x)
    model = keras.Model(image, {"logits": logits} if named else logits, name="levels")
    k = np.arange(num_classes, dtype=np.float32)
    kernel = np.zeros((1, 1, 3, num_classes), np.float32)
    kernel[0, 0, 0] = 20 * k
    model.get_layer("logits").set_weights([kernel, 0.1 * k - 10 * k * (k + 1)])
    return model


def make_workdir(path, model=None, spec=tiny.SPEC, **options):
    """Writes what a finished run leaves; `options` are those of the builder."""
    path.mkdir(exist_ok=True)
    facts = {"model": "levels", "num_classes": 3, "options": options, "step": 7}
    best_model.save_best(path, model or build_model(), {**facts, "scores": {}})
    (path / "dataset.json").write_text(json.dumps(spec.to_json()))
    return path


def register(monkeypatch, calls):
    """Registers `build_model` as the architecture "levels" until the test ends.

    Args:
        monkeypatch: The fixture of pytest.
        calls: List that gets the options of each call.
    """

    def builder(num_classes, image_size, *, output_stride=16, backbone_weights=None):
        del image_size
        options = {"output_stride": output_stride, "backbone_weights": backbone_weights}
        calls.append((num_classes, options))
        return build_model(num_classes)

    metadata = models.Metadata(
        builder=builder,
        paper="",
        params=0,
        macs=0,
        output_stride=16,
        setting={},
        encoder=None,
        test_options={},
    )
    models.list_models()  # Imports the registered architectures first.
    monkeypatch.setitem(models._MODELS._values, "levels", metadata)
