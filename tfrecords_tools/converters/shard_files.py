"""Files that hold many images each, in a folder, by the split that they belong to."""

import pathlib
import re

from kerasseg import datasets, errors
from tfrecords_tools.converters import pairs, source_files, splitting

_NUMBERED = re.compile(r"[-_.]?\d+(-of-\d+)?$")
_WITHOUT_SPLIT = ("", "data")  # Names of folders that hold the files of all splits.


def find(source: pairs.Source, dataset: str, suffix: str) -> dict[str, list[str]]:
    """Returns the paths of each split.

    The split is the name of the folder, or of the file without its number, if the file
    lies in `source_dir` or in its folder data.

    Args:
        source: Its `source_dir` is the folder; `rename_splits` renames splits.
        dataset: Name of the data set, for error messages.
        suffix: Ending of the files.

    Raises:
        errors.MissingFileError: There is no such folder, or no file in it.
        errors.UserError: See `splitting.read_names`.
    """
    folder = source_files.required_folder(
        source.source_dir, "source_dir", f"The folder of `dataset={dataset}`"
    )
    names = splitting.read_names(source.own.rename_splits if source.own else "")
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob(f"*{suffix}")):
        if path.is_file():
            split = _split(path.relative_to(folder))
            found.setdefault(names.get(split, split), []).append(str(path))
    if not found:
        raise errors.MissingFileError(
            f"`source_dir={folder}` holds no file that ends with {suffix}. Give the "
            f"folder of files such as train-000000{suffix} or train/000000{suffix}."
        )
    return found


def _split(relative: pathlib.Path) -> str:
    above = relative.parent.name
    if above not in _WITHOUT_SPLIT:
        return above
    return _NUMBERED.sub("", relative.stem) or "train"


def of_split(found: dict[str, list[str]], split: str, dataset: str) -> list[str]:
    """Returns the paths of one split.

    Raises:
        errors.UserError: There is no such split.
    """
    return source_files.part_of(dataset, split, found)


def make_spec(source: pairs.Source, dataset: str) -> datasets.DatasetSpec:
    """Returns the spec, with the classes of the option.

    Raises:
        errors.UserError: `classes` is not given.
    """
    if source.own is None or source.own.classes is None:
        raise errors.UserError(
            f"`dataset={dataset}` does not name the classes. Name them in the order of "
            "their numbers, `classes=background,road`, or give a file with one per "
            "line, `classes=FILE`."
        )
    return datasets.DatasetSpec(
        name=dataset,
        source=f"tfrecords_tools.{dataset}",
        classes=source.own.classes.with_palette(),
        num_images={},
    )
