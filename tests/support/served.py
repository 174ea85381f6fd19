"""Small exports for the tests of the server."""

import asyncio

import keras
import numpy as np
from keras import layers

from kerasseg import exporting, images
from tests.support import levels, tiny


def build_busy_model(*, backwards=False):
    """Builds the network of `levels` with extra work: 20 kFLOP per pixel.

    With `backwards`, class c becomes 2 - c.
    """
    model = levels.build_model()
    classify = model.get_layer("logits")
    if backwards:
        classify.set_weights([each[..., ::-1] for each in classify.get_weights()])
    x = layers.Rescaling(1 / 255, name="busy_scale")(model.input)
    for i in range(2):
        x = layers.Conv2D(32, 3, padding="same", activation="relu", name=f"busy{i}")(x)
    x = layers.Rescaling(1e-9, name="tiny")(layers.Conv2D(3, 1, name="busy_end")(x))
    return keras.Model(model.input, layers.Add(name="sum")([model.output, x]))


def export(folder, version=None, model=None, **options):
    """Exports a network, by default that of `levels`; returns the version's path."""
    return exporting.export_saved_model(
        model or levels.build_model(),
        folder,
        class_names=tiny.SPEC.class_names,
        palette=tiny.SPEC.palette,
        version=version,
        **options,
    )


FILE = tiny.png(levels.IMAGE)
MASK = images.encode_label(np.array(levels.CLASSES, np.uint8))


def run(coroutine):
    """Runs a coroutine to its end, in ten seconds at most."""

    async def limited():
        async with asyncio.timeout(10):
            return await coroutine

    return asyncio.run(limited())
