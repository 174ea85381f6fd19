"""Matches images with masks: what the wildcards of two patterns match is the name."""

import collections
import dataclasses
import glob
import os
import pathlib
import re
import unicodedata
from typing import NamedTuple

from kerasseg import errors, images
from kerasseg.system import patterns
from tfrecords_tools import annotations

IMAGE_SUFFIXES = images.SUFFIXES
SPLIT = "{split}"
_TOKEN = re.compile(r"(\{split\}|\*\*/?|\*|\?|\[[^]]+\])")

Key = tuple[str, str]  # Split ("" if the pattern has none) and name.


@dataclasses.dataclass(frozen=True)
class Match:
    """Images and masks by split and name.

    Attributes:
        images: Path of each image.
        masks: Path of each mask, or of another file that belongs to an image.
        duplicates: Paths with the key of one of the above, which are not listed there.
        passed_over: Paths that match a pattern, but have the ending of no image or
            annotation file, or are no regular files.
    """

    images: dict[Key, str]
    masks: dict[Key, str]
    duplicates: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()

    @property
    def paired(self) -> list[Key]:
        """Keys that have an image and a mask, sorted."""
        return sorted(self.images.keys() & self.masks.keys())

    @property
    def without_mask(self) -> list[Key]:
        """Keys of images without a mask, sorted."""
        return sorted(self.images.keys() - self.masks.keys())

    @property
    def without_image(self) -> list[Key]:
        """Keys of masks without an image, sorted."""
        return sorted(self.masks.keys() - self.images.keys())


def match(images: str, masks: str) -> Match:
    """Finds images and their masks.

    Args:
        images: A folder, or a pattern with `*`, `?`, `[...]`, `**` and `{split}`.
        masks: A folder or pattern, too. `{split}` is in both or in none.

    Raises:
        errors.MissingFileError: There is no image or no mask.
        errors.UserError: `{split}` is in one pattern only.
    """
    return find_both(images, masks, "masks")


def find_both(
    images: str, others: str, option: str, suffixes: tuple[str, ...] = IMAGE_SUFFIXES
) -> Match:
    """Finds images, and files that belong to images; see `match`.

    Args:
        images: Folder or pattern of the images.
        others: Folder or pattern of the other files.
        option: Name of the option that gives `others`, for error messages.
        suffixes: Suffixes of the other files.

    Returns:
        The images, and the other files as `masks`.
    """
    if (SPLIT in images) != (SPLIT in others):
        raise errors.UserError(
            f"{SPLIT} is in only one of `images={images}` and `{option}={others}`. "
            "Use it in both or in none."
        )
    found, other = find(images, "images"), find(others, option, suffixes)
    used = {*found.all, *other.all}
    passed_over = {*found.passed_over, *other.passed_over} - used
    return Match(
        found.paths,
        _pair_by_case(found.paths, other.paths),
        (*found.duplicates, *other.duplicates),
        tuple(sorted(passed_over)),
    )


def _pair_by_case(image_paths, paths):
    """Returns paths with the key of the image that differs in case only."""
    by_case = collections.defaultdict(list)
    for i, keys in enumerate((image_paths.keys() - paths, paths.keys() - image_paths)):
        for key in keys:
            by_case[tuple(text.casefold() for text in key)].append((i, key))
    names = {}
    for entries in by_case.values():
        if sorted(i for i, _ in entries) == [0, 1]:  # One image and one other file.
            (_, image), (_, other) = sorted(entries)
            names[other] = image
    return {names.get(key, key): path for key, path in paths.items()}


class Files(NamedTuple):
    """Files that a pattern finds.

    Attributes:
        paths: Paths by split and name.
        duplicates: Paths whose split and name another one has.
        passed_over: Paths with other endings, or of no regular file.
    """

    paths: dict[Key, str]
    duplicates: list[str]
    passed_over: list[str]

    @property
    def all(self) -> list[str]:
        """Paths that are not passed over."""
        return [*self.paths.values(), *self.duplicates]


def find(
    pattern: str, option: str, suffixes: tuple[str, ...] = IMAGE_SUFFIXES
) -> Files:
    """Finds files by split and name. Names are in Unicode's form NFC.

    Args:
        pattern: Folder or pattern, see `match`.
        option: Name of the option that gives it, for error messages.
        suffixes: Files with other suffixes are passed over.

    Raises:
        errors.MissingFileError: There is no such file.
    """
    full = full_pattern(pattern)
    expression = _expression(full)
    matches = patterns.find(full.replace(SPLIT, "*"))
    files = [p for p in matches if p.lower().endswith(suffixes) and os.path.isfile(p)]
    files = images.without_arrays(files)
    if not files:
        readable = images.READABLE_SUFFIXES
        kinds = ", ".join(readable if suffixes == IMAGE_SUFFIXES else suffixes)
        raise errors.MissingFileError(
            f"`{option}={pattern}` matches no file of the kinds {kinds}. Correct the "
            "folder or the pattern. A pattern needs quotes and is case-sensitive: .JPG "
            "is not .jpg."
        )
    by_key: dict[Key, str] = {}
    duplicates = []
    for path in files:
        key = _key(expression, path)
        if key in by_key:
            duplicates.append(path)
        by_key.setdefault(key, path)
    return Files(by_key, duplicates, sorted({*matches} - {*files}))


