"""Reads files that list classes, as labeling tools and data sets write them.

Numbers and colors are recognized in all lines or in none; other lines are errors, so
that a part of a line never becomes a part of a name.
"""

import csv
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from kerasseg import datasets, errors
from kerasseg.system import files
from tfrecords_tools import annotations

_SEPARATOR = r"(?:\s*[,;:|=]\s*|\s+)"
_LINE = re.compile(
    rf"((?:-?\d+(?:[.)]\s+|{_SEPARATOR}))*)(.*?)((?:{_SEPARATOR}-?\d+)*)"
)
_CVAT = re.compile(r"([^:]+):\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(?::.*)?")
_CVAT_UNCOLORED = re.compile(r"([^:]+)::.*")
_TRIPLE = re.compile(r"[\[(]\s*(\d+)[\s,;]+(\d+)[\s,;]+(\d+)\s*[\])]")
_HEX = re.compile(r"#([0-9a-fA-F]{6})(?![^\s,:;])")
_HEX_FIRST = re.compile(r"#[0-9a-fA-F]{6}[\s,:;]+\S.*")
_BAD_NAME = re.compile(
    r"[^\w]*|[-+*{}\[\]<>()\"'|/\\=:;,.!?@%&~`^$].*|.*[,:;={\[(|<\\]"
    r"|.*\s#.*|[-+]?\d*\.\d+[\s,;:].*|.*[\x00-\x1f\x7f].*|.*\d\W+\d+\W+\d.*"
)
_COLUMNS = {
    **dict.fromkeys(("name", "class", "label", "category", "title"), "name"),
    **dict.fromkeys(("classname", "labelname", "categoryname"), "name"),
    **dict.fromkeys(("id", "idx", "index", "number", "value", "pixelvalue"), "number"),
    **dict.fromkeys(
        ("classid", "labelid", "classindex", "pixel", "categoryid"), "number"
    ),
    **dict.fromkeys(("r", "red"), "red"),
    **dict.fromkeys(("g", "green"), "green"),
    **dict.fromkeys(("b", "blue"), "blue"),
    **dict.fromkeys(("a", "alpha"), "alpha"),
    **dict.fromkeys(("color", "colour", "rgb", "hex", "colorrgb"), "color"),
}
_HEADINGS = {"name", "names", "class", "classes", "label", "labels", "classname"}
_FORMS = (
    "Expected one class per line: NAME, NUMBER NAME, R G B NAME or NAME:R,G,B; or a "
    "table with a header such as name,r,g,b; or JSON with names"
)

Color = tuple[int, int, int]


class Entry(NamedTuple):
    """A class, or pixels to ignore.

    Attributes:
        name: Its name.
        color: Its color, RGB 0..255, or None.
        is_ignored: Whether its pixels belong to no class.
    """

    name: str
    color: Color | None = None
    is_ignored: bool = False


class _Row(NamedTuple):
    """A line of a list: a name, perhaps a color and a number."""

    name: str
    color: Sequence | None = None
    number: int | None = None


def read(path: str | os.PathLike) -> list[Entry]:
    """Reads a file; the classes are in the order of their numbers.

    Raises:
        errors.MissingFileError: There is no such file.
        errors.UserError: It is not a list of classes in a known form.
    """
    text = files.read_text(path)
    if text.lstrip()[:1] in ("{", "["):
        return _entries(_from_json(files.read_json(path), path), path)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = _without_comments(lines, path)
    if table := _table(lines, path):
        return _entries(table, path)
    if lines and _plain(lines[0]) in _HEADINGS:
        if not str(path).lower().endswith((".csv", ".tsv")):
            raise errors.UserError(
                f"{path} starts with '{lines[0]}', which looks like a heading. Remove "
                "the line, or give the class another name."
            )
        lines = lines[1:]
    return parse(lines, path)


def parse(lines: Iterable[str], origin: str | os.PathLike) -> list[Entry]:
    """Reads lines without a header; see `read`.

    Args:
        lines: Lines without comments.
        origin: Where they come from, for error messages.

    Raises:
        errors.UserError: A line has another form than the others, or none that is
            known.
    """
    parsed = [(line, *_parts(line)) for line in lines]
    if any(n.isdigit() and len(first + last) > 1 for _, first, n, last in parsed):
        raise _mixed(parsed, origin)  # Numbers without a name.
    shapes = {(len(first), len(last)) for _, first, _, last in parsed}
    if shapes <= {(0, 0), (3, 0), (0, 3), (0, 1)}:
        is_numbered = shapes == {(0, 1)} and _ends_are_numbers(parsed, origin)
        rows = []
        for line, first, name, last in parsed:
            if is_numbered:
                rows.append(_Row(name, None, last[0]))
            elif len(last) == 1:
                rows.append(_whole(line, origin))
            else:
                rows.append(_Row(name, first or last or None))
        return _entries(rows, origin)
    take = _TAKE.get(next(iter(shapes))) if len(shapes) == 1 else None
    if take is None or (shapes == {(4, 0)} and not _are_numbers_first(parsed)):
        raise _mixed(parsed, origin)
    return _entries([take(*parts) for _, *parts in parsed], origin)


