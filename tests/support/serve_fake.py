"""The server with a network in plain Python, for tests: it starts in a second.

python -m tests.support.serve_fake FOLDER SETTINGS_AS_JSON
"""

import importlib
import json
import os
import resource
import signal
import sys
import time

import numpy as np

from kerasseg import images
from kerasseg.images.class_rules import DEFAULT_RULE
from kerasseg.serve import costs, decoding, request_errors, server, settings

# Values of the first pixel's red, which decide what happens to an image.
SLOW = 250  # The network takes as many tenths of a second as the next pixel's red.
BROKEN = 251  # The network fails.
CRASH, ENDLESS = 252, 253  # The decoder crashes, or never ends.


class Engine:
    """Predicts like the network of `support.levels`: class red // 64, at most 2.

    A version with a file "broken" cannot be loaded. One with a file "seconds_per_pixel"
    takes this time, and one with a file "class_names" has these three, as JSON. One
    with a file "objects" detects these in every image, as JSON: class number, score,
    and box, which the mask fills.
    """

    class_names = ("left", "<b>middle</b>", "right")
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)

    def __init__(self, path):
        self.number = int(path.name)
        if (path / "broken").exists():
            raise ValueError("it is broken\nin many lines")
        names = path / "class_names"
        if names.exists():
            self.class_names = tuple(json.loads(names.read_text()))
        objects = path / "objects"
        self.detects_objects = objects.exists()
        self.image_kind, self.rule = images.RGB, DEFAULT_RULE
        if self.detects_objects:
            self._objects = json.loads(objects.read_text())
        self.warm = False
        self.inputs = {
            "serving_default": {"image_bytes": (object, (None,))},
            "tensor": {"image": (np.float32, (None, None, None, 3))},
        }
        rate = path / "seconds_per_pixel"
        self.cost = costs.Cost(float(rate.read_text()) if rate.exists() else 0.0)
        self._rate = self.cost.seconds_per_pixel
        self.metadata = {"tensor": {"method_name": "tensorflow/serving/predict"}}

    def warm_up(self):
        self.warm = True

    def masks(self, images):
        time.sleep(self._rate * sum(image[..., 0].size for image in images))
        for image in images:
            if image[0, 0, 0] == SLOW:
                time.sleep(image[0, 1, 0] / 10)
            if image[0, 0, 0] == BROKEN:
                raise request_errors.RequestError(400, "the network fails")
        return [np.minimum(image[..., 0] // 64, 2) for image in images]

    def detections(self, images):
        found = importlib.import_module("kerasseg.serve.found")  # It takes seconds.
        classes, scores, boxes = zip(*self._objects, strict=True)
        outputs = {
            "boxes": np.array(boxes, np.float32),
            "scores": np.array(scores, np.float32),
            "classes": np.array(classes, np.int32),
            "valid": np.ones(len(classes), bool),
            "mask_probabilities": np.ones((len(classes), 28, 28), np.float32),
        }
        return [found.Found(outputs, image.shape[:2]) for image in images]

    def probabilities(self, image):
        (mask,) = self.masks([image])
        return np.eye(3, dtype=np.float32)[mask]

    def call(self, signature, inputs):
        del signature
        time.sleep(self._rate * inputs["image"][..., 0].size)
        classes = np.minimum(inputs["image"][..., 0] // 64, 2).astype(np.int32)
        logits = np.full((*classes.shape, 3), np.nan, np.float32)
        return {"classes": classes, "logits": logits}


def crash(data, upright, *, max_pixels):
    """Replaces the decoder by one that crashes."""
    del data, upright, max_pixels
    os.kill(os.getpid(), signal.SIGKILL)


def hang(data, upright, *, max_pixels):
    """Replaces the decoder by one that never ends."""
    del data, upright, max_pixels
    time.sleep(1000)


def compute_forever(data, upright, *, max_pixels):
    """Replaces the decoder by one that never ends, and is not waiting."""
    decoding.read(data, upright, max_pixels=max_pixels)
    while True:
        pass


def fragile(data, upright, *, max_pixels):
    """Decodes, and crashes or hangs if the image's first pixel says so."""
    image = decoding.read(data, upright, max_pixels=max_pixels)
    if image[0, 0, 0] in (CRASH, ENDLESS):
        (crash if image[0, 0, 0] == CRASH else hang)(
            data, upright, max_pixels=max_pixels
        )
    return image


def memory_limit(data, upright, *, max_pixels):
    """Decodes; returns the memory limit of the process in bytes."""
    decoding.read(data, upright, max_pixels=max_pixels)
    return resource.getrlimit(resource.RLIMIT_AS)[0]


if __name__ == "__main__":
    given = {"model_name": "levels", "port": 0, **json.loads(sys.argv[2])}
    chosen = settings.Settings(export_dir=sys.argv[1], **given)
    defaults = decoding.Decoder.__init__.__kwdefaults__
    defaults.update(
        function=importlib.import_module("tests.support.serve_fake").fragile
    )
    defaults.update(seconds=5.0)  # Includes the start of a process.
    try:
        server.serve(chosen, Engine)
    except KeyboardInterrupt:
        sys.exit(130)
