"""Settings of the dense CRF that are tried: a coarse grid, then a fine one."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kerasseg import errors


class Setting(NamedTuple):
    """What is tuned of `crf.dense_crf`."""

    bilateral_compat: float
    bilateral_sxy: float
    bilateral_srgb: float


# With the fine grid, from 3 to 11, 30 to 110 and 3 to 11: the ranges of DeepLab v1 and
# v2 together (https://arxiv.org/abs/1412.7062, https://arxiv.org/abs/1606.00915).
AXES = {
    "bilateral_compat": (4.0, 6.0, 8.0, 10.0),
    "bilateral_sxy": (40.0, 60.0, 80.0, 100.0),
    "bilateral_srgb": (4.0, 6.0, 8.0, 10.0),
}


def coarse(axes: Mapping[str, Sequence[float]]) -> list[Setting]:
    """Combines all values of the axes.

    Args:
        axes: Values by the name of each field of `Setting`.

    Raises:
        ValueError: An axis is empty, or a value is not a finite number above 0.
    """
    for name, values in axes.items():
        if not values or not all(0 < value < math.inf for value in values):
            raise errors.UserError(
                f"The values of {name} are {list(values)}; wanted is at least one, "
                "finite numbers above 0."
            )
    return sorted({Setting(*values) for values in itertools.product(*_ordered(axes))})


def fine(axes: Mapping[str, Sequence[float]], best: Setting) -> list[Setting]:
    """Combines the values of a setting with those halfway to their neighbours.

    At an end of an axis, the way outwards is as long as that inwards; values that are
    not above 0 are left out.

    Args:
        axes: See `coarse`.
        best: One of `coarse(axes)`.
    """
    near = []
    for values, value in zip(_ordered(axes), best, strict=True):
        place = values.index(value)
        gaps = [b - a for a, b in itertools.pairwise(values)] or [0.0]
        below, above = gaps[max(place - 1, 0)], gaps[min(place, len(gaps) - 1)]
        near.append({value - below / 2, value, value + above / 2})
    settings = sorted(Setting(*values) for values in itertools.product(*near))
    return [setting for setting in settings if min(setting) > 0]


def _ordered(axes):
    return [sorted(set(axes[name])) for name in Setting._fields]
