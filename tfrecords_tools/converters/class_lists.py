"""What --classes, --colormap and --label_map say."""

import dataclasses
import os
import pathlib
import re

from kerasseg import datasets, errors
from tfrecords_tools import texts

_HEX = re.compile(r"#?([0-9a-fA-F]{6})(?::(\d+))?")
_NUMBERS_FIRST = re.compile(r"(\d+)[\s,]+(\d+)[\s,]+(\d+)\s+(\S.*)")  # CamVid's.
_NAME_FIRST = re.compile(  # CVAT's.
    r"([^:]+):\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(?::.*)?"
)
_BACKGROUND = ("background", "_background_")

Color = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class ClassList:
    """Classes in the order of their numbers.

    Attributes:
        names: What they are called.
        colors: RGB of each, 0..255; None where nothing says it.
    """

    names: tuple[str, ...]
    colors: tuple[Color | None, ...]

    @property
    def background(self) -> int:
        """Number of the class that is called background; the ignore label if none."""
        numbers = [i for i, name in enumerate(self.names) if name in _BACKGROUND]
        return numbers[0] if numbers else datasets.IGNORE_LABEL

    def with_colors(self, colormap) -> "ClassList":
        """Gives classes without a colour that of a `read_colormap`, if it has one."""
        first = {number: color for color, number in reversed(colormap)}
        return ClassList(
            self.names,
            tuple(color or first.get(i) for i, color in enumerate(self.colors)),
        )

    def with_palette(self) -> dict[str, Color]:
        """Names with colours, PASCAL VOC's where there are none."""
        return {
            name: color or bit_color(i)
            for i, (name, color) in enumerate(zip(self.names, self.colors, strict=True))
        }


def bit_color(number: int) -> Color:
    """PASCAL VOC's colour of a class: the bits of its number, dealt to R, G and B."""
    channels = [0, 0, 0]
    for level in range(3):
        for channel in range(3):
            channels[channel] |= (number >> (3 * level + channel) & 1) << (7 - level)
    return channels[0], channels[1], channels[2]


def read_classes(text: str) -> ClassList:
    """Reads --classes: names with commas, a file, or the name of a data set.

    A line of a file is a name, "R G B NAME", or "NAME:R,G,B" and anything after
    another colon; what begins with # is left out.

    Raises:
        ValueError: Fewer than two classes, too many, or a name twice.
    """
    if os.path.isfile(text):
        found = _read_file(text)
    elif text in datasets.list_datasets():
        found = list(datasets.get(text).classes.items())
    else:
        found = [(name.strip(), None) for name in text.split(",") if name.strip()]
    return make_list(found, f"`classes={text}`")


def make_list(found, origin: str) -> ClassList:
    """Makes a list of (name, colour or None), after checking it; see `read_classes`."""
    names = [name for name, _ in found]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise errors.UserError(
            f"{origin} names {', '.join(doubles)} more than once. Each class has one "
            "name: rename or remove the others"
        )
    if len(names) < 2:
        given = f"only '{names[0]}'" if names else "none"
        raise errors.UserError(
            f"{origin} names {given}; at least two classes are wanted, since what is "
            "none of yours is a class too, as in `classes=background,road`. If it is a "
            "file, is the path right?"
        )
    if len(names) > datasets.IGNORE_LABEL:
        raise errors.UserError(
            f"{origin} has {len(names)} classes, labels hold at most "
            f"{datasets.IGNORE_LABEL}. Put rare ones together"
        )
    return ClassList(tuple(names), tuple(color for _, color in found))


def _read_file(path):
    lines = texts.read_lines(pathlib.Path(path))
    return [_named(line) for line in lines if line[0] != "#"]


def _named(line):
    """Returns (name, colour or None) of a line."""
    name, color = line, None
    if match := _NUMBERS_FIRST.fullmatch(line):
        name, color = match[4].strip(), tuple(int(match[i]) for i in (1, 2, 3))
    elif match := _NAME_FIRST.fullmatch(line):
        name, color = match[1].strip(), tuple(int(match[i]) for i in (2, 3, 4))
    if color and max(color) > 255:
        raise errors.UserError(
            f"'{line}' has a colour beyond 255; red, green and blue are 0 to 255. "
            "Correct the line"
        )
    return name, color


