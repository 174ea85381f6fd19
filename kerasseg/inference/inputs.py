"""What shall be predicted: pictures and videos, and the names of their results."""

import collections
import glob
import itertools
import os
import pathlib

from kerasseg import errors
from kerasseg.inference import outputs

# Of a folder these are pictures; the formats that cannot be read are told at the end.
_PICTURES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
)
_VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"})


def is_video(path: pathlib.Path) -> bool:
    """Tells by its ending whether a file is a video."""
    return path.suffix.lower() in _VIDEOS


def find_images(given: str, output_dir: str) -> dict[str, pathlib.Path]:
    """Lists what shall be predicted.

    Args:
        given: A file, a folder (searched with its sub-folders for pictures and videos,
            by their endings), or a pattern such as `DIR/**/*.jpg`.
        output_dir: Where results go; those of an earlier run are left out.

    Returns:
        Paths by the name of their result, sorted: the path below the folder or below
        the part of the pattern without wildcards, without its ending.

    Raises:
        FileNotFoundError: There is nothing to predict.
        ValueError: Results of two pictures would have one name, or lie in the folder
            that a video's frames become.
    """
    root, found = _find(given, _result_folders(output_dir))
    if not found:
        raise errors.MissingFileError(
            f"`input={given}`: no picture is there. Give a JPEG or PNG file, a "
            f"video, a folder of them, or a pattern in quotes such as 'DIR/*.jpg'."
        )
    groups = collections.defaultdict(list)
    for path in sorted(found):
        groups[os.fspath(path.relative_to(root).with_suffix(""))].append(path)
    for name, paths in groups.items():
        if len(paths) > 1:
            raise errors.UserError(
                f"{' and '.join(map(str, paths))} would both become {name}. Rename "
                f"one, or predict them into different folders."
            )
    videos = {name for name, (path, *_) in groups.items() if is_video(path)}
    for name, (path, *_) in groups.items():
        folders = videos.intersection(map(os.fspath, pathlib.PurePath(name).parents))
        if folders:
            raise errors.UserError(
                f"{path} would become a file in {folders.pop()}, the folder of what a "
                f"video of that name becomes. Rename one, or predict them into "
                f"different folders."
            )
    return {name: paths[0] for name, paths in groups.items()}


def _result_folders(output_dir):
    return [pathlib.Path(output_dir, name).resolve() for name in outputs.KINDS]


def _find(given, left_out):
    """Returns the folder that names are relative to, and the files."""
    path = pathlib.Path(given)
    if path.is_file():
        return path.parent, [path]
    if path.is_dir():
        root, found = (
            path,
            (p for p in _walk(path) if p.suffix.lower() in _PICTURES | _VIDEOS),
        )
    else:
        plain = itertools.takewhile(lambda part: glob.escape(part) == part, path.parts)
        matches = map(pathlib.Path, glob.glob(given, recursive=True))
        root, found = pathlib.Path(*plain), (p for p in matches if p.is_file())
    resolved = ((p, p.resolve()) for p in found)
    return root, [
        p for p, full in resolved if not any(map(full.is_relative_to, left_out))
    ]


def _walk(folder):
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (
            pathlib.Path(parent, name) for name in names if not name.startswith(".")
        )
