"""Odd values, and valid JSON with odd values in it."""

import copy

from hypothesis import strategies

HOSTILE = [
    *(float("inf"), -float("inf"), float("nan"), 1e12, -1e12, 1e308, 10**400, 2**31),
    *(2**63, -1, 0, 1.5, True, False, None, "", "7", " ", "\udce9", "a\nb", [], {}),
    *("../../etc/passwd", "/dev/zero", "x" * 300, [[]], [{}], {"size": [6, 8]}),
    *({"size": [6, 8], "counts": "o" * 99}, [[1e6] * 6], [2_000_000_000]),
]
LEAVES = strategies.sampled_from(HOSTILE) | strategies.one_of(
    strategies.integers(-20, 20),
    strategies.floats(-20, 20),
    strategies.text(max_size=8),
)
VALUES = strategies.recursive(
    LEAVES,
    lambda inner: (
        strategies.lists(inner, max_size=4)
        | strategies.dictionaries(strategies.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value, path=()):
    """Yields the path of every value in a JSON value."""
    yield path
    if isinstance(value, (list, dict)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


@strategies.composite
def changed(draw, content, most=3):
    """A copy of a JSON value in which up to `most` values are others or missing."""
    content = copy.deepcopy(content)
    for _ in range(draw(strategies.integers(1, most))):
        listed = [*places(content)][1:]
        if not listed:
            break
        *way, last = draw(strategies.sampled_from(listed))
        inner = content
        for key in way:
            inner = inner[key]
        if draw(strategies.integers(0, 4)) == 0:
            del inner[last]
        elif draw(strategies.integers(0, 6)) == 0 and isinstance(inner, list):
            inner.insert(last, copy.deepcopy(inner[last]))
        else:
            inner[last] = copy.deepcopy(draw(VALUES))
    return content


@strategies.composite
def damaged(draw, data, most=4):
    """A copy of bytes in which some differ, are missing, or are there twice."""
    data = bytearray(data)
    for _ in range(draw(strategies.integers(1, most))):
        place = draw(strategies.integers(0, max(0, len(data) - 1)))
        length = draw(strategies.integers(1, 9))
        kind = draw(strategies.integers(0, 3))
        if kind == 0:
            data[place : place + length] = draw(strategies.binary(max_size=length))
        elif kind == 1:
            del data[place : place + length]
        elif kind == 2:
            data[place:place] = data[place : place + length]
        elif draw(strategies.integers(0, 3)) == 0:
            del data[place:]
    return bytes(data)
