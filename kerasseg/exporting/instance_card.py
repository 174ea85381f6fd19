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
    """Returns the values of the placeholders of `Format.detection_description`."""
    detections = metadata["detections"]
    is_full = detections["detection_masks"] == "full"
    text = (_FULL_MASKS if is_full else _NO_MASKS).format(**detections)
    return {
        "num_detections": detections["num_detections"],
        "cells": detections["cells"],
        "min_score": images.MIN_SCORE,
        "full_masks": textwrap.fill(text, 86).replace("\n", "\n  "),
    }


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
