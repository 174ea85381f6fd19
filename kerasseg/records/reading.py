"""Random access to the records of a split; every checksum is verified."""

import hashlib
import os
import pathlib
import re
import weakref
from collections.abc import Sequence

import numpy as np

from kerasseg import datasets, errors
from kerasseg.records import manifest, schema, shards, watch

_NUMBERED = re.compile(r"-(\d+)-of-(\d+)\.tfrecord$")
_MAX_FAULTS_NAMED = 10


class Split:
    """The records of one split, as `open_split` returns it.

    Reading is safe from several threads and after a fork.

    Attributes:
        spec: The data set.
        name: Name of the split.
    """

    def __init__(
        self, spec: datasets.DatasetSpec, name: str, paths: Sequence[pathlib.Path]
    ):
        self.spec = spec
        self.name = name
        self._shard_names = [path.name for path in paths]
        positions = [shards.scan_shard(path) for path in paths]
        self._records = np.concatenate(positions)  # [records, 2]: start and length.
        # Index of the first record of each shard, and the total number of records.
        self._starts = np.cumsum([0] + [len(records) for records in positions])
        self._files = [os.open(path, os.O_RDONLY) for path in paths]
        self._sizes: np.ndarray | None = None
        weakref.finalize(self, _close_all, self._files)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of class names and the lengths of all records, in order."""
        digest = hashlib.sha256("\n".join(self.spec.class_names).encode())
        digest.update(self._records[:, 1].astype("<i8").tobytes())
        return digest.hexdigest()

    def locate(self, i: int) -> str:
        """Returns where record `i` is, as in "<shard>, record <index in it>"."""
        shard = self._shard(i)
        return f"{self._shard_names[shard]}, record {i - self._starts[shard]}"

    def read(self, i: int) -> bytes:
        """Reads record `i`, a serialized `tf.train.Example`.

        Raises:
            IndexError: `i` is out of range; negative indices are not supported.
            RecordError: Its checksum is wrong. The message names shard and record.
        """
        shard = self._shard(i)
        start, length = self._records[i].tolist()
        size = length + shards.FOOTER.size
        with watch.reading(self._shard_names[shard]):
            data = os.pread(self._files[shard], size, start)
        crc = data[length:]
        if len(data) < size:
            fault = f"the file ends after {len(data)} of {size} bytes"
        elif shards.FOOTER.unpack(crc)[0] != shards.masked_crc(data[:length]):
            fault = "the checksum of the data is wrong"
        else:
            return data[:length]
        raise shards.RecordError(f"{self.locate(i)}: {fault}. {shards.COPY_AGAIN}")

    @property
    def sizes(self) -> np.ndarray:
        """Height and width of each image, int64 `[records, 2]`; reads every record.

        Raises:
            RecordError: A record cannot be read. The message names shard and record.
        """
        if self._sizes is None:
            self._sizes = np.array([self._size(i) for i in range(len(self))])
        return self._sizes

    def _size(self, i):
        try:
            example = schema.parse_example(self.read(i))
        except shards.RecordError:
            raise
        except ValueError as error:
            raise shards.RecordError(f"{self.locate(i)}: {error}") from error
        return example["height"], example["width"]

    def _shard(self, i):
        if not 0 <= i < len(self):
            raise IndexError(
                f"Split '{self.name}' of {len(self)} records has no record {i}. "
                f"Indices go from 0 to {len(self) - 1}"
            )
        return int(np.searchsorted(self._starts, i, side="right")) - 1


def _close_all(files):
    for file in files:
        os.close(file)


def open_split(
    records_dir: str | os.PathLike,
    split: str,
    *,
    dataset: str | None = None,
    deep: bool = False,
) -> Split:
    """Opens the records of one split, after checking that the files are complete.

    Args:
        records_dir: Folder of the records, with dataset.json, or without it if a script
            of TF DeepLab wrote them.
        split: Name of the split, such as "train".
        dataset: Name of the data set. Required without dataset.json; with it, it must
            be the same.
        deep: Whether to read every file once and verify its checksum.

    Raises:
        errors.MissingFileError: There are no records of the split.
        RecordError: Files are missing, truncated, damaged or unexpected; each is named.
        errors.UserError: The data set is unknown or another one, or dataset.json is
            damaged or has another schema version.
    """
    folder = pathlib.Path(records_dir)
    if not (folder / manifest.INFO_FILE).exists():
        return _open_foreign_split(folder, split, dataset, deep)
    info = manifest.read_info(folder)
    _check_dataset(folder, info.spec, dataset)
    _refuse(find_faults(folder, info, split, deep=deep), folder, split)
    paths = [folder / shard.name for shard in info.splits[split]]
    return Split(info.spec, split, paths)


def check_split(records_dir: str | os.PathLike, split: str) -> None:
    """Checks that a folder has the records of a split, without opening them.

    Args:
        records_dir: Folder of the records.
        split: Name of the split.

    Raises:
        errors.MissingFileError: It has neither dataset.json nor files of the split.
        errors.UserError: dataset.json is damaged.
    """
    folder = pathlib.Path(records_dir)
    if (folder / manifest.INFO_FILE).exists():
        _check_known(folder, manifest.read_info(folder), split)
    else:
        _foreign_paths(folder, split)


def _check_known(folder, info, split):
    if split not in info.splits:
        raise errors.MissingFileError(
            f"{folder} has no split '{split}', only {', '.join(sorted(info.splits))}. "
            "Choose one of them, or build it with python -m tfrecords_tools.build."
        )


def _open_foreign_split(folder, split, dataset, deep):
    spec, paths = _foreign_split(folder, split, dataset)
    _refuse(_numbering_faults(paths), folder, split)
    opened = Split(spec, split, paths)
    if not len(opened):
        _refuse(["the files have no records"], folder, split)
    for i in range(len(opened) if deep else 0):
        opened.read(i)
    return opened


def _refuse(faults, folder, split):
    if not faults:
        return
    named = "; ".join(faults[:_MAX_FAULTS_NAMED])
    num_more = len(faults) - _MAX_FAULTS_NAMED
    more = f"; and {num_more} more" if num_more > 0 else ""
    raise shards.RecordError(
        f"Split '{split}' in {folder} is incomplete or damaged: {named}{more}. Copy "
        "the files again, or build them again with python -m tfrecords_tools.build"
    )


def find_faults(
    folder: pathlib.Path, info: manifest.DatasetInfo, split: str, *, deep: bool = False
) -> list[str]:
    """Returns how the files of a split differ from dataset.json; see `open_split`.

    Raises:
        errors.MissingFileError: dataset.json does not have the split.
    """
    _check_known(folder, info, split)
    expected = {shard.name for shard in info.splits[split]}
    extra = sorted({path.name for path in shards.find_shards(folder, split)} - expected)
    faults = [_shard_fault(folder, shard, deep) for shard in info.splits[split]]
    faults += [f"{name} is not in {manifest.INFO_FILE}" for name in extra]
    return [fault for fault in faults if fault]


def _shard_fault(folder, shard, deep):
    path = folder / shard.name
    if not path.exists():
        return f"{shard.name} is missing"
    if not path.is_file():
        return f"{shard.name} is not a regular file"
    size = path.stat().st_size
    records, fault = shards.scan_complete_records(path)
    if size != shard.bytes or len(records) != shard.records:
        return (
            f"{shard.name}: expected {shard.records} records in {shard.bytes} bytes, "
            f"found {len(records)} in {size} bytes"
        )
    if fault:
        return fault
    if deep and shards.file_checksum(path) != shard.crc32c:
        return f"{shard.name}: its checksum differs from {manifest.INFO_FILE}"
    return ""


def _check_dataset(folder, spec, dataset):
    if dataset is None:
        return
    if dataset == spec.name and dataset not in datasets.list_datasets():
        return  # A data set of the user, whose classes only the records have.
    expected = datasets.get(dataset)
    if (spec.name, spec.class_names) != (expected.name, expected.class_names):
        raise errors.UserError(
            f"{folder} has records of '{spec.name}' with {spec.num_classes} classes, "
            f"`dataset={dataset}` has {expected.num_classes} classes. Give the data "
            "set of the records, or build them again"
        )


def _foreign_paths(folder, split):
    paths = shards.find_shards(folder, split)
    if not paths:
        raise errors.MissingFileError(
            f"{folder} has no {manifest.INFO_FILE} and no {split}-*.tfrecord. Build "
            f"the records first, with python -m tfrecords_tools.build."
        )
    return paths


def _foreign_split(folder, split, dataset):
    paths = _foreign_paths(folder, split)
    if dataset is None:
        raise errors.UserError(
            f"{folder} has no {manifest.INFO_FILE}, which names the classes. If other "
            "tools wrote the records, give their data set, for example "
            "`dataset=pascal_voc`; if a build was interrupted, run it again"
        )
    return datasets.get(dataset), paths


def _numbering_faults(paths):
    matches = [_NUMBERED.search(path.name) for path in paths]
    numbers = [(int(match[1]), int(match[2])) for match in matches if match]
    faults = []
    totals = sorted({total for _, total in numbers})
    if len(totals) > 1:
        faults.append(f"files of {' and '.join(map(str, totals))} shards are mixed")
    elif totals and len(numbers) != totals[0]:
        present = {i for i, _ in numbers}
        missing = [str(i) for i in range(totals[0]) if i not in present]
        faults.append(f"of {totals[0]} files, {', '.join(missing)} are missing")
    return faults
