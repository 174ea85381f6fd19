"""Matches images with masks: what the wildcards of two patterns match is the name."""

import collections
import dataclasses
import glob
import os
import pathlib
import re

from kerasseg import errors
from tfrecords_tools import annotations

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
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
    """

    images: dict[Key, str]
    masks: dict[Key, str]
    duplicates: tuple[str, ...] = ()

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
    image_paths, image_duplicates = find(images, "images")
    paths, duplicates = find(others, option, suffixes)
    return Match(image_paths, paths, (*image_duplicates, *duplicates))


def find(
    pattern: str, option: str, suffixes: tuple[str, ...] = IMAGE_SUFFIXES
) -> tuple[dict[Key, str], list[str]]:
    """Finds files by split and name.

    Args:
        pattern: Folder or pattern, see `match`.
        option: Name of the option that gives it, for error messages.
        suffixes: Files with other suffixes are skipped.

    Returns:
        Paths by split and name, and the paths whose split and name another one has.

    Raises:
        errors.MissingFileError: There is no such file.
    """
    if os.path.isdir(pattern):
        pattern = os.path.join(glob.escape(pattern), "**", "*")
    elif "*" not in pattern and glob.glob(f"{pattern.replace(SPLIT, '*')}/"):
        pattern = os.path.join(pattern, "**", "*")  # Folders named by {split}.
    pattern = re.sub(r"/(\./|/)+", "/", pattern)  # As glob returns paths.
    expression = _expression(pattern)
    paths = sorted(glob.glob(pattern.replace(SPLIT, "*"), recursive=True))
    files = [p for p in paths if p.lower().endswith(suffixes) and os.path.isfile(p)]
    if not files:
        kinds = ", ".join(suffixes)
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
    return by_key, duplicates


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
            literal = re.sub(r"\[([*?[])\]", r"\1", token)  # From glob.escape.
            parts.append(re.escape(literal))
    return re.compile("".join(parts))


def _key(expression, path):
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


def suggest(match: Match) -> tuple[str, str] | None:
    """Guesses what the names of most masks have before and after the image's name.

    Returns:
        Prefix and suffix, such as ("", "_mask"); None if most masks have an image, or
        names that do not contain the name of an image.
    """
    alone = match.without_image
    if len(alone) * 2 <= len(match.masks):
        return None
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
    return best if best and count * 2 > len(alone) else None
