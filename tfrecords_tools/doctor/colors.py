"""Color masks: which color map turns them into class numbers."""

import collections
import os
import shlex
from collections.abc import Iterator, Sequence

import numpy as np

from kerasseg import datasets
from tfrecords_tools.converters import class_lists, source_files
from tfrecords_tools.doctor import findings, levels, scanning
from tfrecords_tools.writing import label_rules

_IGNORED = datasets.IGNORE_LABEL
_VOID = {
    0x000000,
    0xFFFFFF,
    0xE0E0C0,
}  # Black, white and VOC's color of unlabeled pixels.


def examine(
    scans: Sequence[scanning.Scan],
    classes: class_lists.ClassList | None,
    rules: label_rules.LabelRules,
    *,
    colormap: str,
    names: str | None,
) -> Iterator[findings.Finding]:
    """Yields findings about color masks.

    Args:
        scans: Pairs whose masks are read by color.
        classes: The classes; None if unknown.
        rules: Rules of the options that are already given.
        colormap: The option `colormap`.
        names: The option `classes`.
    """
    if not scans:
        return
    counts: collections.Counter[int] = collections.Counter()
    for scan in scans:
        counts.update(scan.mask.colors)
    lossy = any(
        scan.mask.format == "jpeg" or scan.mask.has_many_colors for scan in scans
    )
    if rules.colors:
        yield from _against_given(scans, counts, rules, colormap, lossy)
        return
    found = None if lossy else _exact(counts, classes, names)
    if found:
        text, options = found
        yield findings.of_masks(scans, "color masks", text, options=options)
    elif lossy or (classes and len(counts) > len(classes.names) + 1):
        yield _with_artifacts(scans, counts, classes)
    else:
        yield findings.of_masks(scans, "color masks", _too_many(counts))


def palettes_differ(scans: Sequence[scanning.Scan]) -> bool:
    """Returns whether a value has different colors in two masks with a palette."""
    color_of: dict[int, int] = {}
    return any(
        color_of.setdefault(number, color) != color
        for scan in scans
        for number, color in scan.mask.color_of.items()
    )


def _exact(counts, classes, names):
    """Returns a text and options for masks with few colors; None for others."""
    present = set(counts)
    if own := _own(present, classes, names):
        return own
    num_classes = len(classes.names) if classes else None
    grays = {code >> 16 for code in present if code == (code >> 16) * 0x010101}
    are_numbers = grays - {_IGNORED} <= set(range(num_classes or 0))
    if len(grays) == len(present) and are_numbers and grays != {0, _IGNORED}:
        return (
            "Red, green and blue are equal everywhere, and are class numbers. The "
            "option reads them as such.",
            {"colormap": "grey"},
        )
    known = _known(present, classes)
    if known:
        return _with_ignored(*known)
    return _proposed(present, counts, classes)


def _own(present, classes, names):
    """Finds the colors in the file that names the classes."""
    if classes is None or None in classes.colors or not os.path.isfile(names or ""):
        return None
    palette = set(label_rules.pack(np.array(classes.colors, np.uint8)).tolist())
    extra = sorted(present - palette)
    if not present & palette or not set(extra) <= _VOID:
        return None
    return _with_ignored(source_files.join_commas([names]), extra)


def _with_ignored(name, extra):
    items = ",".join([name, *(f"{_hex(code)}:{_IGNORED}" for code in extra)])
    also = f", and ignores {', '.join(map(_hex, extra))}" if extra else ""
    return (
        f"The colors are those of {name}. The option maps them to its class "
        f"numbers{also}.",
        {"colormap": items},
    )


def _known(present, classes):
    """Finds the data set with these colors, and the colors that it lacks."""
    found = []
    for name in datasets.list_datasets():
        spec = datasets.get(name)
        palette = set(label_rules.pack(spec.palette).tolist())
        extra = sorted(present - palette)
        same = classes is not None and classes.names == spec.class_names
        fits = classes is None or len(classes.names) == spec.num_classes
        if fits and len(present & palette) >= 2 and set(extra) <= _VOID:
            found.append((not same, len(extra), len(palette - present), name, extra))
    if not found:
        return None
    return min(found)[3:]


