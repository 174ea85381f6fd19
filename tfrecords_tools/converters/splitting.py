"""Which picture goes into which split: by pattern, by list files, or by chance."""

import hashlib
import pathlib

from kerasseg import errors
from tfrecords_tools import texts
from tfrecords_tools.converters import matching, pairs


def deal(keys, own, seed: int) -> dict[str, list[matching.Key]]:
    """Deals pictures to splits.

    Args:
        keys: (split, name) of each, see `matching`.
        own: The `OwnData`.
        seed: Another one draws other pictures for val.

    Returns:
        Sorted keys by split; with lists, a picture may be in several or in none.

    Raises:
        ValueError: The fraction is no share, a list names what is not there, or two
            lists have one name.
        FileNotFoundError: A list is missing.
    """
    keys = sorted(keys)
    if any(split for split, _ in keys):
        splits = sorted({split for split, _ in keys})
        return {split: [key for key in keys if key[0] == split] for split in splits}
    if own.lists:
        return _of_lists(own.lists.split(","), keys)
    return _drawn(keys, own.val_fraction, seed)


def _of_lists(paths, keys):
    found: dict[str, list[matching.Key]] = {}
    for path in paths:
        split = pathlib.Path(path).stem
        if split in found:
            raise errors.UserError(
                f"`lists={','.join(paths)}` has two files called {split}, and each "
                "file is a split of its name. Put them together, or rename one"
            )
        found[split] = _listed(path, keys)
    return found


def _drawn(keys, fraction, seed):
    """The pictures with the smallest hashes are val, so that new ones move few."""
    if not 0 <= fraction < 1:
        raise errors.UserError(
            f"`val_fraction` is a share of the pictures, from 0 to 1, got {fraction}"
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
        raise errors.UserError(
            f"{path} lists {len(missing)} names that no picture has: "
            f"{texts.some(missing)}. Correct or remove the lines; names of "
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
    """Reads --leave_out: a NAME or SPLIT:NAME a line; what follows " # " says why.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no UTF-8.
    """
    if not path:
        return set()
    if not pathlib.Path(path).is_file():
        raise errors.MissingFileError(
            f"`leave_out={path}` is no file. Correct the path, or leave the flag out"
        )
    lines = texts.read_lines(pathlib.Path(path))
    return {line.rsplit(" # ", 1)[0].strip() for line in lines if line[0] != "#"}


def is_left_out(left_out: set[str], split: str, name: str) -> bool:
    """Tells whether --leave_out names a picture of a split."""
    return name in left_out or f"{split}:{name}" in left_out
