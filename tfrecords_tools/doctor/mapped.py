"""What masks become once the flags are applied: nothing, or less than they were."""

import numpy as np

from kerasseg import datasets
from tfrecords_tools.doctor import findings, scanning
from tfrecords_tools.writing import label_rules


def examine(looks, rules: label_rules.LabelRules, proposed: dict):
    """Yields masks that are all ignored, and masks that flags for others spoil.

    Args:
        looks: Pairs that can be read.
        rules: How masks are read, with the flags that settle other findings.
        proposed: These flags.
    """
    table = label_rules.number_table(rules)
    values = len(rules.numbers)
    merged = [
        look
        for look in looks
        if look.mask.format == "png"
        and 1 < len(look.mask.numbers) <= values
        and _merges(look.mask, table)
    ]
    if "label_map" in proposed and merged:
        yield findings.of(
            merged,
            "masks that want other flags",
            f"--label_map={proposed['label_map']}, which other masks need, would make "
            "one class of two numbers of these. Flags are for all masks: export one "
            "kind again like the other.",
        )
    empty = [look for look in looks if _mapped(look.mask, table, rules) == _NOTHING]
    if empty:
        yield findings.of(
            empty,
            "masks that are all ignored",
            "No pixel of these counts: nothing is learnt or scored there.",
            leave_out=tuple(look.name for look in empty),
        )


def _merges(mask, table):
    mapped = [int(table[number]) for number in mask.numbers]
    counted = [number for number in mapped if number != datasets.IGNORE_LABEL]
    return len(set(counted)) < len(counted)


_NOTHING = {datasets.IGNORE_LABEL}


def _mapped(mask, table, rules):
    if mask.kind == scanning.DRAWN:
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
