"""Reads lists of images: names or paths, alone or with the path of the mask."""

import collections
import os
import pathlib
import re
import unicodedata
from collections.abc import Mapping

from kerasseg import errors
from tfrecords_tools.converters import matching, source_files

_COLUMNS = re.compile(r"\s*[,;\t]\s*|\s+")
_QUOTES = "\"'"


def read(path: str, match: matching.Match) -> list[matching.Key]:
    """Reads the images that a list file names.

    A line is the name or the path of an image. The path of its mask may follow, after
    white space, a comma or a semicolon. Paths may start with other folders than those
    of the files, and have another ending or backslashes.

    Args:
        path: The list file.
        match: Images and masks.

    Returns:
        Keys of the images, sorted, each once.

    Raises:
        errors.UserError: A line names no image, several ones, or a mask of another
            image; or the list is empty.
        errors.MissingFileError: There is no such file.
    """
    images, masks = _Index(match.images), _Index(match.masks)
    listed, unknown, others = [], [], []
    for line in source_files.read_list(pathlib.Path(path)):
        key, other = images.find(line), ""
        if key is None or not images.covers_columns(key, line):
            pair, other = _find_pair(line, images, masks)
            key = pair or key
        others += [f"'{line}', {other}"] if other else []
        if key is None:
            unknown.append(line)
        else:
            listed.append(key)
    _check(path, others, unknown, match)
    if not listed:
        raise errors.UserError(
            f"{path} is empty. List the names of images, one per line, or remove the "
            "file from `lists`."
        )
    return sorted(set(listed))


def _find_pair(line, images, masks):
    """Returns the image in a line of two columns, and why it is a wrong pair or ""."""
    wrong = None, ""
    for separator in _COLUMNS.finditer(line):
        image = images.find(line[: separator.start()].strip(_QUOTES))
        text = line[separator.end() :].strip(_QUOTES)
        mask = masks.find(text)
        if image is None:
            continue
        if image == mask or (mask is None and masks.is_named(image, text)):
            return image, ""
        if mask is None:
            continue
        paths = images.paths[image], masks.paths.get(image, "no mask")
        wrong = image, f"but {paths[0]} has {paths[1]}"
    return wrong


def _check(path, others, unknown, match):
    if others:
        raise errors.UserError(
            f"{path} pairs images with masks of other images in "
            f"{source_files.count(others, 'line')}: "
            f"{source_files.shorten(others, separator='; ')}. Correct these lines, or "
            "`images` and `masks`, whose wildcards pair files by name."
        )
    if unknown:
        names = source_files.count(unknown, "name")
        known = ", ".join(name for _, name in sorted(match.images)[:3])
        raise errors.UserError(
            f"{path} lists {names} that no image has: {source_files.shorten(unknown)}. "
            f"Correct or remove these lines. Names of images look like {known}."
        )


class _Index:
    """Files by the last part of their names and paths."""

    def __init__(self, paths: Mapping[matching.Key, str]):
        self.paths = paths
        self._by_end = collections.defaultdict(list)
        for key, path in paths.items():
            parts, names = _parts(path), tuple(key[1].split("/"))
            for end in {parts[-1], names[-1]}:
                self._by_end[end].append((key, names, parts))

    def find(self, text):
        """Returns the key of the one file that a text names, or None."""
        for form in dict.fromkeys((text, re.sub(r"^[A-Za-z]:", "", text))):
            for each in dict.fromkeys((form, form.replace("\\", "/"))):
                found = self._find(_parts(each))
                if found:
                    return found
        return None

    def covers_columns(self, key, text):
        """Returns whether all white space, commas and semicolons belong to its name.

        Otherwise the last of two columns may look like the end of a path.
        """
        given = _parts(text.replace("\\", "/"))
        known = _parts(self.paths[key]), tuple(key[1].split("/"))
        rest = given[: len(given) - max(_num_equal(given, each) for each in known)]
        return not any(map(_COLUMNS.search, rest))

    def is_named(self, key, text):
        """Returns whether the file of a key has the file name of a path."""
        end = _parts(text.replace("\\", "/"))[-1:]
        return key in self.paths and end == _parts(self.paths[key])[-1:]

    def _find(self, given):
        ranks = collections.defaultdict(list)
        for key, names, parts in self._by_end.get(given[-1] if given else "", []):
            in_path, in_name = _num_equal(given, parts), _num_equal(given, names)
            # One of them may only have further folders at its start.
            if in_path in (len(given), len(parts)) or in_name in (
                len(given),
                len(names),
            ):
                ranks[given == names, max(in_path, in_name)].append(key)
            elif in_path >= len(names):  # The folders of the name are equal.
                ranks[False, in_path].append(key)
        best = ranks[max(ranks)] if ranks else []
        return best[0] if len(best) == 1 else None


def _parts(path):
    """Returns the folders and the stem of a path."""
    path = unicodedata.normalize("NFC", path)
    stem, suffix = os.path.splitext(path)
    path = stem if suffix.lower() in matching.IMAGE_SUFFIXES else path
    return tuple(part for part in path.split("/") if part not in ("", "."))


def _num_equal(first, second):
    """Returns the number of equal parts at the end."""
    pairs = zip(reversed(first), reversed(second), strict=False)
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count
