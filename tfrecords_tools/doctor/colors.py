"""Masks of colours: which colour map makes class numbers of them."""

import collections

import numpy as np

from kerasseg import datasets
from tfrecords_tools.converters import class_lists
from tfrecords_tools.doctor import findings, levels
from tfrecords_tools.writing import label_rules

_IGNORED = datasets.IGNORE_LABEL
_VOID = {0x000000, 0xFFFFFF, 0xE0E0C0}  # Black, white and VOC's: what has no label.


def examine(
    looks,
    classes: class_lists.ClassList | None,
    rules: label_rules.LabelRules,
    colormap: str,
):
    """Yields what masks of colours show.

    Args:
        looks: Those whose masks are read by colour.
        classes: The classes, None if not known.
        rules: What flags say already.
        colormap: The flag --colormap.
    """
    if not looks:
        return
    counts: collections.Counter[int] = collections.Counter()
    for look in looks:
        counts.update(look.mask.colors)
    lossy = any(look.mask.format == "jpeg" or look.mask.is_smeared for look in looks)
    if rules.colors:
        yield from _against_given(looks, counts, rules, colormap, lossy)
        return
    found = None if lossy else _exact(counts, classes)
    if found:
        text, flags = found
        yield findings.of(looks, "masks of colours", text, flags=flags)
    elif lossy or (classes and len(counts) > len(classes.names) + 1):
        yield _smeared(looks, counts, classes)
    else:
        yield findings.of(looks, "masks of colours", _too_many(counts))


def inconsistent_palettes(looks) -> bool:
    """Tells whether a number has another colour in another mask with a palette."""
    color_of: dict[int, int] = {}
    return any(
        color_of.setdefault(number, color) != color
        for look in looks
        for number, color in look.mask.color_of.items()
    )


def _exact(counts, classes):
    """Returns a text and flags where the colours are few, None where they are not."""
    seen = set(counts)
    num_classes = len(classes.names) if classes else None
    greys = {code >> 16 for code in seen if code == (code >> 16) * 0x010101}
    are_numbers = greys - {_IGNORED} <= set(range(num_classes or 0))
    if len(greys) == len(seen) and are_numbers and greys != {0, _IGNORED}:
        return (
            "Red, green and blue are equal everywhere and are class numbers. The flag "
            "reads them as such.",
            {"colormap": "grey"},
        )
    known = _known(seen, classes)
    if known:
        name, extra = known
        items = ",".join([name, *(f"{_hex(code)}:{_IGNORED}" for code in extra)])
        also = f", and ignores {', '.join(map(_hex, extra))}" if extra else ""
        return (
            f"The colours are those of {name}. The flag turns them into its class "
            f"numbers{also}.",
            {"colormap": items},
        )
    return _proposed(seen, counts, classes)


def _known(seen, classes):
    """Finds the data set whose colours these are, and those that it lacks."""
    found = []
    for name in datasets.list_datasets():
        spec = datasets.get(name)
        palette = set(label_rules.pack(spec.palette).tolist())
        extra = sorted(seen - palette)
        same = classes is not None and classes.names == spec.class_names
        fits = classes is None or len(classes.names) == spec.num_classes
        if fits and len(seen & palette) >= 2 and set(extra) <= _VOID:
            found.append((not same, len(extra), len(palette - seen), name, extra))
    if not found:
        return None
    return min(found)[3:]


def _proposed(seen, counts, classes):
    """Proposes an order of colours where there are as many as classes."""
    num_classes = len(classes.names) if classes else None
    ordered = sorted(seen)
    if num_classes is None:
        if len(seen) > 64:
            return None
        listed = ", ".join(f"{_hex(c)} ({counts[c]:,} pixels)" for c in ordered)
        return (
            f"There are {len(seen)} colours: {listed}. The flag numbers them in this "
            "order: name their classes with --classes, in the same order.",
            {"colormap": ",".join(map(_hex, ordered))},
        )
    void = []
    if len(seen) == num_classes + 1:
        void = sorted(seen & _VOID, key=lambda code: (counts[code], code))[:1]
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
        f"There are {len(seen)} colours for {num_classes} classes, of no data set that "
        f"is known. The flag takes {named}{also}: which colour is which class only you "
        "can say, so look at the contact sheet and put them into the right order.",
        {"colormap": ",".join(items)},
    )


def _against_given(looks, counts, rules, colormap, lossy):
    """Compares with the colours that --colormap has."""
    if rules.tolerance:
        return
    known = {int(label_rules.pack(_array(color))) for color, _ in rules.colors}
    extra = [code for code, _ in counts.most_common() if code not in known]
    if not extra:
        return
    if lossy or len(extra) > len(known):
        yield _smeared_around(looks, counts, [color for color, _ in rules.colors])
        return
    listed = ", ".join(f"{_hex(c)} ({counts[c]:,} pixels)" for c in extra)
    yield findings.of(
        [look for look in looks if not look.mask.colors.keys() <= known],
        "colours without a class",
        f"--colormap={colormap} lacks {listed}. The flag ignores them; if one is a "
        "class, put its number there.",
        flags={"colormap": ",".join([colormap, *(f"{_hex(c)}:255" for c in extra)])},
    )


def _smeared(looks, counts, classes):
    """Finds what smeared colours come from: a data set's, or the most frequent."""
    colors = _tuples(counts)
    for name in datasets.list_datasets():
        spec = datasets.get(name)
        if classes is None or len(classes.names) != spec.num_classes:
            continue
        found = levels.fit(colors, list(map(tuple, spec.palette.tolist())))
        if found:
            return _mended(looks, counts, found, name)
    found = levels.find(colors, len(classes.names) if classes else None)
    if found is None:
        return findings.of(looks, "smeared colours", _too_many(counts))
    codes = sorted(int(label_rules.pack(_array(center))) for center in found.centers)
    return _mended(looks, counts, found, ",".join(map(_hex, codes)))


def _smeared_around(looks, counts, centers):
    found = levels.fit(_tuples(counts), centers)
    if found is None:
        return findings.of(looks, "smeared colours", _too_many(counts))
    return _mended(looks, counts, found, None)


def _mended(looks, counts, found, colormap):
    is_jpeg = any(look.mask.format == "jpeg" for look in looks)
    why = "JPEG smears them" if is_jpeg else "as if they had been resized or smoothed"
    flags: dict = {"mask_tolerance": found.tolerance}
    if colormap:
        flags["colormap"] = colormap
    return findings.of(
        looks,
        "JPEG masks" if is_jpeg else "smeared colours",
        f"The masks hold {len(counts)} colours or more, {why}. The flags "
        f"take a pixel to the colour that it is at most {found.tolerance} from, and "
        f"ignore {found.share_lost:.2%} of the pixels, which are near none. Better: "
        "export the masks again, as PNG.",
        flags=flags,
    )


def _too_many(counts):
    frequent = ", ".join(_hex(code) for code, _ in counts.most_common(8))
    return (
        f"There are {len(counts)} colours or more, of no colour map that is known; "
        f"most frequent are {frequent}. Name theirs with --colormap=FILE, a line "
        "R G B NAME each, or give --classes."
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
