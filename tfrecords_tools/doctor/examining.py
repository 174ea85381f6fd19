"""The data doctor: what is wrong with own pictures and masks, and which flags help.

`looking` says what a pair shows; `names`, `numbers`, `colors`, `pictures` and
`duplicates` what that means; `describing` puts it into words, `sheet` into a picture.
Nothing is changed: the flags that are printed are for the build.
"""

import dataclasses
from concurrent import futures

from kerasseg.system import progress
from tfrecords_tools.cli import label_flags
from tfrecords_tools.converters import folder, own_data, pairs
from tfrecords_tools.doctor import (
    afterwards,
    colors,
    duplicates,
    findings,
    images,
    names,
    numbers,
    scanning,
)

_CHUNK = 64  # Pairs looked at ahead, so that memory stays small.


@dataclasses.dataclass(frozen=True)
class Examination:
    """What the doctor found.

    Attributes:
        num_pairs: Pairs of each split.
        kinds: Masks of each kind, such as "palette PNG".
        found: What was found, in the order in which to read it.
        own: Where the pictures are, with what settles names and classes.
        reading: How they are read, with the flags that settle the findings.
        leave_out: Lines for --leave_out.
        pairs: The pair of each (split, name) that was looked at.
    """

    num_pairs: dict[str, int]
    kinds: dict[str, int]
    found: tuple[findings.Finding, ...]
    own: own_data.OwnData
    reading: label_flags.LabelFlags
    leave_out: tuple[str, ...]
    pairs: dict[tuple[str, str], pairs.Pair]

    @property
    def to_settle(self) -> list[findings.Finding]:
        """Findings that need flags, or a hand."""
        return [finding for finding in self.found if not finding.is_note]


def examine(
    source: pairs.Source, reading: label_flags.LabelFlags, max_pixels: int
) -> Examination:
    """Looks at every picture and every mask.

    Args:
        source: Own pictures.
        reading: What flags say already.
        max_pixels: Larger pictures are not decoded.

    Raises:
        ValueError: Flags that do not fit what is there.
        FileNotFoundError: No picture or no mask is there.
    """
    own = source.own or own_data.OwnData()
    found = folder.find(source)
    listed = list(names.examine(found, own))
    settled = [finding for finding in listed if "masks" in finding.flags]
    if settled:  # With the other pattern, masks have pictures that can be looked at.
        own = dataclasses.replace(own, **settled[0].flags)
        source = dataclasses.replace(source, own=own)
        found = folder.find(source)
        listed = [*settled, *names.examine(found, own)]
    looks, refused = _look_at_all(found, source, max_pixels)
    listed += _faults([*refused, *(look for look in looks if look.fault)])
    looks = [look for look in looks if not look.fault]
    listed += _diagnose(looks, own.classes or found.classes, reading)
    flags = _combined(listed, reading)
    reading = dataclasses.replace(reading, **flags)
    listed += afterwards.examine(looks, reading.read().rules.labels, flags)
    listed = [_without_most(each, len(found.match.pictures)) for each in listed]
    return Examination(
        num_pairs={
            split: sum(look.split == split for look in looks) for split in found.splits
        },
        kinds=_kinds(looks),
        found=tuple(sorted(listed, key=lambda finding: finding.is_note)),
        own=label_flags.with_classes(own, reading),
        reading=reading,
        leave_out=tuple(
            dict.fromkeys(line for each in listed for line in each.leave_out)
        ),
        pairs={(look.split, look.pair.name): look.pair for look in looks},
    )


def _without_most(finding, num_pictures):
    """Takes back leaving out, where it would leave out most of the pictures."""
    if len(finding.leave_out) * 2 <= num_pictures:
        return finding
    return dataclasses.replace(finding, leave_out=())


def _look_at_all(found, source, max_pixels):
    """Returns looks, and looks at pairs that cannot be made."""
    wanted, refused = [], []
    for split, keys in found.splits.items():
        for key in keys:
            if found.is_left_out(split, key) or key not in found.match.masks:
                continue
            try:
                wanted.append((split, folder.make_pair(found, source, key)))
            except ValueError as error:
                path = found.match.masks[key]
                pair = pairs.Pair(key[1], found.match.pictures[key], path)
                refused.append(scanning.Look(split, pair, fault=str(error)))

    def see(item):
        split, pair = item
        return scanning.look(split, pair, max_pixels)

    looks = []
    with (
        futures.ThreadPoolExecutor() as pool,
        progress.track(len(wanted), unit="picture", text="looking") as bar,
    ):
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            for look in pool.map(see, chunk):
                bar.update()
                looks.append(look)
    return looks, refused


def _diagnose(looks, classes, reading):
    """Yields what the looks at pairs mean."""
    rules = reading.read().rules.labels
    kinds = {
        kind: [look for look in looks if look.mask.kind == kind] for kind in _KINDS
    }
    palettes, by_color = kinds["palette"], kinds[scanning.COLORS]
    if palettes and not rules.palette_colors:
        if colors.inconsistent_palettes(palettes):
            yield findings.of(
                palettes,
                "palettes that differ",
                "In the palettes of these masks one number has several colours, so "
                "that it means nothing. The flag reads the colours instead.",
                flags={"palette_colors": True},
            )
            by_color = [*by_color, *palettes]
            palettes = []
        else:
            yield findings.of(
                palettes,
                "palettes",
                "These masks have a palette. The numbers of its entries are read as "
                "class numbers, whatever their colours are.",
                is_note=True,
            )
    elif palettes:
        by_color, palettes = [*by_color, *palettes], []
    yield from images.exif(looks, is_given=reading.apply_exif or reading.ignore_exif)
    yield from images.sizes(looks, is_given=reading.resize_masks)
    num_classes = len(classes.names) if classes else None
    yield from numbers.examine([*kinds["grey"], *palettes], num_classes, rules)
    yield from colors.examine(by_color, classes, rules, reading.colormap)
    yield from duplicates.examine(looks)


_KINDS = ("grey", "palette", "colors", "drawn")


def _kinds(looks):
    kinds: dict[str, int] = {}
    for look in looks:
        text = f"{look.mask.kind} {look.mask.format.upper()}".strip()
        kinds[text] = kinds.get(text, 0) + 1
    return kinds


def _combined(listed, reading):
    """Puts the flags of all findings together; lists grow by commas."""
    flags: dict = {}
    for finding in listed:
        for name, value in finding.flags.items():
            if name == "label_map":
                value = ",".join(filter(None, [reading.label_map, value]))
            if name in _READING and name not in flags:
                flags[name] = value
    return flags


_READING = {field.name for field in dataclasses.fields(label_flags.LabelFlags)}


def _faults(looks):
    if looks:
        yield findings.Finding(
            "files that cannot be read",
            f"Pairs that cannot be read: {len(looks)}, such as this: {looks[0].fault}.",
            files=tuple(map(_blamed, looks)),
            leave_out=tuple(look.name for look in looks),
        )


def _blamed(look):
    return look.pair.image if look.pair.image in look.fault else look.pair.label