def _proposed(present, counts, classes):
    """Proposes an order of the colors if there are as many as classes."""
    num_classes = len(classes.names) if classes else None
    ordered = sorted(present)
    if num_classes is None:
        if len(present) > 64:
            return None
        listed = ", ".join(
            f"{_hex(c)} ({source_files.count(counts[c], 'pixel')})" for c in ordered
        )
        return (
            f"There are {len(present)} colors: {listed}. The option numbers them in "
            "this order. Name their classes with --classes, in the same order.",
            {"colormap": ",".join(map(_hex, ordered))},
        )
    void = []
    if len(present) == num_classes + 1:
        void = sorted(present & _VOID, key=lambda code: (counts[code], code))[:1]
    ordered = [code for code in ordered if code not in void]
    if len(ordered) > num_classes:
        return None
    items = [*map(_hex, ordered), *(f"{_hex(code)}:{_IGNORED}" for code in void)]
    named = ", ".join(
        f"{_hex(code)} as {name}"
        for code, name in zip(ordered, classes.names, strict=False)
    )
    also = f", and ignores {_hex(void[0])}" if void else ""
    return (
        f"There are {len(present)} colors for {num_classes} classes, of no known data "
        f"set. The option reads {named}{also}. This order is a guess: check it on the "
        "contact sheet, and correct it.",
        {"colormap": ",".join(items)},
    )


def _against_given(scans, counts, rules, colormap, lossy):
    """Compares the colors with those of `colormap`."""
    if rules.tolerance:
        return
    known = {int(label_rules.pack(_array(color))) for color, _ in rules.colors}
    extra = [code for code, _ in counts.most_common() if code not in known]
    if not extra:
        return
    if lossy or len(extra) > len(known):
        yield _near_given(scans, counts, [color for color, _ in rules.colors])
        return
    listed = ", ".join(
        f"{_hex(c)} ({source_files.count(counts[c], 'pixel')})" for c in extra
    )
    yield findings.of_masks(
        [scan for scan in scans if not scan.mask.colors.keys() <= known],
        "colors without a class",
        f"--colormap={shlex.quote(colormap)} lacks {listed}. The option ignores them. "
        "If one is a class, replace 255 by its number.",
        options={"colormap": ",".join([colormap, *(f"{_hex(c)}:255" for c in extra)])},
    )


def _with_artifacts(scans, counts, classes):
    """Finds the exact colors: those of a data set, or the most frequent ones."""
    colors = _tuples(counts)
    for name in datasets.list_datasets():
        spec = datasets.get(name)
        if classes is None or len(classes.names) != spec.num_classes:
            continue
        found = levels.fit(colors, list(map(tuple, spec.palette.tolist())))
        if found:
            return _proposed_tolerance(scans, counts, found, name)
    found = levels.find(colors, len(classes.names) if classes else None)
    if found is None:
        return findings.of_masks(scans, "colors with artifacts", _too_many(counts))
    codes = sorted(int(label_rules.pack(_array(center))) for center in found.centers)
    return _proposed_tolerance(scans, counts, found, ",".join(map(_hex, codes)))


def _near_given(scans, counts, centers):
    found = levels.fit(_tuples(counts), centers)
    if found is None:
        return findings.of_masks(scans, "colors with artifacts", _too_many(counts))
    return _proposed_tolerance(scans, counts, found, None)


def _proposed_tolerance(scans, counts, found, colormap):
    is_jpeg = any(scan.mask.format == "jpeg" for scan in scans)
    why = "as JPEG blurs them" if is_jpeg else "as after resizing or smoothing"
    options: dict = {"mask_tolerance": found.tolerance}
    if colormap:
        options["colormap"] = colormap
    return findings.of_masks(
        scans,
        "JPEG masks" if is_jpeg else "colors with artifacts",
        f"The masks hold {len(counts)} colors or more, {why}. The options map a pixel "
        f"to the color at a distance of at most {found.tolerance}, and ignore "
        f"{found.fraction_lost:.2%} of the pixels, which are close to none. It is "
        "better to export the masks again, as PNG.",
        options=options,
    )


def _too_many(counts):
    frequent = ", ".join(_hex(code) for code, _ in counts.most_common(8))
    return (
        f"There are {len(counts)} colors or more, of no known color map. The most "
        f"frequent are {frequent}. Give the color map with --colormap=FILE, one R G B "
        "NAME per line, or give --classes."
    )


def _tuples(counts):
    return {
        tuple(label_rules.unpack(code).tolist()): count
        for code, count in counts.items()
    }


def _array(color):
    return np.array(color)


def _hex(code):
    return label_rules.hexadecimal(code)
