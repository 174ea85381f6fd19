"""Names of the files that records are extracted to."""

import os

from tfrecords_tools.converters import matching


def stem(name: str, i: int) -> str:
    """Returns the path of an image's file in a folder, without its suffix.

    Args:
        name: Name of the image in its record, which is not trusted.
        i: Index of the record, which is its name if it has none.

    Returns:
        A relative path that stays in the folder, with subfolders for slashes. Only the
        suffix of an image file is removed, so "scene.001" is kept.
    """
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    start, suffix = os.path.splitext("/".join(parts))
    kept = start if suffix.lower() in matching.IMAGE_SUFFIXES else f"{start}{suffix}"
    return kept or f"{i:06d}"
