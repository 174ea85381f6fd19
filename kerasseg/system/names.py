"""Names of files in messages and lists: one line each, and nothing is lost."""

import os
import re

# Control characters, line separators, marks that change the direction of text, and the
# bytes that are not UTF-8, which Python represents as lone surrogates.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(path: str | os.PathLike) -> str:
    r"""Returns a path as text of one line, from which the path can be restored.

    A backslash becomes `\\`, a byte that is not UTF-8 `\xe9`, a line feed `\n`, and
    other characters that cannot be printed `\x1b` or `\u2028`.
    """
    return one_line(os.fspath(path).replace("\\", r"\\"))


def one_line(text: str) -> str:
    """Returns a text with the characters escaped that cannot be printed in a line."""
    return _UNPRINTABLE.sub(lambda match: _escaped(match[0]), text)


def _escaped(character):
    if character in _SHORT:
        return _SHORT[character]
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # Python's form of the byte `number - 0xDC00`.
        return rf"\x{number - 0xDC00:02x}"
    return rf"\x{number:02x}" if number < 0x80 else rf"\u{number:04x}"
