"""The number of fields of a protobuf message, counted before it is parsed.

Parsing makes an object of hundreds of bytes of a field of two bytes, and of the whole
message before anything can be checked.
"""

from google.protobuf.descriptor import Descriptor

MAX_FIELDS = 10_000  # Values of packed fields, such as those of arrays, are no fields.
_MAX_VARINT = 10  # Bytes of a number.
_FIXED_BYTES = {1: 8, 5: 4}  # By wire type.
_VARINT, _LENGTH_DELIMITED = 0, 2


def is_small(data: bytes, kind: Descriptor) -> bool:
    """Returns whether a message has at most `MAX_FIELDS` fields, those inside included.

    Args:
        data: Its bytes. If they are malformed, the result is False, or the parser will
            find it.
        kind: Descriptor of the message.
    """
    parts: list[tuple[int, int, Descriptor]] = [(0, len(data), kind)]
    count = 0
    while parts:
        position, end, kind = parts.pop()
        while position < end:
            count += 1
            if count > MAX_FIELDS:
                return False
            try:
                number, start, position = _field(data, position)
            except LookupError:
                return False
            if position > end:
                return False
            field = kind.fields_by_number.get(number)
            if start is not None and field is not None and field.message_type:
                parts.append((start, position, field.message_type))
    return True


def _field(data, position):
    """Returns its number, the start of what may be a message, and its end."""
    key, position = _varint(data, position)
    number, wire_type = key >> 3, key & 7
    if wire_type == _VARINT:
        return number, None, _varint(data, position)[1]
    if wire_type == _LENGTH_DELIMITED:
        length, position = _varint(data, position)
        return number, position, position + length
    return number, None, position + _FIXED_BYTES[wire_type]


def _varint(data, position):
    """Returns a number and its end."""
    value = 0
    for i in range(_MAX_VARINT):
        byte = data[position + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, position + i + 1
    raise LookupError("A number has too many bytes.")
