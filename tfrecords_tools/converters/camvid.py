"""Lists the pairs of CamVid as the SegNet tutorial publishes it."""

import pathlib

from kerasseg import errors
from tfrecords_tools.converters import pairs, source_files


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Reads `<split>.txt`, which lists an image and its label per line.

    The paths start with a folder of the authors' machine, which is removed.

    Raises:
        errors.MissingFileError: The folder or the list is missing.
        errors.UserError: A line does not hold two paths.
    """
    folder = source_files.required_folder(
        source.source_dir, "source_dir", "CamVid's folder"
    )
    path = folder / f"{split}.txt"
    listed = []
    for line in source_files.read_list(path):
        files = line.split()
        if len(files) != 2:
            raise errors.UserError(
                f"{path} has the line '{line}', expected the paths of an image and its "
                "label with a space between. Correct the line, or remove it."
            )
        image, label = (_below(folder, file) for file in files)
        if pathlib.Path(image).stem != pathlib.Path(label).stem:
            raise errors.UserError(
                f"{path} has the line '{line}', whose image and label have different "
                "names. Correct the line, or remove it."
            )
        listed.append(pairs.Pair(pathlib.Path(image).stem, image, label))
    return listed


def _below(folder, path):
    """Returns the longest end of a listed path that exists below the folder."""
    parts = pathlib.PurePosixPath(path).parts
    ends = [folder.joinpath(*parts[i:]) for i in range(1, len(parts))]
    existing = (end for end in ends if end.is_file())
    return str(next(existing, folder.joinpath(*parts[-2:])))
