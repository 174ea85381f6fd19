"""Masks of which no pixel counts."""

import numpy as np

from kerasseg import datasets
from tfrecords_tools import label_rules
from tfrecords_tools.doctor import findings, looking


def examine(looks, rules: label_rules.LabelRules):
    """Yields what is ignored.

    Args:
        looks: Pairs that can be read.
        rules: How masks are read, with the flags that settle other findings.
    """
    table = label_rules.number_table(rules)
    empty = [look for look in looks if _mapped(look.mask, table, rules) == _NOTHING]
    if empty:
        yield findings.of(
            empty,
            "masks that are all ignored",
            "No pixel of these counts: nothing is learnt or scored there.",
            leave_out=tuple(look.name for look in empty),
        )


_NOTHING = {datasets.IGNORE_LABEL}


def _mapped(mask, table, rules):
    if mask.kind == looking.DRAWN:
        return set(mask.numbers)
    if (
        mask.colors
        and rules.colors
        and (mask.kind != "palette" or rules.palette_colors)
    ):
        if mask.is_smeared:
            return set()
        return set(label_rules.map_colors(np.array(list(mask.colors)), rules).tolist())
    return {int(table[number]) for number in mask.numbers}
