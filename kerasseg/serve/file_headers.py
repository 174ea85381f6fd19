"""The size that an image file states, read in microseconds and without a decoder.

It is not verified: decoders check it again. It decides which limits a request meets
before any work is done for it.
"""

import struct

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_SIZE_AT = 16  # In a PNG file, four bytes each, big-endian.
_MAX_SEGMENTS = 1000
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_NOT_FRAMES = {0xC4, 0xC8, 0xCC}  # Among C0 to CF: tables, an extension.


def claimed_size(data: bytes) -> tuple[int, int] | None:
    """Returns height and width of a JPEG or PNG file; None if it states none."""
    if data.startswith(_PNG) and len(data) >= _SIZE_AT + 8:
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
