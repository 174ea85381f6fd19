"""A contact sheet of what was found: picture, mask as it is, and what is built."""

import numpy as np

from kerasseg import datasets, images, records
from kerasseg.images import visualization
from tfrecords_tools import doctor
from tfrecords_tools.converters import class_lists, folder, pairs
from tfrecords_tools.writing import encoding

_WIDTH = 1000  # Pixels.
_EXAMPLES = 2  # Of each finding.


def draw(
    examined: "doctor.Examination", spec: datasets.DatasetSpec, rules: encoding.Rules
) -> np.ndarray | None:
    """Shows pairs of each finding, or some pairs where nothing was found.

    Args:
        examined: What was found.
        spec: Facts of the data set that is built.
        rules: How pictures and masks are read, with what settles the findings.

    Returns:
        RGB, uint8 `[height, width, 3]`; None where no pair can be read.
    """
    rows, captions = [], []
    for title, pair in _examples(examined):
        row = _row(pair, spec, rules)
        if row:
            rows.append(row)
            captions.append(f"{title}: {pair.label or pair.name}")
    if not rows:
        return None
    return visualization.contact_sheet(
        rows,
        captions=("picture", "its mask as it is", "what is built"),
        row_captions=captions,
        legend=(spec.class_names, spec.palette),
        max_width=_WIDTH,
    )


def _examples(examined):
    shown = False
    for i, finding in enumerate(examined.found, start=1):
        for key in _spread(finding.examples):
            if key in examined.pairs:
                shown = True
                yield f"{i}. {finding.kind}", examined.pairs[key]
    if not shown:
        for key in _spread(sorted(examined.pairs)):
            yield "as it is", examined.pairs[key]


def _spread(keys):
    """Takes the first and the one in the middle: neighbours are often alike."""
    return dict.fromkeys([*keys[:1], *keys[len(keys) // 2 :][: _EXAMPLES - 1]])


def _row(pair, spec, rules):
    """Picture, mask and what is built; [] where the pair cannot be read."""
    try:
        contents = folder.read_pair(pair)
        stored = images.read_image(
            contents.image, apply_exif=False, max_pixels=rules.max_pixels
        )
        mask = _as_it_is(pair, contents, rules)
    except (ValueError, OSError):
        return []
    try:
        example = records.parse_example(
            encoding.encode_pair(pair, contents, spec, rules)
        )
        label = records.decode_label(example["label"])
        built = visualization.overlay(
            records.decode_image(example["image"]), label, spec.palette, alpha=0.6
        )
    except ValueError:  # What is wrong with it stands in the text.
        built = np.full((*stored.shape[:2], 3), 255, np.uint8)
    return [stored, mask, built]


def _as_it_is(pair: pairs.Pair, contents: pairs.Contents, rules: encoding.Rules):
    """Shows numbers in PASCAL VOC's colours, and colours as they are."""
    label = contents.label
    if isinstance(label, bytes):
        header = images.probe(label, name=pair.label)
        if header.format == "jpeg" or header.mode not in ("1", "L", "P"):
            return images.read_image(
                label, apply_exif=False, max_pixels=rules.max_pixels
            )
        label = images.read_label(label, max_pixels=rules.max_pixels)
    colors = [class_lists.bit_color(number) for number in range(256)]
    return np.array(colors, np.uint8)[label]
