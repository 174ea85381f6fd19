"""Which file belongs to which: what the stars of two patterns stand for is one name."""

import collections
import dataclasses
import glob
import os
import pathlib
import re

from kerasseg import errors

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
ANNOTATIONS = (".json", ".xml")
SPLIT = "{split}"
_TOKEN = re.compile(r"(\{split\}|\*\*/?|\*|\?|\[[^]]+\])")

Key = tuple[str, str]  # Split, "" where the pattern names none, and name.


@dataclasses.dataclass(frozen=True)
class Match:
    """Pictures and masks by split and name.

    Attributes:
        pictures: Path of each picture.
        masks: Path of each mask.
        doubles: Paths that have the key of one of these, and are not among them.
    """

    pictures: dict[Key, str]
    masks: dict[Key, str]
    doubles: tuple[str, ...] = ()

    @property
    def paired(self) -> list[Key]:
        """Keys of what has both, sorted."""
        return sorted(self.pictures.keys() & self.masks.keys())

    @property
    def without_mask(self) -> list[Key]:
        """Keys of pictures alone, sorted."""
        return sorted(self.pictures.keys() - self.masks.keys())

    @property
    def without_picture(self) -> list[Key]:
        """Keys of masks alone, sorted."""
        return sorted(self.masks.keys() - self.pictures.keys())


def match(images: str, masks: str) -> Match:
    """Finds pictures and their masks.

    Args:
        images: A folder, or a pattern with `*`, `?`, `[...]`, `**` and `{split}`.
        masks: Likewise; `{split}` in both or in none.

    Raises:
        FileNotFoundError: No picture or no mask is there.
        ValueError: `{split}` in one only.
    """
    return Match(*find_both(images, masks, "masks"))


def find_both(
    images: str, others: str, flag: str, suffixes: tuple[str, ...] = PICTURES
) -> tuple[dict[Key, str], dict[Key, str], tuple[str, ...]]:
    """Finds pictures, and files that belong to pictures.

    Args:
        images: See `match`.
        others: Likewise.
        flag: Name of the option that `others` comes from, for errors.
        suffixes: Of the others.

    Returns:
        Paths of both by (split, name), and the paths whose name another one has.

    Raises:
        FileNotFoundError: See `match`.
        ValueError: Likewise.
    """
    if (SPLIT in images) != (SPLIT in others):
        raise errors.UserError(
            f"{SPLIT} stands in one of `images={images}` and `{flag}={others}` only. "
            "Give it in both or in none"
        )
    pictures, more = find(images, "images")
    found, double = find(others, flag, suffixes)
    return pictures, found, (*more, *double)


def find(
    pattern: str, flag: str, suffixes: tuple[str, ...] = PICTURES
) -> tuple[dict[Key, str], list[str]]:
    """Finds files by split and name.

    Args:
        pattern: See `match`.
        flag: Name of the option that it comes from, for errors.
        suffixes: Files of other kinds are passed over.

    Returns:
        Path by (split, name), and the paths whose name another one has.

    Raises:
        FileNotFoundError: There are none.
    """
    if os.path.isdir(pattern):
        pattern = os.path.join(glob.escape(pattern), "**", "*")
    elif "*" not in pattern and glob.glob(f"{pattern.replace(SPLIT, '*')}/"):
        pattern = os.path.join(pattern, "**", "*")  # Folders that {split} stands for.
    pattern = re.sub(r"/(\./|/)+", "/", pattern)  # As paths that are found have it.
    shape = _expression(pattern)
    paths = sorted(glob.glob(pattern.replace(SPLIT, "*"), recursive=True))
    files = [p for p in paths if p.lower().endswith(suffixes) and os.path.isfile(p)]
    if not files:
        kinds = ", ".join(suffixes)
        raise errors.MissingFileError(
            f"`{flag}={pattern}` finds no file of the kinds {kinds}. Correct the "
            "folder or the pattern, which stands in quotes and tells capital letters "
            "from small ones, .JPG from .jpg"
        )
    found: dict[Key, str] = {}
    doubles = []
    for path in files:
        key = _key(shape, path)
        if key in found:
            doubles.append(path)
        found.setdefault(key, path)
    return found, doubles


def _expression(pattern):
    """Turns a pattern into an expression with one group for each wildcard."""
    parts: list[str] = []
    for token in _TOKEN.split(pattern):
        if token == SPLIT:
            again = any("?P<split>" in part for part in parts)
            parts.append("(?P=split)" if again else "(?P<split>[^/]+)")
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
            literal = re.sub(r"\[([*?[])\]", r"\1", token)  # What glob.escape made.
            parts.append(re.escape(literal))
    return re.compile("".join(parts))


def _key(shape, path):
    match = shape.fullmatch(path)
    if match is None:
        return "", pathlib.Path(path).stem
    split = match.groupdict().get("split") or ""
    number = shape.groupindex.get("split")
    groups = [
        text for i, text in enumerate(match.groups(), start=1) if i != number and text
    ]
    if len(groups) > 1 and _is_ending(f".{groups[-1]}"):  # Of "*.*".
        groups.pop()
    name = "/".join(groups) or pathlib.Path(path).stem
    stem, suffix = os.path.splitext(name)
    return split, stem if _is_ending(suffix) else name


def _is_ending(text):
    return text.lower() in (*PICTURES, *ANNOTATIONS)


def suggest(found: Match) -> tuple[str, str] | None:
    """Guesses what stands before and after the picture's name in most names of masks.

    Returns:
        Both texts, such as ("", "_mask"); None if most masks have pictures, or names
        that hold no picture's name.
    """
    alone = found.without_picture
    if len(alone) * 2 <= len(found.masks):
        return None
    names = {name for _, name in found.without_mask}
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
