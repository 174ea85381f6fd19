"""What stands beside an exported model: facts for programs, a card for people."""

import json
import math
import pathlib

import keras
import numpy as np
import tensorflow as tf

from kerasseg import images
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.exporting import card

_METADATA_FILE = "metadata.json"
_CARD_FILE = "README.md"


def write(folder, title, *, class_names, palette, facts, formats) -> None:
    """Writes both files.

    Args:
        folder: Of the version.
        title: Name of the network.
        class_names: In the order of the class numbers.
        palette: RGB of each class, uint8 `[num_classes, 3]`.
        facts: Dict of what else is known; NaN and infinity in it become null.
        formats: What was written, and how near it is: dicts by format.
    """
    colors = np.asarray(palette).tolist()
    metadata = {
        "classes": [
            {"name": name, "color": color}
            for name, color in zip(class_names, colors, strict=True)
        ],
        "ignore_label": IGNORE_LABEL,
        **_plain(facts or {}),
        "formats": formats,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }
    text = json.dumps(metadata, indent=2, allow_nan=False) + "\n"
    pathlib.Path(folder, _METADATA_FILE).write_text(text, "utf-8")
    text = card.card(title, metadata, images.DEFAULT_MAX_PIXELS)
    pathlib.Path(folder, _CARD_FILE).write_text(text, "utf-8")


def read(path) -> dict:
    """Reads what metadata.json of a version holds."""
    return json.loads(pathlib.Path(path, _METADATA_FILE).read_text("utf-8"))


def _plain(value):
    """Turns NaN, the score of an absent class, and infinity into None, as in JSON."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