_TAKE = {  # By the number of integers before and after the name.
    (1, 0): lambda first, name, _: _Row(name, None, first[0]),
    (4, 0): lambda first, name, _: _Row(name, first[1:], first[0]),
    (5, 0): lambda first, name, _: _Row(name, first[1:4], first[0]),  # QGIS.
    (7, 0): lambda first, name, _: _Row(name.strip('"'), first[1:4], first[0]),
    (1, 3): lambda first, name, last: _Row(name, last, first[0]),
    (1, 4): lambda first, name, last: _Row(name, last[:3], first[0]),  # 3D Slicer.
}


def _parts(line):
    """Returns the integers before the name, the name, and those after it."""
    if match := _CVAT.fullmatch(line):
        return [], match[1].strip(), [int(match[i]) for i in (2, 3, 4)]
    if match := _CVAT_UNCOLORED.fullmatch(line):
        return [], match[1].strip(), []
    if len(line) > 2 and line[0] == line[-1] == '"':
        return [], line[1:-1].replace('""', '"').strip(), []
    line = _TRIPLE.sub(r"\1 \2 \3", line)
    line = _HEX.sub(lambda m: " ".join(str(b) for b in bytes.fromhex(m[1])), line)
    match = _LINE.fullmatch(line)
    first, name, last = match.groups() if match else ("", line, "")
    if not name and not last.strip() and len(re.findall(r"\d+", first)) == 1:
        name, first = line, ""
    if not name and not first:
        name, last = line, ""
    return _integers(first), name.strip(), _integers(last)


def _integers(text):
    return [int(number) for number in re.findall(r"-?\d+", text)]


def _whole(line, origin):
    """Returns a row for a name that ends with a number."""
    if re.search(r"[,;:|=\t]\s*-?\d+$", line):
        raise errors.UserError(
            f"{origin}: '{line}' ends with a number, unlike other lines. {_FORMS}."
        )
    return _Row(line)


def _ends_are_numbers(parsed, origin):
    """Returns whether every line ends with the number of its class."""
    names = {name for _, _, name, _ in parsed}
    if len(names) < len(parsed):
        return False  # Such as "zone 1" and "zone 2".
    if all(re.search(r"[,;:|=\t]\s*-?\d+$", line) for line, *_ in parsed):
        return True
    if len(parsed) == 1:
        return False
    raise errors.UserError(
        f"{origin} has a number at the end of every line, such as '{parsed[0][0]}'. If "
        "it is the number of the class, write it first; if it belongs to the name, "
        "join them with _."
    )


def _are_numbers_first(parsed):
    """Returns whether lines of four integers are NUMBER R G B, not R G B A."""
    numbers = sorted(first[0] for _, first, _, _ in parsed)
    alphas = {first[3] for _, first, _, _ in parsed}
    known = [number for number in numbers if number not in _IGNORED_NUMBERS]
    return known == list(range(len(known))) and alphas != {255}


def _mixed(parsed, origin):
    counts: dict = {}
    for line, first, _, last in parsed:
        counts.setdefault((len(first), len(last)), []).append(line)
    examples = " and ".join(f"'{lines[0]}'" for lines in list(counts.values())[:2])
    differ = "lines of different forms" if len(counts) > 1 else "lines of unclear form"
    return errors.UserError(f"{origin} has {differ}, such as {examples}. {_FORMS}.")


def _without_comments(lines, path):
    """Drops comments, which start with # and are no colors."""
    by_hex = [line for line in lines if _HEX_FIRST.fullmatch(line)]
    others = [line for line in lines if line[0] != "#"]
    if by_hex and others:
        raise errors.UserError(
            f"{path}: '{by_hex[0]}' may be a comment or a color. Write comments with a "
            "space after #, and a color in every line."
        )
    return by_hex or others


def _plain(text):
    return re.sub(r"[\s_-]", "", text.strip().strip('"').lower())


def _table(lines, path):
    """Returns the rows of a table whose first line names its columns; or None."""
    if not lines:
        return None
    split = max(map(_csv_row, ",\t;"), key=lambda split: len(split(lines[0])))
    if len(split(lines[0])) < 2:
        split = str.split
    header = split(lines[0])
    columns = [_COLUMNS.get(_plain(text)) for text in header]
    if len(header) < 2 or "name" not in columns:
        return None
    unknown = [text for text, column in zip(header, columns, strict=True) if not column]
    repeated = len({*columns}) < len(columns)
    if unknown or repeated:
        raise errors.UserError(
            f"{path} has the columns {', '.join(header)}, of which "
            f"{', '.join(unknown) or 'two'} are not clear. Keep columns such as "
            "name,r,g,b or id,name only."
        )
    return [_table_row(columns, split(line), line, path) for line in lines[1:]]


