"""Multi-label samples as samples of exclusive classes: their combinations."""

import dataclasses

import numpy as np

from kerasseg.datasets import IGNORE_LABEL, DatasetSpec
from kerasseg.images import bit_masks, visualization

_MOST = IGNORE_LABEL  # Rarer combinations are shown as the last one.


def as_exclusive(sample, spec: DatasetSpec) -> tuple:
    """Returns a sample whose classes are the combinations of classes that occur.

    Args:
        sample: `evaluation.Sample` of a multi-label network.
        spec: The data set.

    Returns:
        The sample, without probabilities, and a data set with the combinations of this
        image, named as in "road + car" in the mean of their colors.
    """
    codes = [np.asarray(sample.label), np.asarray(sample.mask)]
    values, counts = np.unique(np.stack(codes), return_counts=True)
    is_class = values != IGNORE_LABEL
    values = values[is_class][np.argsort(-counts[is_class], kind="stable")][:_MOST]
    colors = visualization.colorize(values[None], spec.palette, multi_label=True)[0]
    classes = {
        _name(has, spec.class_names): tuple(color)
        for has, color in zip(
            bit_masks.decode(values, spec.num_classes), colors.tolist(), strict=True
        )
    }
    order = np.argsort(values)
    label, mask = [_numbers(code, values[order], order) for code in codes]
    changed = dataclasses.replace(sample, label=label, mask=mask, probabilities=None)
    return changed, dataclasses.replace(spec, classes=classes, multi_label=False)


def _name(has, class_names):
    names = [name for name, each in zip(class_names, has, strict=True) if each]
    return " + ".join(names) or "no class"


def _numbers(code, values, order):
    """Returns the number of each pixel's combination, uint8 `[height, width]`."""
    places = np.minimum(np.searchsorted(values, code), len(values) - 1)
    numbers = np.where(values[places] == code, order[places], len(values) - 1)
    return np.where(code == IGNORE_LABEL, IGNORE_LABEL, numbers).astype(np.uint8)
