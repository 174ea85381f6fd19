"""Sizes and rotations: whether a mask fits its image, upright or as stored."""

import collections
from collections.abc import Iterator, Sequence

from tfrecords_tools.doctor import findings, scanning
from tfrecords_tools.writing import label_rules


def exif(
    scans: Sequence[scanning.Scan], *, is_given: bool
) -> Iterator[findings.Finding]:
    """Yields rotated images.

    Args:
        scans: Pairs that can be read.
        is_given: Whether an option for them is already given.
    """
    rotated = [scan for scan in scans if scan.orientation != 1]
    if not rotated or is_given:
        return
    upright = [scan for scan in rotated if _fits_upright(scan)]
    stored = [scan for scan in rotated if not _fits_upright(scan)]
    if upright and stored:
        yield findings.of_images(
            rotated,
            "EXIF rotation",
            f"Masks that fit the upright image: {len(upright)}, the image as stored: "
            f"{len(stored)}, but options apply to all. Save the images upright, "
            "without EXIF.",
            leave_out=tuple(scan.name for scan in min(upright, stored, key=len)),
        )
        return
    how = "upright" if upright else "as stored"
    unclear = [scan for scan in rotated if _sizes_are_equal(scan)]
    evidence = ""
    if unclear:
        strengths = (
            sum(scan.edges[0] for scan in unclear),
            sum(scan.edges[1] for scan in unclear),
        )
        high, low = max(strengths), max(min(strengths), 1e-9)
        evidence = (
            f" For {len(unclear)} of them, the size fits both ways, but {how} the "
            f"edges at the borders of the mask are {high / low:.1f} times as strong."
        )
    yield findings.of_images(
        rotated,
        "EXIF rotation",
        f"Images that are rotated according to EXIF: {len(rotated)}. Their masks fit "
        f"them {how}.{evidence} The option stores them {how}.",
        options={"apply_exif": True} if upright else {"ignore_exif": True},
    )


def kinds(scans: Sequence[scanning.Scan]) -> Iterator[findings.Finding]:
    """Yields images other than 8-bit RGB, and those that differ from the others."""
    by_kind = collections.defaultdict(list)
    for scan in scans:
        by_kind[str(scan.kind)].append(scan)
    counts = {text: len(listed) for text, listed in by_kind.items()}
    if len(by_kind) > 1:
        most = max(counts, key=lambda text: counts[text])
        others = [scan for scan in scans if str(scan.kind) != most]
        listed = ", ".join(f"{text}: {count}" for text, count in counts.items())
        yield findings.of_images(
            others,
            "images of different channels or types",
            f"All images of a data set must have the same channels and type: {listed}. "
            "Convert the others or leave them out; or read all of them as 8-bit RGB "
            "with --channels=rgb.",
            leave_out=tuple(scan.name for scan in others),
        )
    elif by_kind and not scans[0].kind.is_rgb:
        deep = [scan.max_16_bit for scan in scans if scan.max_16_bit >= 0]
        bits = max(deep, default=0).bit_length()
        used = ""
        if deep and bits < 16:
            used = (
                f" Their values use {bits} of 16 bits, the largest is {max(deep)}: "
                "other programs may show them black. All bits are kept, and the "
                "network stretches the used range, which the records state."
            )
        yield findings.of_images(
            scans,
            "channels",
            f"Images with {scans[0].kind}: {len(scans)}.{used}",
            is_note=True,
        )


def depths(scans: Sequence[scanning.Scan]) -> Iterator[findings.Finding]:
    """Yields 16-bit images that are read as 8 bits and use few of the upper ones."""
    deep = [scan for scan in scans if scan.max_16_bit >= 0 and scan.kind.is_rgb]
    largest = max((scan.max_16_bit for scan in deep), default=0)
    if largest > _FEW_LEVELS:
        deep = [scan for scan in deep if scan.max_16_bit < _VERY_FEW_LEVELS]
        largest = max((scan.max_16_bit for scan in deep), default=0)
    if not deep:
        return
    bits = max(1, largest.bit_length())
    save = "with 8 bits per channel"
    if bits > 8:
        save += f", after dividing the values by {2 ** (bits - 8)}"
    yield findings.of_images(
        deep,
        "16-bit images that use few bits",
        f"Images of 16 bits per channel whose values use {bits} bits: {len(deep)}, the "
        f"largest value is {largest}. Of 16 bits the upper 8 are kept, so at most "
        f"{(largest >> 8) + 1} of 256 levels remain. Save them {save}.",
    )


_FEW_LEVELS = 2**15 - 1  # At most half of the values are used.
_VERY_FEW_LEVELS = 2**12  # At most 16 of 256 levels remain.


def _sizes_are_equal(scan):
    return scan.size == scan.upright_size


def _fits_upright(scan):
    if not _sizes_are_equal(scan):
        if scan.mask.size in (scan.size, scan.upright_size):
            return scan.mask.size == scan.upright_size
        return label_rules.same_aspect_ratio(scan.mask.size, scan.upright_size)
    return scan.edges[1] >= scan.edges[0]


def sizes(
    scans: Sequence[scanning.Scan], *, is_given: bool
) -> Iterator[findings.Finding]:
    """Yields masks whose size is not that of their image; see `exif`."""
    resized = [
        scan for scan in scans if scan.mask.size not in (scan.size, scan.upright_size)
    ]
    same_ratio = [scan for scan in resized if _has_aspect_ratio(scan)]
    others = [scan for scan in resized if not _has_aspect_ratio(scan)]
    if same_ratio and not is_given:
        yield findings.of_masks(
            same_ratio,
            "masks of another size",
            "Masks with the aspect ratio of their image, but another size: "
            f"{len(same_ratio)}, such as {_sizes(same_ratio[0])}. The option resizes "
            "them to the size of the image, with nearest neighbor. Fine borders were "
            "lost when they were resized before. If you have the original masks, use "
            "those.",
            options={"resize_masks": True},
        )
    if others:
        yield findings.of_masks(
            others,
            "masks of another aspect ratio",
            f"Masks that cannot belong to their image: {len(others)}, such as "
            f"{_sizes(others[0])}.",
            leave_out=tuple(scan.name for scan in others),
        )


def _has_aspect_ratio(scan):
    return label_rules.same_aspect_ratio(
        scan.mask.size, scan.size
    ) or label_rules.same_aspect_ratio(scan.mask.size, scan.upright_size)


def _sizes(scan):
    height, width = scan.mask.size
    return f"{width} x {height} for {scan.upright_size[1]} x {scan.upright_size[0]}"
