"""The inputs of a prediction: images and videos, and the names of their results."""

import collections
import glob
import itertools
import os
import pathlib

from kerasseg import errors, images
from kerasseg.inference import outputs

# Images of a folder. Formats that cannot be read are reported at the end.
_IMAGES = frozenset(images.SUFFIXES)
_VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"})


def is_video(path: pathlib.Path) -> bool:
    """Returns whether a file is a video, by its extension."""
    return path.suffix.lower() in _VIDEOS


def find_images(pattern: str, output_dir: str) -> dict[str, pathlib.Path]:
    """Finds the images and videos to predict.

    Args:
        pattern: A file; a folder, searched recursively for images and videos by their
            extensions; or a glob pattern such as `DIR/**/*.jpg`.
        output_dir: Folder of the results; results of an earlier run are left out.

    Returns:
        Paths by the name of their result, sorted: the path relative to the folder, or
        to the part of the pattern without wildcards, without its extension.

    Raises:
        errors.MissingFileError: There is nothing to predict.
        errors.UserError: Two results would have the same name, or a result would lie in
            the folder of a video's frames.
    """
    root, found = _find(pattern, _result_folders(output_dir))
    if not found:
        raise errors.MissingFileError(
            f"`input={pattern}`: no image found. Give a JPEG or PNG file, a video, a "
            f"folder of them, or a pattern in quotes such as 'DIR/*.jpg'."
        )
    groups = collections.defaultdict(list)
    for path in sorted(found):
        groups[os.fspath(path.relative_to(root).with_suffix(""))].append(path)
    for name, paths in groups.items():
        if len(paths) > 1:
            raise errors.UserError(
                f"The results of {' and '.join(map(str, paths))} would both be named "
                f"{name}. Rename one, or predict them into different folders."
            )
    videos = {name for name, (path, *_) in groups.items() if is_video(path)}
    for name, (path, *_) in groups.items():
        folders = videos.intersection(map(os.fspath, pathlib.PurePath(name).parents))
        if folders:
            raise errors.UserError(
                f"The result of {path} would lie in {folders.pop()}, the folder of a "
                f"video's frames. Rename one, or predict them into different folders."
            )
    return {name: paths[0] for name, paths in groups.items()}


def _result_folders(output_dir):
    folders = (os.path.join(output_dir, name) for name in outputs.KINDS)
    return [pathlib.Path(os.path.realpath(folder)) for folder in folders]


def _find(pattern, excluded):
    """Returns the folder that names are relative to, and the files."""
    path = pathlib.Path(pattern)
    unread: list[pathlib.Path] = []  # Folders, each of which is reported as a failure.
    if os.path.isdir(path):
        root, found = (
            path,
            (p for p in _walk(path, unread) if p.suffix.lower() in _IMAGES | _VIDEOS),
        )
    elif os.path.lexists(path):
        return path.parent, [path]
    else:
        plain = itertools.takewhile(lambda part: glob.escape(part) == part, path.parts)
        matches = map(pathlib.Path, glob.glob(pattern, recursive=True))
        root, found = pathlib.Path(*plain), (p for p in matches if not p.is_dir())
    # Unlike `Path.resolve`, accepts links that form a circle.
    resolved = (
        (p, pathlib.Path(os.path.realpath(p))) for p in itertools.chain(found, unread)
    )
    return root, [
        p for p, full in resolved if not any(map(full.is_relative_to, excluded))
    ]


def _walk(folder, unread):
    def add(error):
        if error.filename == os.fspath(folder):
            raise error
        unread.append(pathlib.Path(error.filename))

    for parent, folders, names in os.walk(folder, onerror=add):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (
            pathlib.Path(parent, name) for name in names if not name.startswith(".")
        )


def find_passed_over(pattern: str, output_dir: str) -> list[str]:
    """Finds what `find_images` leaves out of a folder, which is to be reported.

    Args:
        pattern: See `find_images`.
        output_dir: Folder of the results; its files are not listed.

    Returns:
        Paths of files that are neither images nor videos by their extensions, and of
        links to folders, which are not followed. Hidden files are left out.
    """
    if not os.path.isdir(pattern):
        return []
    found, results = [], os.path.realpath(output_dir)
    for parent, folders, names in os.walk(pattern):
        visible = [name for name in folders if not name.startswith(".")]
        paths = {name: os.path.join(parent, name) for name in visible}
        folders[:] = [n for n, p in paths.items() if os.path.realpath(p) != results]
        found += [path for path in paths.values() if os.path.islink(path)]
        found += [
            os.path.join(parent, name)
            for name in names
            if not name.startswith(".")
            and pathlib.Path(name).suffix.lower() not in _IMAGES | _VIDEOS
        ]
    return found