def full_pattern(pattern: str) -> str:
    """Returns the pattern for a folder or a pattern, as `patterns.find` takes it."""
    if os.path.isdir(pattern):
        pattern = os.path.join(glob.escape(pattern), "**", "*")
    else:
        pattern = patterns.literal_brackets(pattern, any_text=SPLIT)
        if "*" not in pattern and glob.glob(f"{pattern.replace(SPLIT, '*')}/"):
            pattern = os.path.join(pattern, "**", "*")  # Folders named by {split}.
    return re.sub(r"/(\./|/)+", "/", pattern)  # As glob returns paths.


def may_match(pattern: str, path: str) -> bool:
    """Returns whether a pattern of `full_pattern` matches a path."""
    return _expression(pattern).fullmatch(path) is not None


def unescape(text: str) -> str:
    """Undoes `glob.escape`."""
    return _ESCAPED.sub(r"\1", text)


def has_set(text: str) -> bool:
    """Returns whether a part of a pattern has a set of characters, as in [a-z]."""
    return _SET.search(_ESCAPED.sub("", text)) is not None


_ESCAPED = re.compile(r"\[([*?[])\]")
_SET = re.compile(r"\[[^]]+\]")


def _expression(pattern):
    """Returns a regular expression with one group for each wildcard."""
    parts: list[str] = []
    for token in _TOKEN.split(pattern):
        if token == SPLIT:
            is_repeated = any("?P<split>" in part for part in parts)
            parts.append("(?P=split)" if is_repeated else "(?P<split>[^/]+)")
        elif token == "**/":
            parts.append("(?:(.*)/)?")
        elif token == "**":
            parts.append("(.*)")
        elif token == "*":
            parts.append("([^/]*)")
        elif token == "?":
            parts.append("([^/])")
        elif token.startswith("[") and len(token) > 3:
            parts.append(f"({token.replace('[!', '[^', 1)})")
        else:
            parts.append(re.escape(unescape(token)))
    return re.compile("".join(parts))


def _key(expression, path):
    return tuple(
        unicodedata.normalize("NFC", text) for text in _split_and_name(expression, path)
    )


def _split_and_name(expression, path):
    match = expression.fullmatch(path)
    if match is None:
        return "", pathlib.Path(path).stem
    split = match.groupdict().get("split") or ""
    number = expression.groupindex.get("split")
    groups = [
        text for i, text in enumerate(match.groups(), start=1) if i != number and text
    ]
    if len(groups) > 1 and _is_suffix(f".{groups[-1]}"):  # From "*.*".
        groups.pop()
    name = "/".join(groups) or pathlib.Path(path).stem
    stem, suffix = os.path.splitext(name)
    return split, stem if _is_suffix(suffix) else name


def _is_suffix(text):
    return text.lower() in (*IMAGE_SUFFIXES, *annotations.SUFFIXES)


class Affixes(NamedTuple):
    """What the file names of images and masks have around the name of an image.

    Attributes:
        image: Text before and after it in the names of images.
        mask: The same of masks.
    """

    image: tuple[str, str]
    mask: tuple[str, str]


def suggest(match: Match) -> Affixes | None:
    """Guesses how the names of most masks differ from those of their images.

    Returns:
        Texts around the name, such as ("", "_mask") for masks; None if most masks have
        an image, or if the names do not pair most masks.
    """
    if len(match.without_image) * 2 <= len(match.masks):
        return None
    return _suggest_around(match) or _suggest_instead(match)


def _suggest_around(match):
    """Guesses what masks have before and after the whole name of the image."""
    alone = match.without_image
    names = {name for _, name in match.without_mask}
    around: collections.Counter[tuple[str, str] | None] = collections.Counter()
    for _, name in alone:
        pieces = (
            (name[:start], name[end:])
            for end in range(len(name), 0, -1)
            for start in range(end)
            if name[start:end] in names
        )
        around.update([min(pieces, key=lambda pair: len("".join(pair)), default=None)])
    (best, count), *_ = around.most_common(1)
    if best is None or count * 2 <= len(alone):
        return None
    return Affixes(("", ""), best)


def _suggest_instead(match):
    """Guesses what images and masks have around the part that they share."""
    image_keys, mask_keys = match.without_mask, match.without_image
    if not image_keys:
        return None
    affixes = Affixes(_affixes(image_keys), _affixes(mask_keys))
    images_left = {_without(key, affixes.image) for key in image_keys}
    masks_left = {_without(key, affixes.mask) for key in mask_keys}
    are_unique = (len(images_left), len(masks_left)) == (
        len(image_keys),
        len(mask_keys),
    )
    paired = images_left & masks_left
    return affixes if are_unique and len(paired) * 2 > len(mask_keys) else None


def _affixes(keys):
    """Returns what all file names start and end with, in whole words or numbers."""
    words = [_WORD.findall(name.rsplit("/", 1)[-1]) for _, name in keys]
    fewest = min(map(len, words)) - 1  # One is left as the name.
    first, *_ = words
    ends = [first, first[::-1]]
    counts: list[int] = []
    for end, reverse in zip(ends, (1, -1), strict=True):
        same = 0
        while same < fewest - sum(counts) and all(
            each[::reverse][same] == end[same] for each in words
        ):
            same += 1
        counts.append(same)
    before, after = counts
    return "".join(first[:before]), "".join(first[len(first) - after :])


def _without(key, affixes):
    folder, _, name = key[1].rpartition("/")
    name = name.removeprefix(affixes[0])
    return key[0], folder, name[: len(name) - len(affixes[1])]


_WORD = re.compile(r"\d+|[^\W\d_]+|[\W_]+")
