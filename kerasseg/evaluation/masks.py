"""Scores of masks on disk, whatever wrote them."""

import collections
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable

import numpy as np

from kerasseg import errors, images, pipeline, records
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.evaluation.scoring import Evaluation, Scored, score

_LISTED = 10  # Names in an error, of each kind.
_ENDINGS = {".png", ".jpg", ".jpeg"}  # Other dots belong to the name.


@dataclasses.dataclass(frozen=True)
class _Truth:
    """A labelled picture: its name, height and width, and how to read its label."""

    name: str
    size: tuple[int, int]
    read: Callable[[], np.ndarray]


class LabelFolder:
    """Labels as PNGs of class numbers, in a folder and its sub-folders.

    Args:
        folder: The folder.
        spec: `datasets.DatasetSpec`: the numbers it ignores are ignored.

    Raises:
        FileNotFoundError: No PNG is there.
    """

    def __init__(self, folder: str | os.PathLike, spec):
        self.name, self.spec = os.fspath(folder), spec
        self._paths = sorted(_pngs(folder).items())
        if not self._paths:
            raise errors.MissingFileError(
                f"{folder} holds no PNG: a folder of labels, whose pixels are class "
                f"numbers, is wanted."
            )

    def __len__(self) -> int:
        return len(self._paths)

    def truths(self) -> list[_Truth]:
        """Lists the pictures; see `score_masks`."""
        return [
            _Truth(key, _size(path), functools.partial(self._read, path))
            for key, (path, *_) in self._paths
        ]

    def picture(self, i: int) -> tuple[None, np.ndarray]:
        """Returns no image, of which a folder of labels has none, and label `i`."""
        _, (path, *_) = self._paths[i]
        return None, self._read(path)

    def _read(self, path):
        label = images.read_label(path)
        label[np.isin(label, self.spec.source_ignore)] = IGNORE_LABEL
        pipeline.check_label(label, self.spec.num_classes, str(path))
        return label


class RecordLabels:
    """The labels of a split of records.

    Args:
        reader: `pipeline.ImageReader` of the split.
    """

    def __init__(self, reader):
        self.name, self.spec = reader.split.name, reader.split.spec
        self._reader = reader

    def __len__(self) -> int:
        return len(self._reader.split)

    def truths(self) -> list[_Truth]:
        """Lists the pictures; see `score_masks`."""
        return [self._truth(i) for i in range(len(self))]

    def picture(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns image and label `i`."""
        return self._reader.read(i)[:2]

    def _truth(self, i):
        example = records.parse_example(self._reader.split.read(i))
        size = example["height"], example["width"]
        return _Truth(example["name"], size, lambda: self._reader.read(i)[1])


def score_masks(predictions_dir: str | os.PathLike, labels, measures=()) -> Evaluation:
    """Scores the PNGs of a folder against labels.

    A PNG is found by the name of the picture, its ending replaced, in the same
    sub-folder. Its pixels, or the numbers of its palette's entries, are class numbers.

    Args:
        predictions_dir: Folder of the masks.
        labels: `LabelFolder` or `RecordLabels`.
        measures: Names of `MEASURES`, without "calibration", for which masks say too
            little.

    Raises:
        ValueError: Masks are missing, too many, of another size or of other classes;
            they are listed.
    """
    if "calibration" in measures:
        raise errors.UserError(
            "Masks hold no probabilities, which calibration looks at. Leave it out of "
            "the measures."
        )
    truths = labels.truths()
    paths = matched(predictions_dir, truths)

    def pictures():
        for i, (truth, path) in enumerate(zip(truths, paths, strict=True)):
            yield Scored(i, str(path), truth.read(), images.read_label(path))

    found = score(pictures(), labels, measures)
    return dataclasses.replace(found, names=[truth.name for truth in truths])


def matched(predictions_dir, truths) -> list[pathlib.Path]:
    """Returns the path of each mask, after looking at all names and sizes.

    See `score_masks`, also for what is raised.
    """
    found = _pngs(predictions_dir)
    wanted = collections.Counter(_key(truth.name) for truth in truths)
    both = [truth for truth in truths if _key(truth.name) in found]
    sizes = [
        (found[_key(truth.name)][0], truth.size, _size(found[_key(truth.name)][0]))
        for truth in both
    ]
    faults = {
        "missing": [f"{key}.png" for key in wanted if key not in found],
        "too many": [
            str(paths[0]) for key, paths in found.items() if key not in wanted
        ],
        "found twice": [
            " and ".join(map(str, p)) for p in found.values() if len(p) > 1
        ],
        "wanted by several pictures": [key for key, n in wanted.items() if n > 1],
        "of another size than the label": [
            f"{path} ({width} x {height}, the label {label[1]} x {label[0]})"
            for path, label, (height, width) in sizes
            if (height, width) != label
        ],
    }
    lines = [
        f"{len(names)} {what}: {', '.join(names[:_LISTED])}"
        + (", ..." if len(names) > _LISTED else "")
        for what, names in faults.items()
        if names
    ]
    if lines:
        raise errors.UserError(
            f"The masks in {predictions_dir} are not those of the {len(truths)} "
            f"labels, and nothing was scored; {'; '.join(lines)}. Predict the same "
            f"pictures at their own size, into an empty folder."
        )
    return [found[_key(truth.name)][0] for truth in truths]


def _pngs(folder):
    """Returns lists of paths by their name below the folder, without its ending."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise errors.MissingFileError(
            f"{folder} is no folder: one of PNG masks is wanted."
        )
    found = collections.defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() == ".png" and path.is_file():
            found[_key(path.relative_to(folder))].append(path)
    return found


def _key(name):
    path = pathlib.PurePath(name)
    ends = path.suffix.lower() in _ENDINGS
    return os.fspath(path.with_suffix("") if ends else path)


def _size(path):
    header = images.probe(path.read_bytes(), name=str(path))
    return header.height, header.width
