"""Reads the options `classes`, `colormap` and `label_map`."""

import dataclasses
import os
import re
import unicodedata
from collections.abc import Sequence

from kerasseg import datasets, errors
from tfrecords_tools.converters import class_files, source_files

_HEX = re.compile(r"#?([0-9a-fA-F]{6})(?::(\d+))?")
_BACKGROUND = ("background", "_background_")

Color = class_files.Color


@dataclasses.dataclass(frozen=True)
class ClassList:
    """Classes in the order of their numbers.

    Attributes:
        names: Name of each class.
        colors: RGB color of each class, 0..255; None where it is unknown.
        ignored: Names whose pixels belong to no class.
    """

    names: tuple[str, ...]
    colors: tuple[Color | None, ...]
    ignored: tuple[str, ...] = ()

    @property
    def background(self) -> int:
        """Number of the background class; the ignore label if there is none."""
        numbers = [i for i, name in enumerate(self.names) if name in _BACKGROUND]
        return numbers[0] if numbers else datasets.IGNORE_LABEL

    def with_colors(self, colormap: Sequence[tuple[Color, int]]) -> "ClassList":
        """Returns a list in which classes without a color get that of a color map."""
        first = {number: color for color, number in reversed(colormap)}
        colors = tuple(color or first.get(i) for i, color in enumerate(self.colors))
        return dataclasses.replace(self, colors=colors)

    def with_palette(self, *, multi_label: bool = False) -> dict[str, Color]:
        """Returns a color for each name; where it is unknown, that of PASCAL VOC.

        Args:
            multi_label: Whether a pixel may have no class: then none is black.
        """
        return {
            name: color or bit_color(i + multi_label)
            for i, (name, color) in enumerate(zip(self.names, self.colors, strict=True))
        }


def bit_color(number: int) -> Color:
    """Returns PASCAL VOC's color of a class: the bits of its number, as R, G and B."""
    channels = [0, 0, 0]
    for level in range(3):
        for channel in range(3):
            channels[channel] |= (number >> (3 * level + channel) & 1) << (7 - level)
    return channels[0], channels[1], channels[2]


def read_classes(text: str) -> ClassList:
    """Reads the option `classes`: comma-separated names, a file, or a data set.

    `class_files` describes the forms of a file.

    Raises:
        errors.UserError: There are too few or too many classes, a name occurs twice, or
            the file cannot be read.
    """
    origin = f"`classes={text}`"
    if os.path.isfile(text):
        entries = class_files.read(text)
    elif text in datasets.list_datasets():
        return make_list(list(datasets.get(text).classes.items()), origin)
    else:
        entries = class_files.parse(source_files.split_commas(text), origin)
    classes = make_list(
        [(entry.name, entry.color) for entry in entries if not entry.is_ignored], origin
    )
    ignored = tuple(entry.name for entry in entries if entry.is_ignored)
    return dataclasses.replace(classes, ignored=ignored)


def make_list(named: Sequence[tuple[str, Color | None]], origin: str) -> ClassList:
    """Checks names and makes a list from them.

    Args:
        named: Name of each class, and its color or None.
        origin: Where they come from, for error messages.

    Raises:
        errors.UserError: See `read_classes`.
    """
    names = [name for name, _ in named]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise errors.UserError(
            f"{origin} names {', '.join(duplicates)} more than once. Names must "
            "differ: rename or remove the others."
        )
    similar = _similar(names)
    if similar:
        raise errors.UserError(
            f"{origin} names {' and '.join(map(repr, similar))}, which differ only in "
            "case, spaces or Unicode form. Rename one of them, or remove it."
        )
    if len(names) < 2:
        given = f"only '{names[0]}'" if names else "no class"
        raise errors.UserError(
            f"{origin} names {given}, expected at least two classes. Pixels of no "
            "class of yours need one too, as in `classes=background,road`. If it is a "
            "file, check the path."
        )
    if len(names) > datasets.IGNORE_LABEL:
        raise errors.UserError(
            f"{origin} has {len(names)} classes, but labels can hold at most "
            f"{datasets.IGNORE_LABEL}. Merge rare ones."
        )
    return ClassList(tuple(names), tuple(color for _, color in named))


def _similar(names):
    """Returns two names that differ only in case, spaces or Unicode form; or none."""
    first: dict[str, str] = {}
    for name in names:
        plain = unicodedata.normalize("NFKC", name).casefold()
        other = first.setdefault("".join(plain.split()), name)
        if other != name:
            return other, name
    return ()


