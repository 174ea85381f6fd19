"""Images without labels that are also in a split for evaluation."""

import dataclasses
import os
from collections.abc import Iterator

import numpy as np

from kerasseg import records
from kerasseg.records import sharing
from tfrecords_tools.converters import source_files, splitting
from tfrecords_tools.doctor import splits

_TRAINING = "train"  # Splits whose name starts so are for training.


@dataclasses.dataclass(frozen=True)
class Shared:
    """Images of an unlabeled split that are also in another split.

    Attributes:
        unlabeled: Folder of the unlabeled split.
        split: Its name.
        count: Number of its unlabeled images.
        other: Name of the other split.
        names: Names of the shared images in the unlabeled split.
    """

    unlabeled: str
    split: str
    count: int
    other: str
    names: tuple[str, ...]

    @property
    def is_leak(self) -> bool:
        """Whether the other split is for evaluation."""
        return bool(self.names) and not self.other.startswith(_TRAINING)

    @property
    def text(self) -> str:
        """What was found, and what to do."""
        images = source_files.count(len(self.names), "image is", "images are")
        where = f"{self.unlabeled} {self.split}"
        found = f"{where}: of {self.count:,} unlabeled images, {len(self.names):,}"
        if not self.is_leak:
            return f"{found} are also in {self.other}."
        return (
            f"Warning: {where}: {images} also in {self.other}, for example "
            f"{source_files.shorten(self.names, 3)}. Scores on {self.other} would be "
            "too high if they were trained on. Build the unlabeled images again with "
            "--leave_out, whose file --leave_out_file writes."
        )


def find(
    records_dir: str | os.PathLike,
    unlabeled_dir: str | os.PathLike | None,
    dataset: str | None = None,
) -> list[Shared]:
    """Compares images without labels with those of all other splits by their pixels.

    Args:
        records_dir: Folder of the records, whose records without labels are compared
            with its other splits.
        unlabeled_dir: Folder of further records, which count as unlabeled even if they
            have labels; None for none.
        dataset: Name of the data set; needed if there is no dataset.json.

    Raises:
        errors.MissingFileError: There are no records.
        RecordError: Records are damaged.
        errors.UserError: See `splits.open_records`.
    """
    own = [(split, _without_label(split)) for split in _open(records_dir, dataset)]
    others: list = []
    if unlabeled_dir is not None:
        opened = _open(unlabeled_dir, dataset)
        others = [(split, np.arange(len(split))) for split in opened]
    if not others and not any(len(indices) for _, indices in own):
        return []
    everything = {
        split.name: set(sharing.hash_images(split, range(len(split))))
        for split, _ in own
    }
    return [
        *_compare(str(records_dir), own, everything, skip_same=True),
        *_compare(str(unlabeled_dir), others, everything, skip_same=False),
    ]


def as_leave_out(found: list[Shared]) -> str:
    """Returns the file for `leave_out` of the images that must not be trained on."""
    lines = {
        splitting.as_line(f"{each.split}:{name}")
        for each in found
        if each.is_leak
        for name in each.names
    }
    return "".join(f"{line}\n" for line in sorted(lines))


def _open(folder, dataset):
    return [
        records.open_split(folder, reader.split, dataset=dataset)
        for reader in splits.open_records(folder, dataset)
    ]


def _without_label(split):
    if not split.num_unlabeled:
        return np.arange(0)
    return np.flatnonzero(
        [_example(split, i)["label"] is None for i in range(len(split))]
    )


def _example(split, i):
    return records.parse_example(split.read(int(i)))


def _compare(folder, unlabeled, everything, *, skip_same) -> Iterator[Shared]:
    for split, indices in unlabeled:
        if not len(indices):
            continue
        hashes = sharing.hash_images(split, indices)
        for other, contents in everything.items():
            if skip_same and other == split.name:
                continue
            shared = [
                i for i, each in zip(indices, hashes, strict=True) if each in contents
            ]
            names = tuple(_example(split, i)["name"] for i in shared)
            yield Shared(folder, split.name, len(indices), other, names)
