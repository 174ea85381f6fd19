"""One picture twice: in several splits it is a leak."""

import collections
import dataclasses
import itertools

import numpy as np

from tfrecords_tools.doctor import findings

_NEAR = 4.0  # Of 255: thumbnails differ by 1 to 3 where a picture was saved anew.
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
    listed = [" = ".join(look.name for look in group) for group in groups[:3]]
    more = f" and {len(groups) - 3} more" if len(groups) > 3 else ""
    return f"{'; '.join(listed)}{more}"


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
    """Yields pairs whose thumbnails differ by `_NEAR` at most in every value.

    Thumbnails lie in cells by the mean of their quarters, so that only those of
    neighbouring cells need to be compared.
    """
    if not looks:
        return
    thumbnails = np.stack([look.thumbnail for look in looks]).astype(np.float32)
    quarters = thumbnails.reshape(-1, 2, 4, 2, 4, 3).mean(axis=(2, 4, 5)).reshape(-1, 4)
    cells = np.floor(quarters / _NEAR).astype(int)
    members: dict[tuple, list[int]] = collections.defaultdict(list)
    for i, cell in enumerate(map(tuple, cells.tolist())):
        for step in itertools.product((-1, 0, 1), repeat=4):
            near = members.get(tuple(map(sum, zip(cell, step, strict=True))), ())
            for j in near:
                if np.abs(thumbnails[i] - thumbnails[j]).max() <= _NEAR:
                    yield j, i
        members[cell].append(i)