def _csv_row(delimiter):
    def split(line):
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])

    return split


def _table_row(columns, cells, line, path):
    if len(cells) != len(columns):
        raise errors.UserError(
            f"{path}: '{line}' has {len(cells)} columns, the header {len(columns)}. "
            "Correct the line; quote names with the separator."
        )
    row = dict(zip(columns, cells, strict=True))
    color = [row[channel] for channel in ("red", "green", "blue") if channel in row]
    return _Row(
        row["name"].strip(), color or row.get("color") or None, row.get("number")
    )


def _from_json(content, path) -> list[_Row]:
    """Returns the classes in JSON of Hugging Face, CVAT, COCO or Supervisely."""
    for key in ("id2label", "label2id", "categories", "classes", "labels", "names"):
        if isinstance(content, dict) and isinstance(content.get(key), dict | list):
            content = content[key]
            break
    if isinstance(content, dict):
        pairs = [
            (value, key) if isinstance(value, str) else (key, value)
            for key, value in content.items()
        ]
        return [_json_row({"name": name, "id": number}, path) for name, number in pairs]
    return [
        _json_row({"name": item} if isinstance(item, str) else item, path)
        for item in content
    ]


def _json_row(item: Any, path):
    if isinstance(item, dict):
        names = [item[key] for key in ("name", "title", "label") if key in item]
        if names and isinstance(names[0], str):
            return _Row(names[0].strip(), item.get("color"), item.get("id"))
    raise errors.UserError(
        f"{path} has {json.dumps(item)[:60]} in the place of a class. {_FORMS}."
    )


_IGNORED_NUMBERS = (-1, datasets.IGNORE_LABEL)


def _entries(rows: Iterable[_Row], origin) -> list[Entry]:
    """Checks rows, and sorts them by number."""
    rows = [row._replace(number=_number(row, origin)) for row in rows]
    numbers = [row.number for row in rows if row.number is not None]
    if numbers:
        if len(numbers) < len(rows):
            raise errors.UserError(
                f"{origin} has numbers in some lines only. {_FORMS}."
            )
        rows.sort(key=lambda row: row.number or 0)
        _check_numbers(
            [number for number in numbers if number not in _IGNORED_NUMBERS], origin
        )
    return [
        Entry(
            _name(row, origin),
            None if row.color is None else _color(row, origin),
            row.number in _IGNORED_NUMBERS or row.name == annotations.IGNORED,
        )
        for row in rows
    ]


def _check_numbers(numbers, origin):
    if sorted(numbers) == list(range(len(numbers))):
        return
    listed = ", ".join(map(str, sorted(numbers)[:10]))
    hint = "Write the lines such that they are, or names without numbers."
    if sorted(numbers) == list(range(1, len(numbers) + 1)):
        hint = (
            "Add the class of 0, such as '0 background'. Or, if the masks hold no 0, "
            "write names without numbers and give `label_offset=-1`."
        )
    raise errors.UserError(
        f"{origin} numbers its classes {listed}, expected 0, 1, 2 and so on, each "
        f"once. {hint}"
    )


def _number(row, origin):
    if row.number is None:
        return None
    try:
        if isinstance(row.number, bool) or float(row.number) % 1:
            raise ValueError
        return int(float(row.number))
    except (TypeError, ValueError, OverflowError):
        raise errors.UserError(
            f"{origin} gives '{row.name}' the number {row.number!r}, expected an "
            "integer. Correct it."
        ) from None


def _name(row, origin):
    if _BAD_NAME.fullmatch(row.name):
        raise errors.UserError(
            f"{origin} has '{row.name}' in the place of the name of a class. {_FORMS}."
        )
    return row.name


def _color(row, origin) -> Color:
    values = row.color
    if isinstance(values, str):
        match = _HEX.fullmatch(values.strip())
        values = bytes.fromhex(match[1]) if match else re.findall(r"[-.\w]+", values)
    try:
        red, green, blue = (float(value) for value in values)
        color = int(red), int(green), int(blue)
        if color != (red, green, blue) or min(color) < 0:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise errors.UserError(
            f"{origin} gives '{row.name}' the color {row.color!r}, expected three "
            "integers, red, green and blue, or six hexadecimal digits. Correct it."
        ) from None
    if max(color) > 255:
        raise errors.UserError(
            f"{origin} gives '{row.name}' the color {' '.join(map(str, color))}, which "
            "has a value above 255. Red, green and blue range from 0 to 255. Correct "
            "the line."
        )
    return color
