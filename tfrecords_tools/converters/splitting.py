"""Assigns images to splits: by pattern, by list files, or at random."""

import dataclasses
import hashlib
import pathlib
import unicodedata
from collections.abc import Collection
from typing import TypeVar

from kerasseg import errors
from kerasseg.system import names
from tfrecords_tools.converters import list_files, matching, own_data, source_files

_Shapes = TypeVar("_Shapes")


def assign(
    match: matching.Match, own: own_data.OwnData, seed: int
) -> dict[str, list[matching.Key]]:
    """Assigns images to splits.

    Args:
        match: Images and masks.
        own: Options of the user's own images.
        seed: Random seed for the choice of val.

    Returns:
        Sorted keys by split. With list files, an image may be in several splits or in
        none. Without them, images without a mask that `unlabeled` keeps are in train.

    Raises:
        errors.UserError: The fraction is out of range, a list cannot be read (see
            `list_files.read`), two lists have the same name, or there are lists though
            `{split}` in the patterns gives the splits.
        errors.MissingFileError: A list is missing.
    """
    keys = sorted(match.images)
    if any(split for split, _ in keys):
        if own.lists:
            raise errors.UserError(
                f"`lists={own.lists}` and {matching.SPLIT} in `images={own.images}` "
                "both give the splits. Omit `lists`, or use * in the patterns."
            )
        splits = sorted({split for split, _ in keys})
        return {split: [key for key in keys if key[0] == split] for split in splits}
    if own.lists:
        return _read_lists(own.lists, match)
    if not own.unlabeled:
        return choose(keys, own.val_fraction, seed)
    chosen = choose(match.paired, own.val_fraction, seed)
    train = sorted([*chosen["train"], *match.without_mask])
    return {**chosen, "train": train}


def _read_lists(lists, match):
    splits: dict[str, list[matching.Key]] = {}
    for path in source_files.split_commas(lists):
        split = pathlib.Path(path).stem
        if split in splits:
            raise errors.UserError(
                f"`lists={lists}` has two files called {split}, but each "
                "file is the split of that name. Merge them, or rename one."
            )
        splits[split] = list_files.read(path, match)
    return splits


def read_names(text: str) -> dict[str, str]:
    """Reads the option `rename_splits`, comma-separated FROM:TO.

    Raises:
        errors.UserError: It has another form.
    """
    table = {}
    for item in source_files.split_commas(text) if text else ():
        start, _, end = item.partition(":")
        if not start.strip() or not end.strip() or ":" in end or "/" in end:
            raise errors.UserError(
                f"`rename_splits` takes comma-separated FROM:TO, as in valid:val. Got "
                f"'{item}'."
            )
        table[start.strip()] = end.strip()
    return table


def rename(
    match: matching.Match, shapes: dict[matching.Key, _Shapes], text: str
) -> tuple[matching.Match, dict[matching.Key, _Shapes]]:
    """Renames splits, as the option `rename_splits` says.

    Args:
        match: Images and masks.
        shapes: Annotations of images.
        text: The option, comma-separated FROM:TO.

    Raises:
        errors.UserError: The option has another form, or two splits would have one
            name.
    """
    table = read_names(text)
    if not table:
        return match, shapes
    known = {split for split, _ in [*match.images, *match.masks]}
    new = [table.get(split, split) for split in known]
    if len(set(new)) < len(new):
        raise errors.UserError(
            f"`rename_splits={text}` would give two of the splits "
            f"{', '.join(sorted(known))} one name. Rename to other names."
        )

    def renamed(values):
        return {(table.get(s, s), name): value for (s, name), value in values.items()}

    changed = dataclasses.replace(
        match, images=renamed(match.images), masks=renamed(match.masks)
    )
    return changed, renamed(shapes)


def choose(
    keys: Collection[matching.Key], fraction: float, seed: int
) -> dict[str, list[matching.Key]]:
    """Puts images with the smallest hashes into val, so that new ones move few.

    Args:
        keys: Keys of the images.
        fraction: Fraction of the images that goes into val, from 0 to less than 1.
        seed: Random seed.

    Raises:
        errors.UserError: The fraction is out of range.
    """
    keys = sorted(keys)
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
    return hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest()


def read_leave_out(path: str | None) -> set[str]:
    """Reads the file of the option `leave_out`.

    A line is NAME or SPLIT:NAME, perhaps in the form of `as_line`, and perhaps with a
    comment after " # ".

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
    return {
        unicodedata.normalize("NFC", line.rsplit(" # ", 1)[0].strip())
        for line in lines
        if line[0] != "#"
    }


def is_left_out(left_out: set[str], split: str, name: str) -> bool:
    """Returns whether an image of a split is to be left out."""
    return not left_out.isdisjoint(lines_of(split, name))


def lines_of(split: str, name: str) -> set[str]:
    """Returns the lines of the file of `leave_out` that mean an image of a split."""
    plain = {name, f"{split}:{name}"}
    return plain | set(map(as_line, plain))


def as_line(name: str) -> str:
    r"""Returns a name as one line, which is not a comment, and is not changed by strip.

    Characters that cannot be printed, spaces at the ends and # at the start are
    escaped, as in `kerasseg.system.names.printable`; most names stay as they are.
    """
    text = names.printable(name)
    start = "#" if text.startswith("#") else " " * (len(text) - len(text.lstrip(" ")))
    middle = text[len(start) :]
    end = " " * (len(middle) - len(middle.rstrip(" ")))
    middle = middle[: len(middle) - len(end)]
    if not start and not end and names.one_line(name) == name:
        return name
    return (
        "".join(rf"\x{ord(each):02x}" for each in start) + middle + r"\x20" * len(end)
    )
