"""Reads every pair of own images, and collects the findings."""

import dataclasses
from collections import Counter

from kerasseg.images import RGB, ImageKind
from kerasseg.system import progress
from tfrecords_tools.converters import folder, own_data, pairs
from tfrecords_tools.doctor import (
    colors,
    duplicates,
    findings,
    images,
    limited,
    mapped,
    names,
    numbers,
    scanning,
)
from tfrecords_tools.doctor.findings import Finding
from tfrecords_tools.writing import label_options, label_rules


@dataclasses.dataclass(frozen=True)
class Examination:
    """The result of the doctor.

    Attributes:
        num_pairs: Number of pairs of each split.
        kinds: Number of masks of each kind, such as "palette PNG".
        findings: The findings; those that need nothing to be done are last.
        own: The own images, with options that fix names and classes.
        options: How they are read, with options that fix the findings.
        leave_out: Lines for the file of `leave_out`.
        pairs: The pairs that were read, by split and name.
        num_unlabeled: Number of images without a label, which are built so.
        image_kind: Channels and type of most images.
        numbers: Class numbers of the masks that are read by value, sorted, with those
            that the options ignore.
    """

    num_pairs: dict[str, int]
    kinds: dict[str, int]
    findings: tuple[Finding, ...]
    own: own_data.OwnData
    options: label_options.LabelOptions
    leave_out: tuple[str, ...]
    pairs: dict[tuple[str, str], pairs.Pair]
    num_unlabeled: int = 0
    image_kind: ImageKind = RGB
    numbers: tuple[int, ...] = ()

    @property
    def problems(self) -> list[Finding]:
        """Findings that need options, or corrected files."""
        return [finding for finding in self.findings if not finding.is_note]

    @property
    def is_fixable(self) -> bool:
        """Whether options fix all problems."""
        return all(finding.is_fixable for finding in self.findings)


def examine(
    source: pairs.Source, options: label_options.LabelOptions, max_pixels: int
) -> Examination:
    """Reads all images and masks, also images without a mask if these are built.

    Args:
        source: Own images.
        options: Options that are already given.
        max_pixels: Images with more pixels are not decoded.

    Raises:
        errors.UserError: The options do not fit the files.
        errors.MissingFileError: There is no image or no mask.
    """
    own = source.own or own_data.OwnData()
    found = folder.find(source)
    listed = list(names.examine(found, own))
    renamed = [
        finding for finding in listed if {"images", "masks"} & {*finding.options}
    ]
    if renamed:  # With the other patterns, masks have images.
        own = dataclasses.replace(own, **renamed[0].options)
        source = dataclasses.replace(source, own=own)
        found = folder.find(source)
        listed = [*renamed, *names.examine(found, own)]
    scans, failed = _scan_all(found, source, max_pixels, options.channels)
    listed += _unreadable([*failed, *(scan for scan in scans if scan.fault)])
    scans = [scan for scan in scans if not scan.fault]
    labeled = [scan for scan in scans if not scan.pair.is_unlabeled]
    listed += _diagnose(labeled, own.classes or found.classes, options)
    listed += duplicates.examine(scans)
    proposed = _combine(listed, options)
    options = dataclasses.replace(options, **proposed)
    listed += mapped.examine(labeled, options.read().rules.labels, proposed)
    if not scans and all(each.is_note for each in listed):
        listed.append(Finding("no pairs", "No image is left that has a mask."))
    listed = [_keep_most(each, len(found.match.images)) for each in listed]
    return Examination(
        num_pairs={
            split: sum(scan.split == split for scan in labeled)
            for split in found.splits
        },
        kinds=_kinds(labeled),
        findings=tuple(sorted(listed, key=lambda finding: finding.is_note)),
        own=options.add_classes(own),
        options=options,
        leave_out=tuple(
            dict.fromkeys(line for each in listed for line in each.leave_out)
        ),
        pairs={(scan.split, scan.pair.name): scan.pair for scan in labeled},
        num_unlabeled=len(scans) - len(labeled),
        image_kind=_most_frequent(scan.kind for scan in scans),
        numbers=_numbers(labeled, options.read().rules.labels),
    )


def _most_frequent(kinds):
    """Returns the most frequent kind of image; 8-bit RGB if there is none."""
    return next((kind for kind, _ in Counter(kinds).most_common(1)), RGB)


