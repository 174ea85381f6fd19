"""TFRecord files: for each record its length, a CRC of it, the data, and a CRC of it.

Source: tensorflow/core/lib/io/record_writer.h. TensorFlow's own reader does not notice
that a file was truncated between two records, and has no random access.
"""

import dataclasses
import glob
import os
import pathlib
import re
import struct
from collections.abc import Iterable

import google_crc32c
import numpy as np

from kerasseg import errors
from kerasseg.records import watch
from kerasseg.system import files

HEADER = struct.Struct("<QI")  # Length of the data, masked CRC of these 8 bytes.
FOOTER = struct.Struct("<I")  # Masked CRC of the data.
_CHUNK = 1 << 20  # Bytes read at a time for a checksum.
_SPLIT_OF_FILE = re.compile(r"(.+)-\d+-of-\d+\.tfrecord")


class RecordError(errors.UserError):
    """Damaged records; the message names the shard, and the record if it is known."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """A finished file.

    Attributes:
        name: File name, without the folder.
        records: Number of records.
        bytes: Size of the file.
        crc32c: Checksum of the whole file, an unsigned 32-bit integer.
    """

    name: str
    records: int
    bytes: int
    crc32c: int


def shard_name(split: str, i: int, num_shards: int) -> str:
    """Returns the name of file `i` (from 0) of a split."""
    return f"{split}-{i:05d}-of-{num_shards:05d}.tfrecord"


def find_shards(folder: pathlib.Path, split: str) -> list[pathlib.Path]:
    """Finds the files of a split; those of "train-extra" do not belong to "train"."""
    paths = sorted(folder.glob(f"{glob.escape(split)}-*.tfrecord*"))
    matches = [_SPLIT_OF_FILE.match(path.name) for path in paths]
    return [
        path
        for path, match in zip(paths, matches, strict=True)
        if match is None or match[1] == split
    ]


def masked_crc(data: bytes) -> int:
    """Returns the CRC-32C of `data`, masked as the TFRecord format requires."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def write_shard(path: str | os.PathLike, serialized: Iterable[bytes]) -> Shard:
    """Writes one file, which appears under its name only when it is complete.

    Args:
        path: The file; its folder must exist.
        serialized: The records.
    """
    path = pathlib.Path(path)
    num_records = num_bytes = crc = 0
    with files.open_file(path) as file:
        for data in serialized:
            length = struct.pack("<Q", len(data))
            header = HEADER.pack(len(data), masked_crc(length))
            for part in (header, data, FOOTER.pack(masked_crc(data))):
                file.write(part)
                num_bytes += len(part)
                crc = google_crc32c.extend(crc, part)
            num_records += 1
    return Shard(path.name, num_records, num_bytes, crc)


def file_checksum(path: str | os.PathLike) -> int:
    """Returns the CRC-32C of a whole file."""
    crc = 0
    with _open(path) as file:
        while chunk := _watched(file.read, _CHUNK, path=path):
            crc = google_crc32c.extend(crc, chunk)
    return crc


def scan_shard(path: str | os.PathLike) -> np.ndarray:
    """Finds the records of a file by their headers, without reading the data.

    Returns:
        Start and length of the data of each record in bytes, int64 `[records, 2]`.

    Raises:
        RecordError: A length is damaged, or the file ends within a record.
    """
    positions, fault = scan_complete_records(path)
    if fault:
        raise RecordError(fault)
    return positions


def scan_complete_records(path: str | os.PathLike) -> tuple[np.ndarray, str]:
    """Finds the records of a file up to the first damage.

    Returns:
        Positions, see `scan_shard`, and the damage in words, "" for none.
    """
    path = pathlib.Path(path)
    size = path.stat().st_size
    positions: list[tuple[int, int]] = []
    position, fault = 0, ""
    with _open(path) as file:
        while position < size:
            header = _watched(os.pread, file.fileno(), HEADER.size, position, path=path)
            fault = _header_fault(header, size - position)
            if fault:
                fault = f"{path.name}, record {len(positions)}: {fault}. {COPY_AGAIN}"
                break
            length, _ = HEADER.unpack(header)
            positions.append((position + HEADER.size, length))
            position += HEADER.size + length + FOOTER.size
    return np.array(positions, np.int64).reshape(-1, 2), fault


def _open(path):
    files.check_regular(_watched(os.stat, path, path=path), path)
    return _watched(open, path, "rb", 0, path=path)


def _watched(function, *arguments, path):
    with watch.reading(path):
        return function(*arguments)


def _header_fault(header, num_left):
    if len(header) < HEADER.size:
        return f"the file ends after {len(header)} of {HEADER.size} bytes of the header"
    length, crc = HEADER.unpack(header)
    if crc != masked_crc(header[:8]):
        return "the checksum of the length is wrong"
    size = HEADER.size + length + FOOTER.size
    if size > num_left:
        return f"the file ends after {num_left} of {size} bytes of the record"
    return ""


COPY_AGAIN = "The file is damaged. Copy it again, or build the records again"
