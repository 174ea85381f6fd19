"""What a converter lists: pictures and their labels, by name."""

import collections
import dataclasses
import importlib
import pathlib
import typing

import numpy as np

from kerasseg import datasets, errors
from tfrecords_tools import texts
from tfrecords_tools.converters import own_data

OWN = "folder"  # The data set of own pictures.
TFDS = "tfds:"  # Begins the name of any set of TensorFlow Datasets.


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the pictures come from.

    Attributes:
        source_dir: Folder of the data set as its authors publish it; None where
            pictures are drawn.
        sbd_dir: Folder "dataset" of the Semantic Boundaries Dataset, if wanted.
        seed: Start of the random numbers where pictures are drawn, or dealt to splits.
        own: Own pictures, of the data set "folder".
        num_drawn: Pictures of each split of `shapes`, where not as many as usual.
    """

    source_dir: pathlib.Path | None = None
    sbd_dir: pathlib.Path | None = None
    seed: int = 1
    own: own_data.OwnData | None = None
    num_drawn: int | None = None


def make_source(
    source_dir: str | None,
    sbd_dir: str | None,
    seed: int,
    own: own_data.OwnData | None = None,
) -> Source:
    """Makes a `Source` of flags."""
    return Source(
        source_dir=pathlib.Path(source_dir) if source_dir else None,
        sbd_dir=pathlib.Path(sbd_dir) if sbd_dir else None,
        seed=seed,
        own=own,
    )


@dataclasses.dataclass(frozen=True, order=True)
class Pair:
    """One picture and its label.

    Attributes:
        name: Unique in its split; records carry it.
        image: Path of the picture; "" where it is drawn.
        label: Path of the label; "" where it is drawn.
        seed: Start of the random numbers where both are drawn.
        shapes: What the label is drawn of, as `annotations.draw` reads it, or "".
    """

    name: str
    image: str = ""
    label: str = ""
    seed: tuple[int, ...] = ()
    shapes: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files that there must be; none where all is drawn."""
        return tuple(path for path in (self.image, self.label) if path)


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a pair holds.

    Attributes:
        image: A picture file's bytes.
        label: A label file's bytes, or the source's numbers, uint8 `[height, width]`.
        instances: Bytes of a grey 16-bit PNG of instance numbers, or None.
    """

    image: bytes
    label: bytes | np.ndarray
    instances: bytes | None = None


def is_open(dataset: str) -> bool:
    """Tells whether the facts of a data set come from the source."""
    return dataset == OWN or dataset.startswith(TFDS)


def converter(dataset: str) -> typing.Any:
    """Finds the converter of a data set: a module, or an object.

    It has `list_pairs(split, source)` and may have `read_pair(pair)` where `read_files`
    will not do; where `is_open`, it has `make_spec(source)` and `list_splits(source)`.

    Raises:
        ValueError: There is no such data set, or no converter of it.
    """
    if dataset.startswith(TFDS):
        return importlib.import_module("tfrecords_tools.converters.tfds").Converter(
            dataset
        )
    if dataset != OWN:
        datasets.get(dataset)
    name = f"tfrecords_tools.converters.{dataset}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise errors.UserError(
            f"No converter lists the pairs of '{dataset}'. Write "
            f"tfrecords_tools/converters/{dataset}.py with a list_pairs(split, source)"
        ) from error


def facts(dataset: str, source: Source) -> datasets.DatasetSpec:
    """Finds the facts of a data set; where it `is_open`, they are made of the source.

    Raises:
        ValueError: Unknown data set, or flags that do not fit.
        FileNotFoundError: Own pictures are not where the flags say.
    """
    if is_open(dataset):
        return converter(dataset).make_spec(source)
    return datasets.get(dataset)


def _splits(dataset, source):
    if is_open(dataset):
        return converter(dataset).list_splits(source)
    return datasets.get(dataset).num_images


def read_files(pair: Pair) -> Contents:
    """Reads the two files of a pair as they are."""
    image = pathlib.Path(pair.image).read_bytes()
    return Contents(image, pathlib.Path(pair.label).read_bytes())


def needed(path: pathlib.Path | None, flag: str, what: str) -> pathlib.Path:
    """Returns a folder that the user must name.

    Raises:
        FileNotFoundError: It was not named, or does not exist.
    """
    if path is None or not path.is_dir():
        given = f"{path} is no folder" if path else "it was not given"
        raise errors.MissingFileError(
            f"{what} is needed and {given}. Name it with `{flag}`."
        )
    return path


def read_list(path: pathlib.Path) -> list[str]:
    """Reads the lines of a list file, without empty ones.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no UTF-8.
    """
    if not path.is_file():
        raise errors.MissingFileError(
            f"{path} does not exist. It lists the pictures of a split: give the folder "
            "that holds it, or choose other splits with `splits`"
        )
    return texts.read_lines(path)


def find_splits(dataset: str, source: Source) -> dict[str, str]:
    """Tells for each split of a data set why the source lacks it, "" if it has it.

    Raises:
        FileNotFoundError: It lacks all of them.
    """
    found = {}
    for split in _splits(dataset, source):
        try:
            converter(dataset).list_pairs(split, source)
            found[split] = ""
        except FileNotFoundError as error:
            found[split] = str(error)
    if all(found.values()):
        raise errors.MissingFileError(next(iter(found.values())))
    return found


def find_duplicates(pairs: list[Pair]) -> list[str]:
    """Names that several pairs have."""
    counts = collections.Counter(pair.name for pair in pairs)
    return sorted(name for name, count in counts.items() if count > 1)