def read_label_map(text: str) -> tuple[dict[int, int], dict[str, int]]:
    """Reads --label_map, "FROM:TO" with commas between.

    Returns:
        What numbers become, and what names of annotations become.

    Raises:
        ValueError: An item is something else.
    """
    numbers, names = {}, {}
    for item in filter(None, text.split(",")):
        start, separator, end = item.rpartition(":")
        is_number = separator and end.strip().isdecimal()
        if not is_number or _is_beyond(start) or _is_beyond(end):
            raise errors.UserError(
                f"`label_map` takes FROM:TO with commas between, TO a number up to 255 "
                f"(ignored), FROM one up to 255 or a name, as in 11:255,12:0; got "
                f"'{item}'"
            )
        if start.strip().isdecimal():
            numbers[int(start)] = int(end)
        else:
            names[start.strip()] = int(end)
    return numbers, names


def _is_beyond(text):
    return text.strip().isdecimal() and int(text) > datasets.IGNORE_LABEL


def read_colormap(
    text: str, classes: ClassList | None, name_map: dict[str, int]
) -> tuple[tuple[tuple[Color, int], ...], ClassList | None]:
    """Reads --colormap: items with commas between.

    An item is a data set with known colours, a file as `read_classes` takes it, "grey"
    (colours of three equal channels are class numbers), a colour of six hexadecimal
    digits (the next class), or a colour, a colon and its number.

    Args:
        text: The flag.
        classes: The classes, or None to take those that the colour map names.
        name_map: What names become that are none of the classes.

    Returns:
        Colours with the numbers that they become, and the classes.

    Raises:
        ValueError: An item is something else, or a name that is no class.
    """
    found: dict[Color, int] = {}
    for item in filter(None, text.split(",")):
        if match := _HEX.fullmatch(item):
            red, green, blue = (int(match[1][i : i + 2], 16) for i in (0, 2, 4))
            taken = [number for number in found.values() if number != 255]
            number = int(match[2]) if match[2] else max(taken, default=-1) + 1
            if number > datasets.IGNORE_LABEL:
                raise errors.UserError(
                    "`colormap` takes RRGGBB:NUMBER, NUMBER a class's, or 255 "
                    f"(ignored); got '{item}'"
                )
            found[red, green, blue] = number
        elif item == "grey":
            found.update({(i, i, i): i for i in range(256)})
        else:
            named = _named_colors(item)
            classes = classes or make_list(
                [pair for pair in named if pair[0] not in name_map], item
            )
            found.update(_numbered(item, named, classes, name_map))
    return tuple(found.items()), classes


def _named_colors(item):
    if os.path.isfile(item):
        found = _read_file(item)
        missing = [name for name, color in found if color is None]
        if not missing:
            return found
        raise errors.UserError(
            f"{item} has no colour for {', '.join(missing[:5])}. A line of a colour "
            "map is R G B NAME, as in 64 0 128 car"
        )
    if item in datasets.list_datasets():
        return list(datasets.get(item).classes.items())
    raise errors.UserError(
        f"`colormap` takes a file, a data set ({', '.join(datasets.list_datasets())}), "
        f"grey, or colours such as 40e0d0 or 40e0d0:3; got '{item}'"
    )


def _numbered(item, named, classes, name_map):
    names = [name for name, _ in named]
    has_others = not {*map(str.lower, names)} & {*map(str.lower, classes.names)}
    if has_others and len(names) == len(classes.names):
        numbers = dict(zip(names, range(len(names)), strict=True))  # Other names.
    else:
        numbers = {name: i for i, name in enumerate(classes.names)}
    numbers |= name_map
    unknown = [name for name in names if name not in numbers]
    if unknown:
        raise errors.UserError(
            f"{item} has colours of {', '.join(unknown[:10])}, which `classes` does "
            f"not name. Name them there, or ignore them: `label_map={unknown[0]}:255`"
        )
    return _of_one_class(item, [(color, name, numbers[name]) for name, color in named])


def _of_one_class(item, found):
    """Leaves out colours that a data set has twice, as ADE20K's road and skyscraper."""
    first: dict = {}
    doubles = set()
    for color, name, number in found:
        other, known = first.setdefault(color, (name, number))
        if known != number and os.path.isfile(item):
            raise errors.UserError(
                f"{item} gives {other} and {name} one colour, "
                f"{' '.join(map(str, color))}. Correct the file, or the masks"
            )
        if known != number:
            doubles.add(color)
    return {color: number for color, _, number in found if color not in doubles}
