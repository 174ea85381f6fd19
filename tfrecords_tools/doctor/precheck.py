"""What a build of own pictures asks before it begins."""

import numpy as np

from kerasseg import datasets, errors, images
from tfrecords_tools.converters import pairs
from tfrecords_tools.doctor import scanning
from tfrecords_tools.writing import label_rules

_NUM_PAIRS = 20  # To look at; a data set of 0 and 255 shows nothing else anywhere.


def refuse_0_and_255(
    listed: list[pairs.Pair], num_classes: int, rules: label_rules.LabelRules
) -> None:
    """Refuses masks of 0 and 255 for two classes, of which all of one would be ignored.

    Args:
        listed: The pairs.
        num_classes: Number of classes.
        rules: What flags say of masks.

    Raises:
        ValueError: Masks hold 0 and 255, and no flag says what 255 is.
    """
    if num_classes != 2 or rules.numbers or not listed:
        return
    chosen = np.linspace(0, len(listed) - 1, min(_NUM_PAIRS, len(listed))).astype(int)
    seen: set[int] = set()
    for i in chosen.tolist():
        found = scanning.look("", listed[i], images.DEFAULT_MAX_PIXELS)
        if found.mask is None or found.mask.kind in (scanning.COLORS, scanning.DRAWN):
            return
        seen |= found.mask.numbers.keys()
    if seen == {0, datasets.IGNORE_LABEL}:
        raise errors.UserError(
            f"Masks such as {listed[0].label} hold 0 and 255 and nothing else, and 255 "
            "is ignored: there would be one class. Give `label_map=255:1` if 255 is "
            "the second class, `label_map=255:255` if it is to be ignored"
        )
