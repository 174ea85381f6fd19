"""The server with a network of plain Python, for tests: it starts in a second.

python -m tests.serve_fake FOLDER SETTINGS_AS_JSON
"""

import importlib
import json
import os
import resource
import signal
import sys
import time

import numpy as np

from kerasseg.serve import decoding, refusals, server, settings

# Red of the first pixel, which tells what happens to a picture.
SLOW = 250  # Its network takes as many tenths of a second as the next pixel says.
BROKEN = 251  # Its network refuses.
DEADLY, ENDLESS = 252, 253  # Its decoder is killed; never ends.


class Engine:
    """Does what the network of `tests.levels` does: the class is red // 64, at most 2.

    A version that holds a file "broken" cannot be loaded.
    """

    class_names = ("left", "<b>middle</b>", "right")
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)

    def __init__(self, path):
        self.number = int(path.name)
        if (path / "broken").exists():
            raise ValueError("it is broken\nin many lines")
        self.warm = False
        self.inputs = {
            "serving_default": {"image_bytes": (object, (None,))},
            "tensor": {"image": (np.float32, (None, None, None, 3))},
        }
        self.metadata = {"tensor": {"method_name": "tensorflow/serving/predict"}}

    def warm_up(self):
        self.warm = True

    def masks(self, pictures):
        for picture in pictures:
            if picture[0, 0, 0] == SLOW:
                time.sleep(picture[0, 1, 0] / 10)
            if picture[0, 0, 0] == BROKEN:
                raise refusals.Refusal(400, "the network refuses this")
        return [np.minimum(picture[..., 0] // 64, 2) for picture in pictures]

    def call(self, signature, inputs):
        del signature
        classes = np.minimum(inputs["image"][..., 0] // 64, 2).astype(np.int32)
        logits = np.full((*classes.shape, 3), np.nan, np.float32)
        return {"classes": classes, "logits": logits}


def die(data, upright, *, max_pixels):
    """Stands in for a decoder that a picture kills."""
    del data, upright, max_pixels
    os.kill(os.getpid(), signal.SIGKILL)


def hang(data, upright, *, max_pixels):
    """Stands in for a decoder that never ends."""
    del data, upright, max_pixels
    time.sleep(1000)


def fragile(data, upright, *, max_pixels):
    """Decodes, with the ends that a picture asks for."""
    picture = decoding.read(data, upright, max_pixels=max_pixels)
    if picture[0, 0, 0] in (DEADLY, ENDLESS):
        (die if picture[0, 0, 0] == DEADLY else hang)(
            data, upright, max_pixels=max_pixels
        )
    return picture


def tell_limit(data, upright, *, max_pixels):
    """Decodes; returns how many bytes the process may map."""
    decoding.read(data, upright, max_pixels=max_pixels)
    return resource.getrlimit(resource.RLIMIT_AS)[0]


if __name__ == "__main__":
    chosen = settings.Settings(
        export_dir=sys.argv[1], model_name="levels", port=0, **json.loads(sys.argv[2])
    )
    defaults = decoding.Decoder.__init__.__kwdefaults__
    defaults.update(function=importlib.import_module("tests.serve_fake").fragile)
    defaults.update(seconds=5.0)  # In which a process must start, too.
    try:
        server.serve(chosen, Engine)
    except KeyboardInterrupt:
        sys.exit(130)
