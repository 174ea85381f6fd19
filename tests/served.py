"""Tiny exports for the tests of the server."""

import asyncio

import numpy as np

from kerasseg import exporting, images
from tests import levels, tiny


def export(folder, version=None):
    """Writes the network worked by hand as a version; returns its path."""
    return exporting.export_saved_model(
        levels.build_model(),
        folder,
        class_names=tiny.SPEC.class_names,
        palette=tiny.SPEC.palette,
        version=version,
    )


FILE = tiny.png(levels.IMAGE)
MASK = images.encode_label(np.array(levels.CLASSES, np.uint8))


def run(coroutine):
    """Runs a coroutine to its end, in ten seconds at most."""

    async def limited():
        async with asyncio.timeout(10):
            return await coroutine

    return asyncio.run(limited())
