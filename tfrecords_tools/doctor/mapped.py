"""Masks that the proposed options would ignore as a whole, or damage."""

import shlex
from collections.abc import Iterator, Sequence

import numpy as np

from kerasseg import datasets
from tfrecords_tools.doctor import findings, scanning
from tfrecords_tools.writing import label_rules


def examine(
    scans: Sequence[scanning.Scan], rules: label_rules.LabelRules, proposed: dict
) -> Iterator[findings.Finding]:
    """Yields masks that are ignored as a whole, and masks that need other options.

    Args:
        scans: Pairs that can be read.
        rules: How masks are read, with the options of other findings.
        proposed: These options.
    """
    table = label_rules.number_table(rules)
    num_values = len(rules.numbers)
    merged = [
        scan
        for scan in scans
        if scan.mask.format not in ("", "jpeg")
        and 1 < len(scan.mask.numbers) <= num_values
        and _merges(scan.mask, table)
    ]
    if "label_map" in proposed and merged:
        yield findings.of_masks(
            merged,
            "masks that need other options",
            f"--label_map={shlex.quote(proposed['label_map'])}, which other masks "
            "need, would merge two values of these masks into one class. Options apply "
            "to all masks: export these, or the others, again.",
        )
    empty = [scan for scan in scans if _mapped(scan.mask, table, rules) == _IGNORED]
    if empty:
        yield findings.of_masks(
            empty,
            "masks that are all ignored",
            "All pixels of these masks are ignored, so nothing is trained or evaluated "
            "on them.",
            leave_out=tuple(scan.name for scan in empty),
        )


def _merges(mask, table):
    numbers = [int(table[value]) for value in mask.numbers]
    valid = [number for number in numbers if number != datasets.IGNORE_LABEL]
    return len(set(valid)) < len(valid)


_IGNORED = {datasets.IGNORE_LABEL}


def _mapped(mask, table, rules):
    if mask.kind == scanning.DRAWN:
        return set(mask.numbers)
    if (
        mask.colors
        and rules.colors
        and (mask.kind != scanning.PALETTE or rules.palette_colors)
    ):
        if mask.has_many_colors:
            return set()
        return set(label_rules.map_colors(np.array(list(mask.colors)), rules).tolist())
    return {int(table[value]) for value in mask.numbers}
