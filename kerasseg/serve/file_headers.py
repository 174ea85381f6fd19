"""Properties of untrusted image files, read without a decoder.

The size that a file states is not verified: decoders check it again. It decides which
limits a request meets before any work is done for it.
"""

import re
import struct

from kerasseg.serve.request_errors import RequestError

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_SIZE_AT = 16  # In a PNG file, four bytes each, big-endian.
_MAX_SEGMENTS = 1000  # And chunks other than IDAT.
_MAX_CHUNKS, _MAX_SCANS = 100_000, 100
# Decoders unpack each to 8 MB, also after the pixels.
_COMPRESSED, _MAX_COMPRESSED = (b"zTXt", b"iTXt", b"iCCP"), 16
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)  # No restarts.
_END, _SCAN = 0xD9, 0xDA
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_NOT_FRAMES = {0xC4, 0xC8, 0xCC}  # Among C0 to CF: tables, an extension.


def claimed_size(data: bytes) -> tuple[int, int] | None:
    """Returns height and width of a JPEG or PNG file; None if it states none."""
    if data.startswith(_PNG):
        if data[_SIZE_AT - 4 : _SIZE_AT] != b"IHDR" or len(data) < _SIZE_AT + 8:
            return None
        width, height = struct.unpack_from(">II", data, _SIZE_AT)
        return height, width
    return _jpeg_size(data) if data.startswith(_JPEG) else None


def _jpeg_size(data):
    position = 2
    for _ in range(_MAX_SEGMENTS):
        if position + 9 > len(data) or data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
        elif marker in _WITHOUT_LENGTH:
            position += 2
        elif 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES:
            return struct.unpack_from(">HH", data, position + 5)
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def check_structure(data: bytes) -> None:
    """Counts the parts of an image file before a decoder reads them.

    Decoders take milliseconds and print a message for each chunk of a few bytes, and
    a pass over all pixels for each scan of a JPEG file.

    Raises:
        RequestError: 400, there are too many.
    """
    if data.startswith(_PNG):
        _check_chunks(data)
    elif data.startswith(_JPEG):
        _check_segments(data)


def _check_chunks(data):
    position, num_chunks, num_others, num_compressed = len(_PNG), 0, 0, 0
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        num_chunks += 1
        num_others += kind != b"IDAT"
        if num_others > _MAX_SEGMENTS or num_chunks > _MAX_CHUNKS:
            raise _too_many(f"{_MAX_SEGMENTS} chunks")
        num_compressed += kind in _COMPRESSED
        if num_compressed > _MAX_COMPRESSED:
            raise _too_many(f"{_MAX_COMPRESSED} compressed chunks")
        if kind == b"IEND":
            return
        position += 12 + length


def _check_segments(data):
    position, num_segments, num_scans = 2, 0, 0
    while match := _MARKER.search(data, position):
        marker, position = match[0][1], match.end()
        if marker == _END:
            return
        num_segments += 1
        num_scans += marker == _SCAN
        if num_segments > _MAX_SEGMENTS or num_scans > _MAX_SCANS:
            raise _too_many(f"{_MAX_SEGMENTS} segments or {_MAX_SCANS} scans")
        if marker not in _WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2], "big")


def _too_many(what):
    return RequestError(
        400, f"The image has more than {what}, which is the limit; save it again."
    )