def read_label_map(text: str) -> tuple[dict[int, int], dict[str, int]]:
    """Reads the option `label_map`, comma-separated FROM:TO.

    Returns:
        Class numbers by mask value, and class numbers by name in annotations.

    Raises:
        errors.UserError: An item has another form.
    """
    numbers, names = {}, {}
    for item in source_files.split_commas(text):
        start, separator, end = item.rpartition(":")
        is_number = separator and end.strip().isdecimal()
        if not is_number or _is_too_large(start) or _is_too_large(end):
            raise errors.UserError(
                f"`label_map` takes comma-separated FROM:TO. TO is a number up to 255 "
                f"(ignored), FROM a number up to 255 or a name, as in 11:255,12:0. Got "
                f"'{item}'."
            )
        if start.strip().isdecimal():
            numbers[int(start)] = int(end)
        else:
            names[start.strip()] = int(end)
    return numbers, names


def ignoring(names: Sequence[str], given: dict[str, int]) -> str:
    """Returns the value of `label_map` that ignores names.

    Args:
        names: The names.
        given: Class numbers of other names, which stay in it.
    """
    numbers = {**given, **dict.fromkeys(names, datasets.IGNORE_LABEL)}
    return source_files.join_commas([f"{name}:{n}" for name, n in numbers.items()])


def _is_too_large(text):
    return text.strip().isdecimal() and int(text) > datasets.IGNORE_LABEL


def read_colormap(
    text: str, classes: ClassList | None, name_map: dict[str, int]
) -> tuple[tuple[tuple[Color, int], ...], ClassList | None]:
    """Reads the option `colormap`, comma-separated items.

    An item is a data set, a file as `read_classes` reads it, "grey" (colors with three
    equal channels are class numbers), a color as six hexadecimal digits (the next
    class), or a color, a colon and its class number.

    Args:
        text: The option.
        classes: The classes; None to use those that the color map names.
        name_map: Class numbers of names that are not a class.

    Returns:
        Colors with their class numbers, and the classes.

    Raises:
        errors.UserError: An item has another form, a name is not a class, or a file
            cannot be read.
    """
    numbers: dict[Color, int] = {}
    for item in source_files.split_commas(text):
        if match := _HEX.fullmatch(item):
            red, green, blue = (int(match[1][i : i + 2], 16) for i in (0, 2, 4))
            used = [number for number in numbers.values() if number != 255]
            number = int(match[2]) if match[2] else max(used, default=-1) + 1
            if number > datasets.IGNORE_LABEL:
                raise errors.UserError(
                    "`colormap` takes RRGGBB:NUMBER, where NUMBER is a class number or "
                    f"255 (ignored). Got '{item}'."
                )
            numbers[red, green, blue] = number
        elif item == "grey":
            numbers.update({(i, i, i): i for i in range(256)})
        else:
            named, ignored = _named_colors(item)
            known = {**dict.fromkeys(ignored, datasets.IGNORE_LABEL), **name_map}
            classes = classes or make_list(
                [pair for pair in named if pair[0] not in known], item
            )
            numbers.update(_numbered(item, named, classes, known))
    return tuple(numbers.items()), classes


def _named_colors(item):
    """Returns names with their colors, and the names among them to ignore."""
    if os.path.isfile(item):
        entries = class_files.read(item)
        named = [(entry.name, entry.color) for entry in entries]
        missing = [name for name, color in named if color is None]
        if named and not missing:
            return named, [entry.name for entry in entries if entry.is_ignored]
        what = f"no color for {', '.join(missing[:5])}" if named else "no colors"
        raise errors.UserError(
            f"{item} has {what}. A line of a color map is R G B NAME, as in 64 0 128 "
            "car."
        )
    if item in datasets.list_datasets():
        return list(datasets.get(item).classes.items()), []
    raise errors.UserError(
        f"`colormap` takes a file, a data set ({', '.join(datasets.list_datasets())}), "
        f"grey, or colors such as 40e0d0 or 40e0d0:3. Got '{item}'."
    )


def _numbered(item, named, classes, name_map):
    names = [name for name, _ in named if name not in name_map]
    shares_none = not {*map(str.lower, names)} & {*map(str.lower, classes.names)}
    if shares_none and len(names) == len(classes.names):
        numbers = dict(zip(names, range(len(names)), strict=True))  # Other names.
    else:
        numbers = {name: i for i, name in enumerate(classes.names)}
    numbers |= name_map
    unknown = [name for name in names if name not in numbers]
    if unknown:
        raise errors.UserError(
            f"{item} has colors for {', '.join(unknown[:10])}, which are not in "
            "`classes`. Add them there, or ignore them: "
            f"`label_map={ignoring(unknown, name_map)}`."
        )
    return _without_duplicates(
        item, [(color, name, numbers[name]) for name, color in named]
    )


def _without_duplicates(item, entries):
    """Drops colors that a data set uses twice, as ADE20K for road and skyscraper."""
    first: dict = {}
    duplicates = set()
    for color, name, number in entries:
        other, known = first.setdefault(color, (name, number))
        if known != number and os.path.isfile(item):
            raise errors.UserError(
                f"{item} gives {other} and {name} the same color, "
                f"{' '.join(map(str, color))}. Correct the file, or the masks."
            )
        if known != number:
            duplicates.add(color)
    return {color: number for color, _, number in entries if color not in duplicates}
