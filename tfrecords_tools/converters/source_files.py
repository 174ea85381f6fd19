"""Pairs of folders: what belongs together has one name, up to its folder and ending."""

import pathlib

from kerasseg import errors
from tfrecords_tools.converters import pairs


def pair_folders(
    images: tuple[pathlib.Path, str], labels: tuple[pathlib.Path, str]
) -> list[pairs.Pair]:
    """Pairs the files of two folders, also those of folders within them.

    A picture without a label is paired all the same, and a label without a picture:
    the build names the file that is missing.

    Args:
        images: Folder of the pictures, and how their names end.
        labels: Folder of the labels, and how their names end.
    """
    stems = _stems(*images) | _stems(*labels)
    return [
        pairs.Pair(stem.rsplit("/", 1)[-1], _path(*images, stem), _path(*labels, stem))
        for stem in stems
    ]


def _stems(folder, ending):
    """Paths below a folder, without their ending."""
    found = folder.rglob(f"*{ending}")
    return {path.relative_to(folder).as_posix().removesuffix(ending) for path in found}


def _path(folder, ending, stem):
    return str(folder / f"{stem}{ending}")


def part_of(dataset: str, split: str, parts: dict):
    """Returns what a data set calls a split.

    Raises:
        ValueError: There is no such split.
    """
    if split not in parts:
        raise errors.UserError(
            f"{dataset} has no split '{split}', only {', '.join(parts)}. Choose of "
            "them with `splits`"
        )
    return parts[split]


def needed_file(path: pathlib.Path, what: str) -> pathlib.Path:
    """Returns a file that there must be below the user's folder.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not path.is_file():
        raise errors.MissingFileError(
            f"{what} are needed and {path} is no file. Put it there, or name another "
            "folder with `source_dir`"
        )
    return path
