"""Images that occur twice. In several splits, they are data leakage."""

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from tfrecords_tools.converters import source_files
from tfrecords_tools.doctor import findings, scanning

# The thumbnails of images of CamVid that are saved again, smaller or as JPEG, differ by
# at most 3 of 255, and their details have a correlation of 0.999. For other images, the
# values are 54 and 0.31.
_MAX_DIFFERENCE = 4.0
_MIN_CORRELATION = 0.9
_PRIORITY = {"val": 1, "test": 2}  # The split that keeps an image: one for evaluation.


def examine(scans: Sequence[scanning.Scan]) -> Iterator[findings.Finding]:
    """Yields images that are in several splits, or several times in one."""
    similar = _groups(scans, itertools.chain(_equal(scans), _near(scans)))
    leaks = [group for group in similar if len({scan.split for scan in group}) > 1]
    leaked = {scan.name for group in leaks for scan in group}
    equal = _groups(scans, _equal(scans))
    duplicates = [
        group for group in equal if len(group) > 1 and group[0].name not in leaked
    ]
    if leaks:
        removed = [scan for group in leaks for scan in _removed(group)]
        same = sum(len({scan.content for scan in group}) == 1 for group in leaks)
        near = len(leaks) - same
        also = f", {near} of them nearly identical" if near else ""
        leak = findings.of_images(
            [scan for group in leaks for scan in group],
            "leaks",
            f"Images that are in several splits: {len(leaks)}{also}: "
            f"{_describe(leaks)}. Scores would be too high. The images are kept in the "
            "split for evaluation, and left out of the others.",
            leave_out=tuple(scan.name for scan in removed),
        )
        yield dataclasses.replace(leak, examples=leak.examples[:2])
    if duplicates:
        yield findings.of_images(
            [scan for group in duplicates for scan in group],
            "duplicates",
            f"Images that are several times in one split: {len(duplicates)}: "
            f"{_describe(duplicates)}. Each copy counts.",
            is_note=True,
        )


def _describe(groups):
    def join(group):
        return " = ".join(scan.name for scan in group)

    return source_files.shorten(groups, 3, separator="; ", format_item=join)


def _removed(group):
    kept = max(
        (scan.split for scan in group), key=lambda split: _PRIORITY.get(split, 0)
    )
    return [scan for scan in group if scan.split != kept]


def _groups(scans, links):
    """Groups scans that are linked; `links` yields pairs of indices."""
    leader = list(range(len(scans)))

    def find(i):
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    for i, j in links:
        leader[find(i)] = find(j)
    groups = collections.defaultdict(list)
    for i, scan in enumerate(scans):
        groups[find(i)].append(scan)
    return list(groups.values())


def _equal(scans):
    first: dict[bytes, int] = {}
    for i, scan in enumerate(scans):
        yield first.setdefault(scan.content, i), i


def _near(scans):
    """Yields similar images of different splits, such as one that was saved again.

    Thumbnails are sorted into cells by the means of their quarters, so that only those
    of neighboring cells need to be compared.
    """
    if len({scan.split for scan in scans}) < 2:
        return
    thumbnails = np.stack([scan.thumbnail for scan in scans]).astype(np.int16)
    details = np.stack([scan.detail for scan in scans]).astype(np.float32)
    details /= np.maximum(np.linalg.norm(details, axis=1, keepdims=True), 1e-9)
    members = _cells(thumbnails)
    for cell, own in members.items():
        near = [members[cell + step] for step in _STEPS if cell + step in members]
        others = np.concatenate([own, *near])
        for start in range(0, len(own), _BLOCK):
            block = own[start : start + _BLOCK]
            rows, columns = np.nonzero(
                details[block] @ details[others].T >= _MIN_CORRELATION
            )
            for i, j in zip(
                block[rows].tolist(), others[columns].tolist(), strict=True
            ):
                far = np.abs(thumbnails[i] - thumbnails[j]).max()
                if far <= _MAX_DIFFERENCE and scans[i].split != scans[j].split:
                    yield i, j


def _cells(thumbnails):
    """Returns the indices of the thumbnails in each cell, by the number of the cell."""
    quarters = thumbnails.reshape(-1, 2, 4, 2, 4, 3).mean(axis=(2, 4, 5)).reshape(-1, 4)
    keys = np.floor(quarters / _MAX_DIFFERENCE).astype(int) @ _BASE
    order = np.argsort(keys, kind="stable")
    found, starts = np.unique(keys[order], return_index=True)
    return dict(zip(found.tolist(), np.split(order, starts[1:]), strict=True))


_BLOCK = 512  # Images compared at once.
_BASE = 100 ** np.arange(4)  # More than there are cells in one direction.
_STEPS = [  # To half of the neighboring cells; the other half has this one as theirs.
    step
    for step in (
        np.array(list(itertools.product((-1, 0, 1), repeat=4))) @ _BASE
    ).tolist()
    if step > 0
]
