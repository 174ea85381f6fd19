"""The parts of the model card of a network that detects objects."""

import textwrap
from collections.abc import Mapping

from kerasseg import images

_FULL_MASKS = (
    "`masks`, bool [N, {num_detections}, height, width]: the masks in the image, where "
    "the probability is at least 0.5"
)
_NO_MASKS = (
    "this export leaves out the masks of the size of the image, which "
    "kerasseg.instances.pasting.paste computes"
)


def values(metadata: Mapping) -> dict:
    """Returns the values of the placeholders of a `Format` about detections."""
    detections = metadata["detections"]
    is_full = detections["detection_masks"] == "full"
    text = (_FULL_MASKS if is_full else _NO_MASKS).format(**detections)
    return {
        "num_detections": detections["num_detections"],
        "cells": detections["cells"],
        "min_score": images.MIN_SCORE,
        "full_masks": textwrap.fill(text, 86).replace("\n", "\n  "),
        "sides": "".join(f", {name}={value}" for name, value in _sides(metadata)),
    }


def resizing(metadata: Mapping) -> str:
    """Returns the paragraph about the size of images, or "" if they keep theirs."""
    texts = {
        "min_side": "the shorter side has {} pixels",
        "max_side": "the longer side at most {}",
    }
    parts = [texts[name].format(value) for name, value in _sides(metadata)]
    if not parts:
        return ""
    text = (
        f"Images are resized as in training, in the graph: {', '.join(parts)}. Boxes "
        f"and masks are those of the image before. A `.keras` file does not resize."
    )
    return textwrap.fill(text, 88) + "\n"


def _sides(metadata):
    """Returns names and values of the sides to which images are resized."""
    sides = {key: metadata["detections"][key] for key in ("min_side", "max_side")}
    return [(name, value) for name, value in sides.items() if value is not None]


def formats(metadata: Mapping) -> str:
    """Returns the table of the formats and of their comparison."""
    lines = [
        "| format | file | bytes | boxes | scores | masks | detections | images |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, entry in metadata["formats"].items():
        differences = (
            f"{entry[f'largest_{key}_difference']:.1e}"
            for key in ("box", "score", "mask")
        )
        lines.append(
            f"| {name} | {entry['file']} | {entry['bytes']:,} | "
            f"{' | '.join(differences)} | {entry['detections']} "
            f"({entry['detections_without_match']}) | {entry['pictures']} |"
        )
    text = textwrap.fill(
        "Each format was loaded again, and its detections were compared with those of "
        "the trained network. The differences are the largest ones: of the boxes, "
        "relative to the longer side of the image, of the scores, and of the "
        "probabilities of the masks. In parentheses is the number of detections "
        "without a match, whose choice depends on rounding.",
        88,
    )
    return "\n".join([*lines, "", text, ""])
