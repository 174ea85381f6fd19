"""Checks of the pairs of a build before anything is written."""

from collections.abc import Sequence

import numpy as np

from kerasseg import datasets, errors, images
from kerasseg.system import files
from tfrecords_tools.converters import source_files
from tfrecords_tools.writing import label_rules, planning, tasks

_NUM_CHECKED = 20  # Masks to check; if all masks hold 0 and 255, these do too.


def check_0_and_255(
    plan: planning.Plan, num_classes: int, rules: label_rules.LabelRules
) -> None:
    """Refuses masks of 0 and 255 for two classes: all of one would be ignored.

    Args:
        plan: A split.
        num_classes: Number of classes.
        rules: How masks are read.

    Raises:
        errors.UserError: Masks hold 0 and 255, and no rule tells what 255 means.
    """
    listed = [pair for pair in plan.pairs if not pair.is_unlabeled]
    if num_classes != 2 or rules.numbers or not listed:
        return
    chosen = np.linspace(0, len(listed) - 1, min(_NUM_CHECKED, len(listed))).astype(int)
    values: set[int] = set()
    for i in chosen.tolist():
        mask = _read_values(listed[i], rules)
        if mask is None:
            return
        values.update(np.unique(mask).tolist())
    if values == {0, datasets.IGNORE_LABEL}:
        raise errors.UserError(
            f"Masks such as {listed[0].label} hold only 0 and 255, and 255 is ignored, "
            "so there would be one class. Give `label_map=255:1` if 255 is the second "
            "class, or `label_map=255:255` to ignore it."
        )


def _read_values(pair, rules):
    """Returns the values of a mask; None if it has colors, is drawn, or is damaged."""
    if pair.shapes:
        return None
    try:
        data = files.read_bytes(pair.label)
        header = images.probe(data, name=pair.label)
        if label_rules.has_colors(header, rules):
            return None
        if header.format == "jpeg":
            pixels = images.DEFAULT_MAX_PIXELS
            return label_rules.read_colors(data, pixels, pair.label)[..., 0]
        return images.read_label(data, name=pair.label)
    except tasks.BAD:
        return None


def check_files(plans: Sequence[planning.Plan]) -> None:
    """Stops before anything is written, if it is clear that the build cannot end.

    Raises:
        BuildError: Annotations cannot be used, or files are missing.
    """
    faults = [pair.fault for plan in plans for pair in plan.pairs if pair.fault]
    if faults:
        raise planning.BuildError(
            f"{source_files.count(faults, 'image has', 'images have')} annotations "
            f"that cannot be used. The first: {faults[0].rstrip('.')}. Correct them, "
            "or skip such images with `on_error=skip`."
        )
    missing = [path for plan in plans for path in plan.missing]
    if not missing:
        return
    raise planning.BuildError(
        f"{source_files.count(missing, 'listed file does', 'listed files do')} not "
        f"exist: {source_files.shorten(missing)}. Add what is missing, or skip such "
        "pairs with `on_error=skip`."
    )
