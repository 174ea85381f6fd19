"""One picture twice: in several splits it is a leak."""

import collections
import dataclasses
import itertools

import numpy as np

from tfrecords_tools import texts
from tfrecords_tools.doctor import findings

# Saved anew, smaller or as JPEG, pictures of CamVid have thumbnails that differ by 3 of
# 255 at most, and a correlation of details of 0.999; others of 54 and 0.31.
_NEAR = 4.0
_ALIKE = 0.9
_LAST = {"val": 1, "test": 2}  # Who keeps a picture: those that are scored.


def examine(looks):
    """Yields pictures that are in several splits, or several times in one."""
    alike = _groups(looks, itertools.chain(_equal(looks), _near(looks)))
    leaks = [group for group in alike if len({look.split for look in group}) > 1]
    leaked = {look.name for group in leaks for look in group}
    equal = _groups(looks, _equal(looks))
    doubles = [
        group for group in equal if len(group) > 1 and group[0].name not in leaked
    ]
    if leaks:
        removed = [look for group in leaks for look in _removed(group)]
        same = sum(len({look.content for look in group}) == 1 for group in leaks)
        near = len(leaks) - same
        also = f", {near} of them nearly equal" if near else ""
        leak = findings.of_pictures(
            [look for group in leaks for look in group],
            "leaks",
            f"Pictures that are in several splits: {len(leaks)}{also}; "
            f"{_described(leaks)}. Scores would be too good. They stay in the split "
            "that is scored, and are left out of the others.",
            leave_out=tuple(look.name for look in removed),
        )
        yield dataclasses.replace(leak, examples=leak.examples[:2])
    if doubles:
        yield findings.of_pictures(
            [look for group in doubles for look in group],
            "doubles",
            f"Pictures that are several times in one split: {len(doubles)}; "
            f"{_described(doubles)}. They count so many times.",
            is_note=True,
        )


def _described(groups):
    def say(group):
        return " = ".join(look.name for look in group)

    return texts.some(groups, 3, separator="; ", say=say)


def _removed(group):
    kept = max((look.split for look in group), key=lambda split: _LAST.get(split, 0))
    return [look for look in group if look.split != kept]


def _groups(looks, alike):
    """Puts looks together of which `alike` yields the numbers, two by two."""
    leader = list(range(len(looks)))

    def find(i):
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    for i, j in alike:
        leader[find(i)] = find(j)
    groups = collections.defaultdict(list)
    for i, look in enumerate(looks):
        groups[find(i)].append(look)
    return list(groups.values())


def _equal(looks):
    first: dict[bytes, int] = {}
    for i, look in enumerate(looks):
        yield first.setdefault(look.content, i), i


def _near(looks):
    """Yields pairs of different splits that look alike, saved anew or moments apart.

    Thumbnails lie in cells by the mean of their quarters, so that only those of
    neighbouring cells need to be compared.
    """
    if len({look.split for look in looks}) < 2:
        return
    thumbnails = np.stack([look.thumbnail for look in looks]).astype(np.int16)
    details = np.stack([look.detail for look in looks]).astype(np.float32)
    details /= np.maximum(np.linalg.norm(details, axis=1, keepdims=True), 1e-9)
    members = _cells(thumbnails)
    for cell, own in members.items():
        near = [members[cell + step] for step in _STEPS if cell + step in members]
        others = np.concatenate([own, *near])
        for start in range(0, len(own), _BLOCK):
            block = own[start : start + _BLOCK]
            rows, columns = np.nonzero(details[block] @ details[others].T >= _ALIKE)
            for i, j in zip(
                block[rows].tolist(), others[columns].tolist(), strict=True
            ):
                far = np.abs(thumbnails[i] - thumbnails[j]).max()
                if far <= _NEAR and looks[i].split != looks[j].split:
                    yield i, j


def _cells(thumbnails):
    """Numbers of the thumbnails in each cell; a cell is one number itself."""
    quarters = thumbnails.reshape(-1, 2, 4, 2, 4, 3).mean(axis=(2, 4, 5)).reshape(-1, 4)
    keys = np.floor(quarters / _NEAR).astype(int) @ _BASE
    order = np.argsort(keys, kind="stable")
    found, starts = np.unique(keys[order], return_index=True)
    return dict(zip(found.tolist(), np.split(order, starts[1:]), strict=True))


_BLOCK = 512  # Pictures compared at once.
_BASE = 100 ** np.arange(4)  # More than there are cells in one direction.
_STEPS = [  # To half of the neighbouring cells: the others see this one as theirs.
    step
    for step in (
        np.array(list(itertools.product((-1, 0, 1), repeat=4))) @ _BASE
    ).tolist()
    if step > 0
]
