"""The grids of the search: a coarse one, then a fine one around its best point."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kerasseg import errors
from kerasseg.crf import dense


class Setting(NamedTuple):
    """The tuned arguments of `crf.dense_crf`."""

    bilateral_compat: float
    bilateral_sxy: float
    bilateral_srgb: float


# With the fine grid from 3 to 11, 30 to 110 and 3 to 11: the ranges of DeepLab v1 and
# v2 combined (https://arxiv.org/abs/1412.7062, https://arxiv.org/abs/1606.00915).
AXES = {
    "bilateral_compat": (4.0, 6.0, 8.0, 10.0),
    "bilateral_sxy": (40.0, 60.0, 80.0, 100.0),
    "bilateral_srgb": (4.0, 6.0, 8.0, 10.0),
}


def coarse(axes: Mapping[str, Sequence[float]]) -> list[Setting]:
    """Returns all combinations of the axes' values.

    Args:
        axes: Values of each field of `Setting`, by its name.

    Raises:
        errors.UserError: An axis is empty, or a value is not a finite number above 0.
    """
    for name, values in axes.items():
        if not values or not all(0 < value < math.inf for value in values):
            raise errors.UserError(
                f"The values of `{name}` are {list(values)}: expected one or more "
                f"finite numbers above 0. Correct them."
            )
    return sorted({Setting(*values) for values in itertools.product(*_ordered(axes))})


def check(axes: Mapping[str, Sequence[float]], settings: Mapping) -> None:
    """Checks every point of the coarse grid.

    Args:
        axes: As in `coarse`.
        settings: All other keyword arguments of `crf.dense_crf`.

    Raises:
        errors.MissingPackageError: The requested engine is not installed.
        errors.UserError: A value is out of range.
    """
    for setting in coarse(axes):
        dense.check_settings(**settings, **setting._asdict())


def fine(axes: Mapping[str, Sequence[float]], best: Setting) -> list[Setting]:
    """Returns all combinations of a setting's values and the midpoints beside them.

    A midpoint lies halfway between a value and its neighbor on the axis. At an end of
    the axis, the distance inwards is also used outwards; values that are not above 0
    are left out.

    Args:
        axes: As in `coarse`.
        best: One of `coarse(axes)`.
    """
    candidates = []
    for values, value in zip(_ordered(axes), best, strict=True):
        index = values.index(value)
        gaps = [b - a for a, b in itertools.pairwise(values)] or [0.0]
        below, above = gaps[max(index - 1, 0)], gaps[min(index, len(gaps) - 1)]
        candidates.append({value - below / 2, value, value + above / 2})
    settings = sorted(Setting(*values) for values in itertools.product(*candidates))
    return [setting for setting in settings if min(setting) > 0]


def _ordered(axes):
    return [sorted(set(axes[name])) for name in Setting._fields]
