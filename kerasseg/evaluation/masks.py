"""Scores of masks on disk, whatever program wrote them."""

import collections
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kerasseg import datasets, errors, images, pipeline, records
from kerasseg.evaluation import inputs
from kerasseg.evaluation.scoring import Evaluation, ScoredImage, score

_MAX_LISTED = 10  # Names in an error, for each kind of mistake.
_SUFFIXES = {*images.SUFFIXES}  # What follows other dots belongs to the name.


@dataclasses.dataclass(frozen=True)
class Target:
    """A label to score against.

    Attributes:
        name: Name of the image.
        size: Height and width.
        read: Function that reads the label, uint8 `[height, width]`.
    """

    name: str
    size: tuple[int, int]
    read: Callable[[], np.ndarray]


class LabelFolder:
    """Labels as PNG files of class indices, in a folder and its sub-folders.

    Args:
        folder: The folder.
        spec: The data set. The indices of its `source_ignore` are ignored.

    Raises:
        errors.MissingFileError: The folder has no PNG file.
    """

    def __init__(self, folder: str | os.PathLike, spec: datasets.DatasetSpec):
        self.name, self.spec = os.fspath(folder), spec
        self._paths = sorted(_find_pngs(folder).items())
        if not self._paths:
            raise errors.MissingFileError(
                f"{folder} has no PNG files. Give a folder of labels, PNG files whose "
                f"pixels are class indices."
            )

    def __len__(self) -> int:
        return len(self._paths)

    def targets(self) -> list[Target]:
        """Returns the labels, to be read later."""
        return [
            Target(key, _size(path), functools.partial(self._read, path))
            for key, (path, *_) in self._paths
        ]

    def read(self, i: int) -> tuple[None, np.ndarray]:
        """Returns None, as there are no images, and label `i`."""
        _, (path, *_) = self._paths[i]
        return None, self._read(path)

    def _read(self, path):
        multi_label, name = self.spec.multi_label, str(path)
        label = images.read_label(path, multi_label=multi_label)
        label[np.isin(label, self.spec.source_ignore)] = datasets.IGNORE_LABEL
        images.check_label_range(
            label, self.spec.num_classes, name=name, multi_label=multi_label
        )
        return label


class RecordLabels:
    """The labels of a split of records.

    Args:
        reader: `pipeline.ImageReader` of the split.
    """

    def __init__(self, reader: pipeline.ImageReader):
        self.name, self.spec = reader.split.name, reader.split.spec
        self._reader = reader

    def __len__(self) -> int:
        return len(self._reader.split)

    def targets(self) -> list[Target]:
        """Returns the labels, to be read later."""
        return [self._target(i) for i in range(len(self))]

    def read(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns image and label `i`."""
        image, label, *_ = self._reader.read(i)
        return image, label

    def _target(self, i):
        example = records.parse_example(self._reader.split.read(i))
        size = example["height"], example["width"]
        return Target(example["name"], size, lambda: self.read(i)[1])


def score_masks(
    predictions_dir: str | os.PathLike, labels, measures: Sequence[str] = ()
) -> Evaluation:
    """Scores the PNG files of a folder.

    The mask of an image has its name with the suffix ".png", in the same sub-folder.
    Its pixels, or the indices of their palette entries, are class indices.

    Args:
        predictions_dir: Folder of the masks.
        labels: `LabelFolder` or `RecordLabels`.
        measures: Names of `MEASURES`, except "calibration", which needs probabilities.

    Raises:
        errors.MissingFileError: `predictions_dir` is not a folder.
        errors.UserError: There is not exactly one mask for each label, a mask has
            another size than its label, or a class index is out of range.
    """
    inputs.check_measures(measures, has_probabilities=False)
    targets = labels.targets()
    paths = matching_masks(predictions_dir, targets)

    def scored_images() -> Iterator[ScoredImage]:
        for i, (target, path) in enumerate(zip(targets, paths, strict=True)):
            mask = images.read_label(path, multi_label=labels.spec.multi_label)
            yield ScoredImage(i, str(path), target.read(), mask)

    result = score(scored_images(), labels, measures)
    return dataclasses.replace(result, names=[target.name for target in targets])


def matching_masks(
    predictions_dir: str | os.PathLike, targets: Sequence[Target]
) -> list[pathlib.Path]:
    """Returns the path of the mask for each label, after checking names and sizes.

    Raises:
        errors.UserError: See `score_masks`; all mistakes are listed.
    """
    masks = _find_pngs(predictions_dir)
    keys = collections.Counter(image_key(target.name) for target in targets)
    mistakes = {
        "missing": [f"{key}.png" for key in keys if key not in masks],
        "without a label": [
            str(paths[0]) for key, paths in masks.items() if key not in keys
        ],
        "found twice": [
            " and ".join(map(str, paths)) for paths in masks.values() if len(paths) > 1
        ],
        "needed for several images": [key for key, n in keys.items() if n > 1],
        "of another size than the label": list(_wrong_sizes(masks, targets)),
    }
    lines = [
        f"{len(names)} {what}: {', '.join(names[:_MAX_LISTED])}"
        + (", ..." if len(names) > _MAX_LISTED else "")
        for what, names in mistakes.items()
        if names
    ]
    if lines:
        raise errors.UserError(
            f"The masks in {predictions_dir} do not match the {len(targets)} labels, "
            f"so nothing was scored: {'; '.join(lines)}. Predict the same images at "
            f"their own size, into an empty folder."
        )
    return [masks[image_key(target.name)][0] for target in targets]


def _wrong_sizes(masks, targets):
    for target in targets:
        if paths := masks.get(image_key(target.name)):
            height, width = _size(paths[0])
            if (height, width) != target.size:
                yield (
                    f"{paths[0]} ({width} x {height}, the label "
                    f"{target.size[1]} x {target.size[0]})"
                )


def _find_pngs(folder):
    """Returns lists of paths by their name in the folder, without the suffix."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise errors.MissingFileError(
            f"{folder} is not an existing folder. Give a folder of PNG files."
        )
    paths = collections.defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() == ".png" and path.is_file():
            paths[image_key(path.relative_to(folder))].append(path)
    return paths


def image_key(name: str | os.PathLike) -> str:
    """Returns the name of an image or mask without the suffix of an image file."""
    path = pathlib.PurePath(name)
    has_suffix = path.suffix.lower() in _SUFFIXES
    return os.fspath(path.with_suffix("") if has_suffix else path)


def _size(path):
    header = images.probe(path.read_bytes(), name=str(path))
    return header.height, header.width
