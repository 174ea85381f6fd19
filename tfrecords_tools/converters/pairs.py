"""What converters list and read: pairs of an image and its label."""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from kerasseg.system import files
from tfrecords_tools import annotations
from tfrecords_tools.converters import own_data

OWN = "folder"  # Name of the data set of the user's own images.
CLASS_OF_LABEL = -1  # The class of an object is that of its pixels in the label.
SHARDED = ("webdataset", "parquet")  # Names of data sets in files of many images.
TFDS = "tfds:"  # Prefix of the names of data sets of TensorFlow Datasets.


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the images come from.

    Attributes:
        source_dir: Folder of the data set as its authors publish it; None if images
            are drawn.
        sbd_dir: Folder "dataset" of the Semantic Boundaries Dataset, or None.
        seed: Random seed, where images are drawn or assigned to splits.
        own: The user's own images, for the data set "folder".
        num_drawn: Images in each split of `shapes`; None for the default.
        instances: Whether to read the instances, too.
        image_classes: File or folder of image-level classes, see `image_classes.read`;
            "" for those that occur in the label.
    """

    source_dir: pathlib.Path | None = None
    sbd_dir: pathlib.Path | None = None
    seed: int = 1
    own: own_data.OwnData | None = None
    num_drawn: int | None = None
    instances: bool = False
    image_classes: str = ""


@dataclasses.dataclass(frozen=True, order=True)
class Pair:
    """One image and its label.

    Attributes:
        name: Unique in its split; stored in the record.
        image: Path of the image; "" if it is drawn.
        label: Path of the label; "" if it is drawn, or if there is none.
        seed: Random seed, if both are drawn.
        shapes: JSON from which `annotations.draw` draws the label, or "". That of
            `faulty` says why there is no label.
        instances: Path of the instance ids; "" for none, or if `shapes` has them.
        image_classes: Sorted numbers of the classes that the image shows, the
            background left out; None for those that occur in the label.
        objects: Path of the binary mask of each object, and its class number or
            `CLASS_OF_LABEL`; None if objects are not in files of their own.
    """

    name: str
    image: str = ""
    label: str = ""
    seed: tuple[int, ...] = ()
    shapes: str = ""
    instances: str = ""
    image_classes: tuple[int, ...] | None = dataclasses.field(
        default=None, compare=False
    )
    objects: tuple[tuple[str, int], ...] | None = None

    @property
    def is_unlabeled(self) -> bool:
        """Whether the image has no label."""
        return bool(self.image) and not self.label and not self.shapes

    @property
    def name_in_record(self) -> str:
        """The name as `records.parse_example` returns it."""
        return self.name.encode("utf-8", "surrogateescape").decode(
            "utf-8", "backslashreplace"
        )

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files that must exist; none if the pair is drawn."""
        masks = (path for path, _ in self.objects or ())
        paths = self.image, self.label, self.instances, *masks
        return tuple(path for path in paths if path)

    @property
    def key(self) -> tuple:
        """The values on which the record depends, without empty ones at the end."""
        *values, instances, classes, objects = dataclasses.astuple(self)
        more = [instances] if instances or objects is not None else []
        more += [] if objects is None else [objects]
        return (*values, *more, *([] if classes is None else [list(classes)]))

    @property
    def fault(self) -> str:
        """Why the annotations of this pair cannot be used, or ""."""
        if not self.shapes.startswith(_FAULT):
            return ""
        return json.loads(self.shapes)["fault"]


_FAULT = '{"fault": '


def faulty(pair: Pair, reason: str) -> Pair:
    """Returns a pair that is bad; a build stops at it or skips it."""
    return dataclasses.replace(pair, shapes=json.dumps({"fault": reason}))


@dataclasses.dataclass(frozen=True)
class ObjectMask:
    """The binary mask of one object.

    Attributes:
        path: Path of the file.
        data: Its bytes.
        number: Class number, or `CLASS_OF_LABEL`.
    """

    path: str
    data: bytes
    number: int


@dataclasses.dataclass(frozen=True)
class Contents:
    """The contents of a pair.

    Attributes:
        image: Bytes of the image file.
        label: Bytes of the label file, or its values, uint8 `[height, width]`; b"" if
            the image has no label.
        instances: Bytes of a 16-bit grayscale PNG of instance numbers, or None.
        objects: The objects, which may overlap, or None. Their masks have the size of
            the label.
        masks: The same as files, of `Pair.objects`, or None.
    """

    image: bytes
    label: bytes | np.ndarray
    instances: bytes | None = None
    objects: tuple[annotations.Instance, ...] | None = None
    masks: tuple[ObjectMask, ...] | None = None


def read_files(pair: Pair) -> Contents:
    """Reads image, label and masks of objects of a pair, without decoding them."""
    image = files.read_bytes(pair.image)
    label = b"" if pair.is_unlabeled else files.read_bytes(pair.label)
    if pair.objects is None:
        return Contents(image, label)
    masks = (
        ObjectMask(path, files.read_bytes(path), number)
        for path, number in pair.objects
    )
    return Contents(image, label, masks=tuple(masks))


def pair_folders(
    images: tuple[pathlib.Path, str], labels: tuple[pathlib.Path, str]
) -> list[Pair]:
    """Pairs the files of two folders by their relative paths, subfolders included.

    An image without a label and a label without an image are listed too: the build
    names the missing file.

    Args:
        images: Folder of the images and the ending of their names.
        labels: Folder of the labels and the ending of their names.
    """
    stems = _stems(*images) | _stems(*labels)
    return [
        Pair(stem.rsplit("/", 1)[-1], _path(*images, stem), _path(*labels, stem))
        for stem in stems
    ]


def _stems(folder, ending):
    """Returns paths relative to a folder, without their ending."""
    paths = folder.rglob(f"*{ending}")
    return {path.relative_to(folder).as_posix().removesuffix(ending) for path in paths}


def _path(folder, ending, stem):
    return str(folder / f"{stem}{ending}")


def find_duplicates(pairs: Sequence[Pair]) -> list[str]:
    """Returns the names that several pairs have, sorted."""
    counts = collections.Counter(pair.name for pair in pairs)
    return sorted(name for name, count in counts.items() if count > 1)
