"""Lists the pairs of CamVid as the SegNet tutorial publishes it."""

import pathlib

from kerasseg import errors
from tfrecords_tools.converters import pairs


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Reads `<split>.txt`: a picture and its label a line.

    The paths there begin with a folder of the authors' machine, which is left out.

    Raises:
        FileNotFoundError: The folder or the list is missing.
        ValueError: A line holds something else than two paths.
    """
    folder = pairs.needed(source.source_dir, "source_dir", "CamVid's folder")
    path = folder / f"{split}.txt"
    found = []
    for line in pairs.read_list(path):
        files = line.split()
        if len(files) != 2:
            raise errors.UserError(
                f"{path} has the line '{line}', wanted are a picture and its label "
                "with a space between. Correct the line or remove it"
            )
        image, label = (_below(folder, file) for file in files)
        found.append(pairs.Pair(pathlib.Path(image).stem, image, label))
    return found


def _below(folder, listed):
    """Finds the longest end of a listed path that exists below the folder."""
    parts = pathlib.PurePosixPath(listed).parts
    ends = [folder.joinpath(*parts[i:]) for i in range(1, len(parts))]
    existing = (end for end in ends if end.is_file())
    return str(next(existing, folder.joinpath(*parts[-2:])))
