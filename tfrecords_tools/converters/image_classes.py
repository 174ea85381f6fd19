"""Reads image-level classes: which classes an image shows, but not where."""

import csv
import dataclasses
import io
import os
import pathlib
from collections.abc import Iterable

from kerasseg import datasets, errors
from kerasseg.records import labeled_lists
from kerasseg.system import files
from tfrecords_tools.converters import pairs, source_files

_LISTS = "ImageSets/Main"  # Below PASCAL VOC's folder.
_SEPARATOR = ";"
_BACKGROUND = "background"

ImageClasses = dict[str, tuple[int, ...]]  # Sorted class numbers by the image's name.


def read(
    path: str, spec: datasets.DatasetSpec, image_names: Iterable[str]
) -> ImageClasses:
    """Reads the classes of images.

    Args:
        path: A CSV file, a line of which holds the name of an image and its classes,
            separated by semicolons, after an optional header `name,classes`; or PASCAL
            VOC's folder, VOCdevkit/VOC2012, with the lists of ImageSets/Main.
        spec: The data set, which has the classes. "background" is left out.
        image_names: Names of the images of all splits. A CSV file may name no others.

    Returns:
        The classes that each image shows; of images that are named.

    Raises:
        errors.MissingFileError: There is no such file, or no such list.
        errors.UserError: The file is not UTF-8, or a line names an unknown image or
            class, or an image that an earlier line names.
    """
    numbers = {name: i for i, name in enumerate(spec.class_names)}
    if os.path.isdir(path):
        return _read_voc(pathlib.Path(path) / _LISTS, numbers)
    return _read_csv(path, numbers, list(image_names))


def add(listed: Iterable[pairs.Pair], classes: ImageClasses) -> list[pairs.Pair]:
    """Returns pairs with their image-level classes, where these are known."""
    return [
        dataclasses.replace(pair, image_classes=classes.get(pair.name))
        for pair in listed
    ]


def _read_csv(path, numbers, image_names):
    index = labeled_lists.NameIndex(image_names)
    found: ImageClasses = {}
    for row, (text, listed) in _rows(path):
        where = f"{path}, line {row}"
        name = index.find(text)
        if name is None:
            raise errors.UserError(
                f"{where}: no image is called '{text}'. Correct or remove the line. "
                f"Names of images look like {', '.join(sorted(image_names)[:3])}."
            )
        if name in found:
            raise errors.UserError(
                f"{where}: an earlier line has the classes of '{text}'. Keep one line "
                "for each image."
            )
        given = [item.strip() for item in listed.split(_SEPARATOR) if item.strip()]
        unknown = [item for item in given if item not in numbers]
        if unknown:
            raise errors.UserError(
                f"{where}: '{unknown[0]}' is not a class. Separate classes by "
                f"{_SEPARATOR}. The classes are {source_files.shorten([*numbers])}."
            )
        found[name] = _numbers(given, numbers)
    if not found:
        raise errors.UserError(
            f"{path} has no line. Write lines such as `IMAGE,CLASS{_SEPARATOR}CLASS`, "
            "or omit `image_classes`."
        )
    return found


def _rows(path):
    """Yields the number and the two columns of each line that is not empty."""
    reader = csv.reader(io.StringIO(files.read_text(path)), strict=True)
    try:
        for row in reader:
            columns = [column.strip() for column in row]
            is_header = [column.lower() for column in columns] == ["name", "classes"]
            if not any(columns) or (is_header and reader.line_num == 1):
                continue
            if len(columns) != 2:
                raise errors.UserError(
                    f"{path}, line {reader.line_num}: {len(columns)} columns, expected "
                    f"the name of an image and its classes, as in `IMAGE,CLASS"
                    f"{_SEPARATOR}CLASS`. Nothing after the comma means that the image "
                    "shows no class."
                )
            yield reader.line_num, columns
    except csv.Error as error:
        raise errors.UserError(
            f"{path}, line {reader.line_num}, is not CSV: {error}. Correct the quotes."
        ) from error


def _numbers(class_names, numbers):
    return tuple(sorted({numbers[x] for x in class_names if x != _BACKGROUND}))


def _read_voc(folder, numbers):
    """Reads a list per class: 1 and 0 (only difficult objects) mean that it is shown.

    Difficult objects are in the image, although its label may ignore them.
    """
    shown: dict[str, list[str]] = {}
    first = None
    for class_name in numbers:
        if class_name == _BACKGROUND:
            continue
        path = folder / f"{class_name}_trainval.txt"
        values = _read_voc_list(path)
        if first is None:
            first, shown = path, {name: [] for name in values}
        if values.keys() != shown.keys():
            raise errors.UserError(
                f"{path} and {first} list different images. Get the files of PASCAL "
                "VOC again."
            )
        for name, value in values.items():
            if value >= 0:
                shown[name].append(class_name)
    return {name: _numbers(listed, numbers) for name, listed in shown.items()}


def _read_voc_list(path):
    if not path.is_file():
        raise errors.MissingFileError(
            f"{path} does not exist. `image_classes` takes a CSV file, or the folder "
            "VOCdevkit/VOC2012 of PASCAL VOC for a data set with its classes."
        )
    values = {}
    for line in source_files.read_lines(path):
        columns = line.split()
        if len(columns) != 2 or columns[1] not in ("-1", "0", "1"):
            raise errors.UserError(
                f"{path} has the line '{line}', expected the name of an image and 1, 0 "
                "or -1. Get the file of PASCAL VOC again."
            )
        values[columns[0]] = int(columns[1])
    return values
