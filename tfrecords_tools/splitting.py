"""Which picture goes into which split: by pattern, by list files, or by chance."""

import hashlib
import pathlib

from tfrecords_tools import matching, pairs


def deal(keys, own, seed: int) -> dict[str, list[matching.Key]]:
    """Deals pictures to splits.

    Args:
        keys: (split, name) of each, see `matching`.
        own: The `OwnData`.
        seed: Another one draws other pictures for val.

    Returns:
        Sorted keys by split; with lists, a picture may be in several or in none.

    Raises:
        ValueError: The fraction is no share, or a list names what is not there.
        FileNotFoundError: A list is missing.
    """
    keys = sorted(keys)
    if any(split for split, _ in keys):
        splits = sorted({split for split, _ in keys})
        return {split: [key for key in keys if key[0] == split] for split in splits}
    if own.lists:
        return {
            pathlib.Path(path).stem: _listed(path, keys)
            for path in own.lists.split(",")
        }
    return _drawn(keys, own.val_fraction, seed)


def _drawn(keys, fraction, seed):
    """The pictures with the smallest hashes are val, so that new ones move few."""
    if not 0 <= fraction < 1:
        raise ValueError(
            f"--val_fraction is a share of the pictures, from 0 to 1, got {fraction}"
        )
    if not fraction or len(keys) < 2:
        return {"train": keys}
    count = min(max(1, round(fraction * len(keys))), len(keys) - 1)
    chosen = set(sorted(keys, key=lambda key: _hash(seed, key[1]))[:count])
    train = [key for key in keys if key not in chosen]
    return {"train": train, "val": sorted(chosen)}


def _hash(seed, name):
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _listed(path, keys):
    known = {name: (split, name) for split, name in keys}
    by_end: dict[str, list] = {}
    for key in keys:
        by_end.setdefault(key[1].rsplit("/", 1)[-1], []).append(key)
    found, missing = [], []
    for line in pairs.read_list(pathlib.Path(path)):
        key = _look_up(line, known, by_end) or _look_up(line.split()[0], known, by_end)
        if key:
            found.append(key)
        else:
            missing.append(line)
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise ValueError(
            f"{path} lists {len(missing)} names that no picture has: "
            f"{', '.join(missing[:10])}{more}. Correct or remove the lines; names of "
            f"pictures look like {', '.join(name for _, name in keys[:3])}"
        )
    return sorted(set(found))


def _look_up(line, known, by_end):
    stem = pathlib.PurePosixPath(line)
    if stem.suffix.lower() in matching.PICTURES:
        stem = stem.with_suffix("")
    same_end = by_end.get(stem.name, [])
    return known.get(str(stem)) or (same_end[0] if len(same_end) == 1 else None)


def read_left_out(path: str | None) -> set[str]:
    """Reads --leave_out: a NAME or SPLIT:NAME a line; what follows " #" says why.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not path:
        return set()
    lines = pathlib.Path(path).read_text("utf-8").splitlines()
    stripped = [line.split(" #")[0].strip() for line in lines]
    return {line for line in stripped if line and line[0] != "#"}


def is_left_out(left_out: set[str], split: str, name: str) -> bool:
    """Tells whether --leave_out names a picture of a split."""
    return name in left_out or f"{split}:{name}" in left_out
