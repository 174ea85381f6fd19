"""The inputs of a prediction: images and videos, and the names of their results."""

import collections
import os
import pathlib

from kerasseg import errors, images
from kerasseg.inference import outputs
from kerasseg.system import patterns

# Images of a folder. Formats that cannot be read are reported at the end.
_IMAGES = frozenset(images.SUFFIXES)
_VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"})


def is_video(path: pathlib.Path) -> bool:
    """Returns whether a file is a video, by its extension."""
    return path.suffix.lower() in _VIDEOS


def find_images(
    pattern: str, output_dir: str, labels_dir: str | None = None
) -> dict[str, pathlib.Path]:
    """Finds the images and videos to predict.

    Args:
        pattern: A file; a folder, searched recursively for images and videos by their
            extensions; or a glob pattern such as `DIR/**/*.jpg`. Links to folders are
            followed, and each folder is searched once. Brackets in the names of
            existing folders and files are literal.
        output_dir: Folder of the results; results of an earlier run are left out.
        labels_dir: Folder of labels; if it is among the images, it is left out, too.

    Returns:
        Paths by the name of their result, sorted: the path relative to the folder, or
        to the part of the pattern without wildcards, without its extension.

    Raises:
        errors.MissingFileError: There is nothing to predict.
        errors.UserError: Two results would have the same name, or a result would lie in
            the folder of a video's frames.
    """
    root, found = _find(pattern, _result_folders(output_dir))
    if labels_dir is not None and not _is_in(root, labels_dir):
        found = [path for path in found if not _is_in(path, labels_dir)]
    _check_found(found, pattern)
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


def find_all(pattern: str) -> list[pathlib.Path]:
    """Finds images and videos as `find_images`, with any names; returns them sorted.

    Raises:
        errors.MissingFileError: There is nothing to predict.
    """
    _, found = _find(pattern, [])
    _check_found(found, pattern)
    return sorted(found)


def _check_found(found, pattern):
    if not found:
        raise errors.MissingFileError(
            f"`input={pattern}`: no image found. Give a JPEG or PNG file, a video, a "
            f"folder of them, or a pattern in quotes such as 'DIR/*.jpg'."
        )


def _is_in(path, folder):
    folder = os.path.realpath(folder)
    return pathlib.Path(os.path.realpath(path)).is_relative_to(folder)


def _result_folders(output_dir):
    folders = (os.path.join(output_dir, name) for name in outputs.NAMES)
    return [pathlib.Path(os.path.realpath(folder)) for folder in folders]


def _find(pattern, excluded):
    """Returns the folder that names are relative to, and the files."""
    root = pathlib.Path(pattern)
    unread: list[str] = []  # Folders, each of which is reported as a failure.

    def add(error):
        if pathlib.Path(error.filename) == root:
            raise error
        unread.append(error.filename)

    if os.path.isdir(pattern):
        found = [p for p in patterns.files(pattern, on_error=add) if _is_input(p)]
    elif os.path.lexists(pattern):
        return root.parent, [root]
    else:
        pattern = patterns.literal_brackets(pattern)
        root = pathlib.Path(patterns.folder_before_wildcards(pattern))
        found = patterns.find(pattern, on_error=add)
    # Unlike `Path.resolve`, `realpath` accepts links that form a circle.
    kept = [
        path
        for path in [*found, *unread]
        if not any(map(pathlib.Path(os.path.realpath(path)).is_relative_to, excluded))
    ]
    return root, [*map(pathlib.Path, images.without_arrays(kept))]


def _is_input(path):
    return os.path.splitext(path)[1].lower() in _IMAGES | _VIDEOS


def find_passed_over(pattern: str, output_dir: str | None = None) -> list[str]:
    """Finds the files that `find_images` leaves out of a folder because of their names.

    Args:
        pattern: See `find_images`.
        output_dir: Folder of the results, whose files are not listed; or None.

    Returns:
        Paths of files that are neither images nor videos by their extensions, and of
        arrays beside images. Hidden files are left out.
    """
    if not os.path.isdir(pattern):
        return []
    results = os.devnull if output_dir is None else os.path.realpath(output_dir)
    found = [
        path
        for path in patterns.files(pattern, on_error=lambda _: None)
        if not pathlib.Path(os.path.realpath(os.path.dirname(path))).is_relative_to(
            results
        )
    ]
    inputs = {*images.without_arrays([path for path in found if _is_input(path)])}
    return [path for path in found if path not in inputs]