def _keep_most(finding, num_images):
    """Removes a proposal to leave out more than half of the images."""
    if len(finding.leave_out) * 2 <= num_images:
        return finding
    return dataclasses.replace(finding, leave_out=())


def _scan_all(found, source, max_pixels, channels):
    """Returns the scans, and scans with a fault for pairs that cannot be made."""
    to_scan, failed = [], []
    for split, keys in found.splits.items():
        for key in keys:
            is_kept = found.keeps_unlabeled or key in found.match.masks
            if found.is_left_out(split, key) or not is_kept:
                continue
            try:
                to_scan.append((split, folder.make_pair(found, source, key)))
            except ValueError as error:
                path = found.match.masks[key]  # Only labels have faults.
                pair = pairs.Pair(key[1], found.match.images[key], path)
                failed.append(scanning.Scan(split, pair, fault=str(error)))

    scans = []
    to_call = ((*item, max_pixels, channels) for item in to_scan)
    outcomes = limited.call_all(scanning.scan, to_call, max_pixels)
    with progress.track(len(to_scan), unit="image", text="reading") as bar:
        for item, outcome in zip(to_scan, outcomes, strict=True):
            bar.update()
            fault = f"{item[1].image}: {outcome.fault}"
            scans.append(outcome.value or scanning.Scan(*item, fault=fault))
    return scans, failed


def _diagnose(scans, classes, options):
    """Yields findings about the scans."""
    rules = options.read().rules.labels
    kinds = {
        kind: [scan for scan in scans if scan.mask.kind == kind] for kind in _KINDS
    }
    palettes, by_color = kinds[scanning.PALETTE], kinds[scanning.COLORS]
    if palettes and not rules.palette_colors:
        if colors.palettes_differ(palettes):
            yield findings.of_masks(
                palettes,
                "palettes that differ",
                "In the palettes of these masks, one value has several colors, so "
                "values are not class numbers. The option reads the colors instead.",
                options={"palette_colors": True},
            )
            by_color = [*by_color, *palettes]
            palettes = []
        else:
            yield findings.of_masks(
                palettes,
                "palettes",
                "These masks have a palette. Their values are read as class numbers, "
                "whatever the colors are.",
                is_note=True,
            )
    elif palettes:
        by_color, palettes = [*by_color, *palettes], []
    yield from images.exif(scans, is_given=options.apply_exif or options.ignore_exif)
    yield from images.kinds(scans)
    yield from images.depths(scans)
    yield from images.sizes(scans, is_given=options.resize_masks)
    num_classes = len(classes.names) if classes else None
    yield from numbers.examine([*kinds[scanning.GRAY], *palettes], num_classes, rules)
    yield from colors.examine(
        by_color, classes, rules, colormap=options.colormap, names=options.classes
    )


_KINDS = (scanning.GRAY, scanning.PALETTE, scanning.COLORS, scanning.DRAWN)


def _numbers(scans, rules):
    values = {value for scan in scans for value in scan.mask.numbers}
    table = label_rules.number_table(rules)
    return tuple(sorted({int(table[value]) for value in values}))


def _kinds(scans):
    kinds: dict[str, int] = {}
    for scan in scans:
        text = f"{scan.mask.kind} {scan.mask.format.upper()}".strip()
        kinds[text] = kinds.get(text, 0) + 1
    return kinds


def _combine(listed, options):
    """Combines the options of all findings; `label_map` is extended."""
    combined: dict = {}
    for finding in listed:
        for name, value in finding.options.items():
            if name == "label_map":
                value = ",".join(filter(None, [options.label_map, value]))
            if name in _NAMES and name not in combined:
                combined[name] = value
    return combined


_NAMES = {field.name for field in dataclasses.fields(label_options.LabelOptions)}


def _unreadable(scans):
    if scans:
        yield findings.Finding(
            "files that cannot be read",
            f"Pairs that cannot be read: {len(scans)}, for example: "
            f"{scans[0].fault.rstrip('.')}.",
            files=tuple(map(_faulty_file, scans)),
            leave_out=tuple(scan.name for scan in scans),
        )


def _faulty_file(scan):
    return scan.pair.image if scan.pair.image in scan.fault else scan.pair.label
