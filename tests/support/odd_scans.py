"""Functions that the data doctor calls for its pairs, which break their process."""

import hashlib
import os
import signal

import numpy as np

from kerasseg import records
from tfrecords_tools.doctor import object_counts, scanning


def scan(split, pair, max_pixels, channels=""):
    """Scans a pair, unless its name says what happens instead."""
    _act(pair.name)
    return scanning.scan(split, pair, max_pixels, channels)


def _act(name):
    if "deadly" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "busy" in name:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # Hours, in compiled code.
    if "hungry" in name:
        np.ones(1 << 40)


def read_label(spec, encode, item):
    """Fails for the item "deadly"; returns a size and no label for others."""
    del encode
    _act(item)
    objects = object_counts.ObjectCounts.zeros(spec.num_classes)
    image = np.zeros((4, 5, 3), np.uint8)
    return image.shape[:2], None, objects, records.summarize(image, None)
