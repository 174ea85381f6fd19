"""Draws a contact sheet of the findings: image, mask, and what is built."""

import numpy as np

from kerasseg import datasets, images, records
from kerasseg.images import visualization
from kerasseg.system import names
from tfrecords_tools.converters import class_lists, folder, pairs
from tfrecords_tools.doctor import examining
from tfrecords_tools.writing import encoding, tasks

_WIDTH = 1000  # Pixels.
_EXAMPLES = 2  # For each finding.


def draw(
    examination: examining.Examination,
    spec: datasets.DatasetSpec,
    rules: encoding.Rules,
) -> np.ndarray | None:
    """Draws pairs of each finding, or some pairs if there is no finding.

    Args:
        examination: The findings.
        spec: Spec of the data set to build.
        rules: How images and masks are read, with the proposed options.

    Returns:
        RGB, uint8 `[height, width, 3]`; None if no pair can be read.
    """
    rows, captions = [], []
    for title, pair in _examples(examination):
        row = _row(pair, spec, rules)
        if row:
            rows.append(row)
            captions.append(names.one_line(f"{title}: {pair.label or pair.name}"))
    if not rows:
        return None
    return visualization.contact_sheet(
        rows,
        captions=("image", "mask as stored", "result of the build"),
        row_captions=captions,
        legend=(spec.class_names, spec.palette),
        max_width=_WIDTH,
    )


def _examples(examination):
    has_examples = False
    for i, finding in enumerate(examination.findings, start=1):
        for key in _spread(finding.examples):
            if key in examination.pairs:
                has_examples = True
                yield f"{i}. {finding.kind}", examination.pairs[key]
    if not has_examples:
        for key in _spread(sorted(examination.pairs)):
            yield "without findings", examination.pairs[key]


def _spread(keys):
    """Returns the first key and the one in the middle, as neighbors are often alike."""
    return dict.fromkeys([*keys[:1], *keys[len(keys) // 2 :][: _EXAMPLES - 1]])


def _row(pair, spec, rules):
    """Returns image, mask and result; [] if the pair cannot be read."""
    try:
        contents = folder.read_pair(pair)
        raster = images.read_of_kind(
            contents.image,
            spec.image_kind,
            apply_exif=False,
            max_pixels=rules.max_pixels,
        )
        kind = records.measure([(raster.pixels, None)], spec.image_kind, 1)
        stored = kind.view(raster.pixels)
        mask = _draw_mask(pair, contents, rules)
    except tasks.BAD:
        return []
    try:
        example = records.parse_example(
            encoding.encode_pair(pair, contents, spec, rules)
        )
        label = records.decode_label(example["label"])
        built = visualization.overlay(
            kind.view(records.decode_image(example["image"])),
            label,
            spec.palette,
            alpha=0.6,
        )
    except tasks.BAD:  # The findings say why.
        built = np.full((*stored.shape[:2], 3), 255, np.uint8)
    return [stored, mask, built]


def _draw_mask(pair: pairs.Pair, contents: pairs.Contents, rules: encoding.Rules):
    """Draws values in PASCAL VOC's colors, and color masks unchanged."""
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
