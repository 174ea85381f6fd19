"""Grayscale masks: which options turn their values into class numbers."""

import collections
from collections.abc import Iterator, Sequence

from kerasseg import datasets
from tfrecords_tools.converters import source_files
from tfrecords_tools.doctor import findings, levels, scanning
from tfrecords_tools.writing import label_rules

_IGNORED = datasets.IGNORE_LABEL


def examine(
    scans: Sequence[scanning.Scan],
    num_classes: int | None,
    rules: label_rules.LabelRules,
) -> Iterator[findings.Finding]:
    """Yields findings about grayscale masks.

    Args:
        scans: Pairs whose masks are read by value.
        num_classes: Number of classes; None if unknown.
        rules: Rules of the options that are already given.
    """
    lossy = [scan for scan in scans if scan.mask.format == "jpeg"]
    exact = [scan for scan in scans if scan.mask.format != "jpeg"]
    if lossy and not (rules.tolerance and rules.numbers):
        yield _with_artifacts(lossy, num_classes, "JPEG masks", _JPEG)
    values = _total(exact)
    if not values or (rules.tolerance and rules.numbers):
        return
    if num_classes is None:
        yield _unnamed(exact, values)
    table = label_rules.number_table(rules)
    if _fits({int(table[value]) for value in values}, num_classes):
        if not (rules.numbers or rules.offset):
            yield from _0_and_255(exact, set(values), num_classes)
        return
    found = _shifted(set(values), rules, num_classes) or _levels(
        set(values), num_classes
    )
    if found:
        kind, text, options = found
        moved = "label_offset" in options  # It applies to all masks.
        bad = exact if moved else _misfits(exact, table, num_classes)
        yield findings.of_masks(bad, kind, text, options=options)
        return
    artifacts = _with_artifacts(exact, num_classes, "values with artifacts", _RESIZED)
    if artifacts.options and len(values) > (num_classes or 0) + 1:
        yield artifacts
    else:
        yield _out_of_range(exact, values, table, num_classes)


def _unnamed(scans, values):
    listed = sorted(values.keys() - {_IGNORED})
    numbers = ", ".join(map(str, listed[:20])) + (" ..." if len(listed) > 20 else "")
    return findings.of_masks(
        scans,
        "values without names",
        f"The masks hold {numbers}. Name their classes with --classes, in this order.",
        is_note=True,
    )


_JPEG = "JPEG changes values near borders"
_RESIZED = "as after resizing with interpolation"


def _total(scans):
    total: collections.Counter[int] = collections.Counter()
    for scan in scans:
        total.update(scan.mask.numbers)
    return total


def _fits(mapped, num_classes):
    limit = num_classes or _IGNORED
    return all(0 <= value < limit or value == _IGNORED for value in mapped)


def _misfits(scans, table, num_classes):
    """Returns the scans with values that are not class numbers."""
    bad = [
        scan
        for scan in scans
        if not _fits({int(table[value]) for value in scan.mask.numbers}, num_classes)
    ]
    return bad or scans


def _0_and_255(scans, values, num_classes):
    if values == {0, _IGNORED} and num_classes in (2, None):
        yield findings.of_masks(
            scans,
            "0 and 255",
            "The masks hold only 0 and 255, and 255 is ignored. The option maps it to "
            "class 1.",
            options={"label_map": "255:1"},
        )


def _shifted(values, rules, num_classes):
    """Detects a shift by one, a value above the classes, or both."""
    if num_classes is None or rules.offset or rules.numbers:
        return None
    real = values - {_IGNORED}
    low, high = min(real), max(real)
    span = f"{low} to {high}"
    classes = f"{num_classes} classes are 0 to {num_classes - 1}"
    if low == 1 and high <= num_classes:
        return (
            "labels off by one",
            f"The masks hold {span} and never 0, but {classes}. The option subtracts 1 "
            "from every value.",
            {"label_offset": -1},
        )
    if low == 0 and high == num_classes:
        return (
            "one value too many",
            f"The masks hold {span}, but {classes}. The option ignores {high}. If 0 is "
            f"unlabeled, give --label_offset=-1 --label_map=0:{_IGNORED} instead. If 0 "
            "is a class that is missing in --classes, such as background, add it. The "
            "contact sheet shows which.",
            {"label_map": f"{high}:{_IGNORED}"},
        )
    if low == 1 and high == num_classes + 1:
        return (
            "labels off by one",
            f"The masks hold {span} and never 0, but {classes}. The options subtract 1 "
            f"from every value and ignore {high}. If 1 is unlabeled, give "
            f"--label_offset=-2 --label_map=1:{_IGNORED} instead.",
            {"label_offset": -1, "label_map": f"{high}:{_IGNORED}"},
        )
    return None


def _levels(values, num_classes):
    """Detects gray values that stand for classes, such as 0, 128 and 255."""
    if num_classes is None:
        return None
    real = sorted(values if len(values) == num_classes else values - {_IGNORED})
    if len(real) != num_classes:
        return None
    listed = ", ".join(map(str, real))
    return (
        "gray values instead of class numbers",
        f"The masks hold {listed}. The option numbers them in this order. Check on the "
        "contact sheet that it is the order of --classes.",
        {"label_map": ",".join(f"{value}:{i}" for i, value in enumerate(real))},
    )


def _with_artifacts(scans, num_classes, kind, why):
    counts = _total(scans)
    found = levels.find({(value,) * 3: n for value, n in counts.items()}, num_classes)
    if found is None:
        return findings.of_masks(
            scans,
            kind,
            f"The masks hold {source_files.count(counts, 'value')}, {why}. Those of "
            "the classes are too close to each other. Export the masks again, as PNG.",
        )
    values = sorted(center[0] for center in found.centers)
    items = ",".join(f"{value}:{i}" for i, value in enumerate(values))
    return findings.of_masks(
        scans,
        kind,
        f"The masks hold {source_files.count(counts, 'value')} instead of "
        f"{len(values)}, {why}. The options map each to the nearest of "
        f"{', '.join(map(str, values))} and ignore {found.fraction_lost:.2%} of the "
        "pixels, which are close to none. It is better to export the masks again, as "
        "PNG.",
        options={"label_map": items, "mask_tolerance": found.tolerance},
    )


def _out_of_range(scans, values, table, num_classes):
    bad = [v for v in sorted(values) if not _fits({int(table[v])}, num_classes)]
    listed = source_files.shorten(
        bad,
        format_item=lambda value: (
            f"{value} ({source_files.count(values[value], 'pixel')})"
        ),
    )
    return findings.of_masks(
        _misfits(scans, table, num_classes),
        "values that are not a class",
        f"{num_classes} classes are 0 to {(num_classes or 1) - 1}, but the masks hold "
        f"{listed}. Add their classes to --classes, or map them with --label_map, "
        f"as in {bad[0]}:{_IGNORED}.",
    )
