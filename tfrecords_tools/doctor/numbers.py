"""Masks of numbers: which flags make class numbers of them."""

import collections

from kerasseg import datasets
from tfrecords_tools import texts
from tfrecords_tools.doctor import findings, levels
from tfrecords_tools.writing import label_rules

_IGNORED = datasets.IGNORE_LABEL


def examine(looks, num_classes: int | None, rules: label_rules.LabelRules):
    """Yields what masks of numbers show.

    Args:
        looks: Those whose masks are read by number.
        num_classes: Number of classes, None if not known.
        rules: What flags say already.
    """
    lossy = [look for look in looks if look.mask.format == "jpeg"]
    exact = [look for look in looks if look.mask.format != "jpeg"]
    if lossy and not (rules.tolerance and rules.numbers):
        yield _smeared(lossy, num_classes, "JPEG masks", _JPEG)
    values = _total(exact)
    if not values or (rules.tolerance and rules.numbers):
        return
    if num_classes is None:
        yield _to_name(exact, values)
    table = label_rules.number_table(rules)
    if _fits({int(table[value]) for value in values}, num_classes):
        if not (rules.numbers or rules.offset):
            yield from _zero_and_255(exact, set(values), num_classes)
        return
    found = _shifted(set(values), rules, num_classes) or _levels(
        set(values), num_classes
    )
    if found:
        kind, text, flags = found
        moved = "label_offset" in flags  # Then all are, whatever they hold.
        bad = exact if moved else _with(exact, table, num_classes)
        yield findings.of(bad, kind, text, flags=flags)
        return
    smeared = _smeared(exact, num_classes, "smeared numbers", _RESIZED)
    if smeared.flags and len(values) > (num_classes or 0) + 1:
        yield smeared
    else:
        yield _out_of_range(exact, values, table, num_classes)


def _to_name(looks, values):
    listed = sorted(values.keys() - {_IGNORED})
    numbers = ", ".join(map(str, listed[:20])) + (" ..." if len(listed) > 20 else "")
    return findings.of(
        looks,
        "numbers without names",
        f"The masks hold {numbers}. Name the classes with --classes, in this order: "
        "what they are called cannot be seen.",
        is_note=True,
    )


_JPEG = "JPEG changes values near borders"
_RESIZED = "as if they had been resized with interpolation"


def _total(looks):
    total: collections.Counter[int] = collections.Counter()
    for look in looks:
        total.update(look.mask.numbers)
    return total


def _fits(mapped, num_classes):
    limit = num_classes or _IGNORED
    return all(0 <= value < limit or value == _IGNORED for value in mapped)


def _with(looks, table, num_classes):
    """Those whose numbers do not fit."""
    bad = [
        look
        for look in looks
        if not _fits({int(table[value]) for value in look.mask.numbers}, num_classes)
    ]
    return bad or looks


def _zero_and_255(looks, values, num_classes):
    if values == {0, _IGNORED} and num_classes in (2, None):
        yield findings.of(
            looks,
            "0 and 255",
            "The masks hold 0 and 255 and nothing else, and 255 is what is ignored. "
            "The flag makes it class 1.",
            flags={"label_map": "255:1"},
        )


def _shifted(values, rules, num_classes):
    """Finds a shift by one, a number after the classes, or both."""
    if num_classes is None or rules.offset or rules.numbers:
        return None
    real = values - {_IGNORED}
    low, high = min(real), max(real)
    span = f"{low} to {high}"
    classes = f"{num_classes} classes are 0 to {num_classes - 1}"
    if low == 1 and high <= num_classes:
        return (
            "labels off by one",
            f"The masks hold {span}, and never 0, but {classes}. The flag takes 1 from "
            "every number.",
            {"label_offset": -1},
        )
    if low == 0 and high == num_classes:
        return (
            "one number too many",
            f"The masks hold {span}, but {classes}. The flag ignores {high}. If 0 is "
            f"what has no label, give --label_offset=-1 --label_map=0:{_IGNORED} "
            "instead; if 0 is a class that --classes lacks, such as background, name "
            "it there. The contact sheet shows which.",
            {"label_map": f"{high}:{_IGNORED}"},
        )
    if low == 1 and high == num_classes + 1:
        return (
            "labels off by one",
            f"The masks hold {span}, and never 0, but {classes}. The flags take 1 from "
            f"every number and ignore {high}. If 1 is what has no label, give "
            f"--label_offset=-2 --label_map=1:{_IGNORED} instead.",
            {"label_offset": -1, "label_map": f"{high}:{_IGNORED}"},
        )
    return None


def _levels(values, num_classes):
    """Finds grey values that stand for classes, such as 0, 128 and 255."""
    if num_classes is None:
        return None
    real = sorted(values if len(values) == num_classes else values - {_IGNORED})
    if len(real) != num_classes:
        return None
    listed = ", ".join(map(str, real))
    return (
        "grey values instead of class numbers",
        f"The masks hold {listed}. The flag numbers them in this order; look at the "
        "contact sheet whether it is that of --classes.",
        {"label_map": ",".join(f"{value}:{i}" for i, value in enumerate(real))},
    )


def _smeared(looks, num_classes, kind, why):
    counts = _total(looks)
    found = levels.find({(value,) * 3: n for value, n in counts.items()}, num_classes)
    if found is None:
        return findings.of(
            looks,
            kind,
            f"The masks hold {len(counts)} values, {why}, and those of the "
            "classes cannot be told apart. Export the masks again, as PNG.",
        )
    values = sorted(center[0] for center in found.centers)
    items = ",".join(f"{value}:{i}" for i, value in enumerate(values))
    return findings.of(
        looks,
        kind,
        f"The masks hold {len(counts)} values instead of "
        f"{len(values)}, {why}. The flags take each to the nearest of "
        f"{', '.join(map(str, values))} and ignore {found.share_lost:.2%} of the "
        "pixels, which are near none. Better: export the masks again, as PNG.",
        flags={"label_map": items, "mask_tolerance": found.tolerance},
    )


def _out_of_range(looks, values, table, num_classes):
    bad = [v for v in sorted(values) if not _fits({int(table[v])}, num_classes)]
    listed = texts.some(bad, say=lambda value: f"{value} ({values[value]:,} pixels)")
    return findings.of(
        _with(looks, table, num_classes),
        "numbers that are no class",
        f"{num_classes} classes are 0 to {(num_classes or 1) - 1}; there are {listed}. "
        f"Name their classes in --classes, or say what they become with "
        f"--label_map, as in {bad[0]}:{_IGNORED}.",
    )
