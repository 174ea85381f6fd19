"""Where the files of a report go: beside what was inspected."""

import os
import pathlib

from tfrecords_tools.converters import matching, own_data


def beside_folder(folder: pathlib.Path, name: str) -> str:
    """Returns a path next to a folder, which starts with the name of the folder."""
    path = pathlib.Path(os.path.abspath(folder))
    if not path.name:  # The root.
        return str(path / name)
    return str(path.with_name(f"{path.name}_{name}"))


def beside_images(own: own_data.OwnData, name: str) -> str:
    """Returns a path in the lowest folder that has both images and labels below it.

    If a pattern would match the path, it is in a folder above. It is relative to the
    current folder if the pattern of the images is.

    Args:
        own: Own images.
        name: Name of the file.
    """
    given = [own.images, own.masks or own.annotations]
    found = [os.path.abspath(matching.full_pattern(text)) for text in given if text]
    folder = os.path.commonpath([_start(pattern) for pattern in found])
    while folder != os.path.dirname(folder) and any(
        matching.may_match(pattern, os.path.join(folder, name)) for pattern in found
    ):
        folder = os.path.dirname(folder)
    path = os.path.join(folder, name)
    return path if os.path.isabs(own.images or "/") else os.path.relpath(path)


def _start(pattern):
    """Returns the folder before the first wildcard; for a file, its folder."""
    parts = pattern.split("/")[:-1]
    fixed = []
    for part in parts:
        if set("*?{") & {*part} or matching.has_set(part):
            break
        fixed.append(matching.unescape(part))
    return "/".join(fixed) or "/"
