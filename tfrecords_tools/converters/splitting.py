"""Assigns images to splits: by pattern, by list files, or at random."""

import hashlib
import pathlib
from collections.abc import Collection

from kerasseg import errors
from tfrecords_tools.converters import matching, own_data, source_files


def assign(
    keys: Collection[matching.Key], own: own_data.OwnData, seed: int
) -> dict[str, list[matching.Key]]:
    """Assigns images to splits.

    Args:
        keys: Split and name of each image, see `matching`.
        own: Options of the user's own images.
        seed: Random seed for the choice of val.

    Returns:
        Sorted keys by split. With list files, an image may be in several splits or in
        none.

    Raises:
        errors.UserError: The fraction is out of range, a list names an unknown image or
            is empty, or two lists have the same name.
        errors.MissingFileError: A list is missing.
    """
    keys = sorted(keys)
    if any(split for split, _ in keys):
        splits = sorted({split for split, _ in keys})
        return {split: [key for key in keys if key[0] == split] for split in splits}
    if own.lists:
        return _read_lists(own.lists.split(","), keys)
    return _choose(keys, own.val_fraction, seed)


def _read_lists(paths, keys):
    splits: dict[str, list[matching.Key]] = {}
    for path in paths:
        split = pathlib.Path(path).stem
        if split in splits:
            raise errors.UserError(
                f"`lists={','.join(paths)}` has two files called {split}, but each "
                "file is the split of that name. Merge them, or rename one."
            )
        splits[split] = _read_list(path, keys)
    return splits


def _choose(keys, fraction, seed):
    """Puts images with the smallest hashes into val, so that new ones move few."""
    if not 0 <= fraction < 1:
        raise errors.UserError(
            f"`val_fraction={fraction}` is out of range, expected at least 0 and less "
            "than 1. Give the fraction of the images that goes into val."
        )
    if not fraction or len(keys) < 2:
        return {"train": keys}
    count = min(max(1, round(fraction * len(keys))), len(keys) - 1)
    chosen = set(sorted(keys, key=lambda key: _hash(seed, key[1]))[:count])
    train = [key for key in keys if key not in chosen]
    return {"train": train, "val": sorted(chosen)}


def _hash(seed, name):
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _read_list(path, keys):
    known = {name: (split, name) for split, name in keys}
    by_end: dict[str, list] = {}
    for key in keys:
        by_end.setdefault(key[1].rsplit("/", 1)[-1], []).append(key)
    listed, missing = [], []
    for line in source_files.read_list(pathlib.Path(path)):
        key = _find(line, known, by_end) or _find(line.split()[0], known, by_end)
        if key:
            listed.append(key)
        else:
            missing.append(line)
    if missing:
        raise errors.UserError(
            f"{path} lists {len(missing)} names that no image has: "
            f"{source_files.shorten(missing)}. Correct or remove these lines. Names of "
            f"images look like {', '.join(name for _, name in keys[:3])}."
        )
    if not listed:
        raise errors.UserError(
            f"{path} is empty. List the names of images, one per line, or remove the "
            "file from `lists`."
        )
    return sorted(set(listed))


def _find(line, known, by_end):
    stem = pathlib.PurePosixPath(line)
    if stem.suffix.lower() in matching.IMAGE_SUFFIXES:
        stem = stem.with_suffix("")
    same_end = by_end.get(stem.name, [])
    return known.get(str(stem)) or (same_end[0] if len(same_end) == 1 else None)


def read_leave_out(path: str | None) -> set[str]:
    """Reads the file of the option `leave_out`.

    A line is NAME or SPLIT:NAME, perhaps with a comment after " # ".

    Raises:
        errors.MissingFileError: There is no such file.
        errors.UserError: It is empty, or not UTF-8.
    """
    if not path:
        return set()
    if not pathlib.Path(path).is_file():
        raise errors.MissingFileError(
            f"`leave_out={path}` is not a file. Correct the path, or omit the option."
        )
    lines = source_files.read_lines(path)
    if not lines:
        raise errors.UserError(
            f"`leave_out={path}` is an empty file. List the names of images, one per "
            "line, or omit the option."
        )
    return {line.rsplit(" # ", 1)[0].strip() for line in lines if line[0] != "#"}


def is_left_out(left_out: set[str], split: str, name: str) -> bool:
    """Returns whether an image of a split is to be left out."""
    return name in left_out or f"{split}:{name}" in left_out
