"""Readers that block or crash; imported by worker processes, so without TensorFlow."""

import contextlib
import os
import resource
import time

from kerasseg import images


def sleeping_image(path, max_pixels):
    """Reads an image, but never one named "slow.png"."""
    if path.name == "slow.png":
        time.sleep(600)
    return images.Raster(images.read_image(path, max_pixels=max_pixels))


def crash():
    """Ends its process."""
    os._exit(9)


def sleep():
    """Blocks its process."""
    time.sleep(600)


def memory_limit(reader, path):
    """Returns the limit in bytes that a reader has set in its process."""
    with contextlib.suppress(images.ImageError):
        reader(path, max_pixels=10**6)
    return resource.getrlimit(resource.RLIMIT_AS)[0]
