"""One TFRecord file: length, its CRC, data, its CRC, and so on to the end.

Source: tensorflow/core/lib/io/record_writer.h. Own framing, because TensorFlow's reader
takes a file that was cut between records for a whole one, and has no random access.
"""

import dataclasses
import glob
import os
import pathlib
import re
import struct

import google_crc32c
import numpy as np

from kerasseg import errors
from kerasseg.records import watch
from kerasseg.system import files

HEADER = struct.Struct("<QI")  # Length of the data, masked CRC of these 8 bytes.
FOOTER = struct.Struct("<I")  # Masked CRC of the data.
_CHUNK = 1 << 20  # Bytes read at once for a checksum.
_SPLIT_OF_FILE = re.compile(r"(.+)-\d+-of-\d+\.tfrecord")


class RecordError(errors.UserError):
    """Damaged records; the text names the shard, and the record where one is known."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """What a finished file holds.

    Attributes:
        name: File name, without the folder.
        records: Number of records.
        bytes: Size of the file.
        crc32c: Checksum of the whole file, an unsigned 32-bit number.
    """

    name: str
    records: int
    bytes: int
    crc32c: int


def shard_name(split: str, i: int, num_shards: int) -> str:
    """Name of the file number `i` (from 0) of a split."""
    return f"{split}-{i:05d}-of-{num_shards:05d}.tfrecord"


def find_shards(folder: pathlib.Path, split: str) -> list[pathlib.Path]:
    """Finds the files of a split; those of "train-extra" are none of "train"."""
    found = sorted(folder.glob(f"{glob.escape(split)}-*.tfrecord*"))
    matches = [_SPLIT_OF_FILE.match(path.name) for path in found]
    return [
        path
        for path, match in zip(found, matches, strict=True)
        if match is None or match[1] == split
    ]


def masked_crc(data: bytes) -> int:
    """CRC-32C of `data`, masked as TFRecord wants it."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def write_shard(path: str | os.PathLike, serialized) -> Shard:
    """Writes one file, which appears under its name only when it is whole.

    Args:
        path: Where to; its folder must exist.
        serialized: Iterable of records as bytes.
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
    """CRC-32C of a whole file."""
    crc = 0
    with _open(path) as file:
        while chunk := _watched(file.read, _CHUNK, path=path):
            crc = google_crc32c.extend(crc, chunk)
    return crc


def scan_shard(path: str | os.PathLike) -> np.ndarray:
    """Finds the records of one file by their headers; the data is not read.

    Returns:
        Where the data of each record starts, and its length: int64 `[records, 2]`.

    Raises:
        RecordError: A length is damaged, or the file ends inside a record.
    """
    found, fault = scan_whole_records(path)
    if fault:
        raise RecordError(fault)
    return found


def scan_whole_records(path: str | os.PathLike) -> tuple[np.ndarray, str]:
    """As `scan_shard`, but returns what is whole, and the fault ("" for none)."""
    path = pathlib.Path(path)
    size = path.stat().st_size
    found: list[tuple[int, int]] = []
    position, fault = 0, ""
    with _open(path) as file:
        while position < size:
            header = _watched(os.pread, file.fileno(), HEADER.size, position, path=path)
            fault = _header_fault(header, size - position)
            if fault:
                fault = f"{path.name}, record {len(found)}: {fault}. {COPY_AGAIN}"
                break
            length, _ = HEADER.unpack(header)
            found.append((position + HEADER.size, length))
            position += HEADER.size + length + FOOTER.size
    return np.array(found, np.int64).reshape(-1, 2), fault


def _open(path):
    return _watched(open, path, "rb", 0, path=path)


def _watched(function, *arguments, path):
    with watch.reading(path):
        return function(*arguments)


def _header_fault(header, num_left):
    if len(header) < HEADER.size:
        return f"the file ends after {len(header)} of the header's {HEADER.size} bytes"
    length, crc = HEADER.unpack(header)
    if crc != masked_crc(header[:8]):
        return "the length's checksum is wrong"
    wanted = HEADER.size + length + FOOTER.size
    if wanted > num_left:
        return f"the file ends after {num_left} of the record's {wanted} bytes"
    return ""


COPY_AGAIN = "The file is damaged: copy it or build the records again"
