"""Records whose images without a label get pseudo-labels."""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterator

import numpy as np

from kerasseg import datasets, errors, images, records
from kerasseg.system import files, progress
from tfrecords_tools.converters import source_files
from tfrecords_tools.writing import file_names


@dataclasses.dataclass(frozen=True)
class Result:
    """Numbers of records of a split.

    Attributes:
        num_labeled: Records that were kept with their label, without further copies.
        num_pseudo: Records with a pseudo-label.
        num_without: Records that have neither, since there is no file for them.
        num_unused: Files in the folder of pseudo-labels that are of none of the images
            without a label.
    """

    num_labeled: int
    num_pseudo: int
    num_without: int
    num_unused: int


def unlabeled(split: records.Split) -> list[int]:
    """Returns the indices of the records whose labels are not used in training.

    Raises:
        errors.UserError: The labels of all records are used.
    """
    indices: list[int] = []
    if split.labeled is not None:
        indices = np.setdiff1d(np.arange(len(split)), split.labeled).tolist()
    if not indices:
        raise errors.UserError(
            f"The labels of all {len(split):,} records of the split '{split.name}' are "
            "used. Choose another `split`, give a `labeled_list`, or build the records "
            "with `labeled_fraction`."
        )
    return indices


def write(
    records_dir: str | os.PathLike,
    labels_dir: str | os.PathLike,
    output_records_dir: str | os.PathLike,
    *,
    split: str = "train",
    labeled_list: str | os.PathLike | None = None,
    labeled_copies: int = 1,
) -> Result:
    """Copies records, and gives the images without a label of a split pseudo-labels.

    Records whose labels are used in training keep their bytes. Of all others, the label
    and its image-level classes are replaced by those of the pseudo-label; without one,
    they are removed. Image-level classes of images without a label are kept. The copy
    has no list of labeled images of this split, so that training uses all of its
    labels. The other splits are copied unchanged.

    Args:
        records_dir: Folder of records, with dataset.json.
        labels_dir: Folder of the pseudo-labels: NAME.png with class numbers, or 255
            where a pixel is ignored; NAME is that of `file_names.stem`.
        output_records_dir: Folder of the copy, which must be empty or not exist. It
            appears when it is complete.
        split: The split whose records get pseudo-labels.
        labeled_list: File with the names of the images whose labels are used, instead
            of the list in dataset.json.
        labeled_copies: How often the copy has each record whose label is used, so that
            training sees it more often than one with a pseudo-label.

    Raises:
        errors.MissingFileError: There are no records.
        errors.UserError: The folder of the copy has files, the labels of all records
            are used, the records have instances, no record has a pseudo-label, or a
            pseudo-label does not fit.
        RecordError: Records are damaged.
    """
    if labeled_copies < 1:
        raise errors.UserError(
            f"`labeled_copies={labeled_copies}`: expected at least 1, which has each "
            "record once."
        )
    source = pathlib.Path(records_dir)
    output = pathlib.Path(os.path.abspath(output_records_dir))
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise errors.UserError(
            f"`output_records_dir={output}` exists and is not empty. Choose another "
            "folder, or remove it first."
        )
    info = records.read_info(source)
    if info.instance_classes:
        raise errors.UserError(
            f"{source} has instances, and pseudo-labels have classes only. Build the "
            "records without `instances`."
        )
    for each in info.splits:
        records.open_split(source, each)  # Also checks that the files are complete.
    opened = records.open_split(source, split, labeled_list=labeled_list)
    copy = _Copy(opened, info.splits[split], pathlib.Path(labels_dir), labeled_copies)
    folder = output.with_name(f".{output.name}.part")
    shutil.rmtree(folder, ignore_errors=True)  # Of a command that was killed.
    folder.mkdir(parents=True)
    try:
        copy.write(folder, info)
        _copy_numbers(pathlib.Path(labels_dir), folder)
        _copy_others(source, folder, info, split)
        if output.exists():
            output.rmdir()
        os.replace(folder, output)
        files.sync(output.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return copy.result


class _Copy:
    """The records of a split, with pseudo-labels."""

    def __init__(self, split, shards, labels_dir, labeled_copies):
        self._split, self._shards, self._labels_dir = split, shards, labels_dir
        self._labeled_copies = labeled_copies
        self._without_label = set(unlabeled(split))
        self._paths = self._find_labels()
        if not self._paths:
            name = self._parse(min(self._without_label))["name"]
            expected = f"{file_names.stem(name, min(self._without_label))}.png"
            raise errors.UserError(
                f"`labels_dir={labels_dir}` has no pseudo-label of the "
                f"{len(self._without_label):,} images of the split '{split.name}' "
                f"without a label. Expected files such as {expected}: give the "
                "folder pseudo_labels of a prediction of these images."
            )

    @property
    def result(self) -> Result:
        """The numbers of records."""
        return Result(
            len(self._split) - len(self._without_label),
            len(self._paths),
            len(self._without_label) - len(self._paths),
            sum(1 for _ in self._labels_dir.rglob("*.png")) - len(self._paths),
        )

    def _find_labels(self) -> dict[int, pathlib.Path]:
        """Returns the file of the pseudo-label of each record that has one."""
        names: dict[str, str] = {}
        paths = {}
        for i in sorted(self._without_label):
            name = self._parse(i)["name"]
            stem = file_names.stem(name, i)
            if stem in names:
                raise errors.UserError(
                    f"The images {names[stem]} and {name} would have the same "
                    f"pseudo-label {stem}.png. Build the records with other names."
                )
            names[stem] = name
            path = self._labels_dir / f"{stem}.png"
            if path.is_file():
                paths[i] = path
        return paths

    def _parse(self, i):
        try:
            return records.parse_example(self._split.read(i))
        except records.RecordError:
            raise
        except errors.UserError as error:
            raise records.RecordError(f"{self._split.locate(i)}: {error}") from error

    def write(self, folder, info):
        """Writes the files of the split, and dataset.json."""
        name, position, shards = self._split.name, 0, []
        with progress.track(len(self._split), unit="image", text=name) as bar:
            for shard in self._shards:
                records_ = self._records(position, position + shard.records, bar)
                shards.append(records.write_shard(folder / shard.name, records_))
                position += shard.records
        counts = {**info.num_unlabeled, name: self.result.num_without}
        counts = {split: count for split, count in counts.items() if count}
        lists = {split: info.labeled[split] for split in info.labeled if split != name}
        version = records.OBJECTS_VERSION if counts or lists else records.SCHEMA_VERSION
        new = dataclasses.replace(
            info,
            splits={**info.splits, name: shards},
            schema_version=version,
            labeled=lists,
            num_unlabeled=counts,
        )
        records.write_info(folder, new)

    def _records(self, start, end, bar) -> Iterator[bytes]:
        for i in range(start, end):
            if i in self._without_label:
                yield self._relabel(i)
            else:
                yield from [self._split.read(i)] * self._labeled_copies
            bar.update()

    def _relabel(self, i) -> bytes:
        example, path = self._parse(i), self._paths.get(i)
        header = images.read_header(example["image"], name=example["name"])
        size = example["height"], example["width"]
        label = None
        # Those of a label that is not used are not used either.
        is_given = example["label"] is None
        present = example["present_classes"] if is_given else None
        if path is not None:
            numbers = self._read_label(path, example["name"], header, size)
            label = images.encode_label(numbers)
            found = np.unique(numbers).tolist()
            if present is None:
                present = [k for k in found if k != datasets.IGNORE_LABEL]
        return records.encode_example(
            image=example["image"],
            label=label,
            name=example["name"],
            image_format=header.format,
            height=size[0],
            width=size[1],
            present_classes=present,
            kind=self._split.spec.image_kind,
        )

    def _read_label(self, path, name, header, size):
        if header.orientation != 1:
            raise errors.UserError(
                f"{name}: according to EXIF, the image is rotated, but it is stored as "
                "it is, so that a predicted label does not fit. Build the records with "
                "`apply_exif`."
            )
        numbers = images.read_label(path)
        if numbers.shape != size:
            raise errors.UserError(
                f"{path} is {numbers.shape[1]}x{numbers.shape[0]}, its image "
                f"{size[1]}x{size[0]}. Predict the images of these records, with "
                "python -m tfrecords_tools.extract."
            )
        num_classes = self._split.spec.num_classes
        images.check_label_range(numbers, num_classes, name=os.fspath(path))
        return numbers


def _copy_numbers(labels_dir, folder):
    """Copies the numbers of the pseudo-labels, which the report of a training shows."""
    path = pathlib.Path(os.path.abspath(labels_dir)).parent / records.PSEUDO_LABELS_FILE
    if path.is_file():
        shutil.copyfile(path, folder / path.name)
        files.sync(folder / path.name)


def _copy_others(source, folder, info, split):
    for name, shards in info.splits.items():
        for shard in shards if name != split else ():
            shutil.copyfile(source / shard.name, folder / shard.name)
            files.sync(folder / shard.name)


def describe(split: str, result: Result) -> str:
    """Returns lines about the numbers of records of a split."""
    count = source_files.count
    text = (
        f"{split}: {count(result.num_labeled, 'record')} with their labels, "
        f"{result.num_pseudo:,} with pseudo-labels, {result.num_without:,} without."
    )
    if result.num_unused:
        text += (
            f"\nNot used, since they are of no image without a label: "
            f"{count(result.num_unused, 'file')}."
        )
    return text
