"""Finds the images, labels, classes and splits that YOLO's data.yaml names.

Source: https://docs.ultralytics.com/datasets/segment/, "Dataset YAML format". Names in
a list start at 0, and label files are in folders labels/ beside images/.
"""

import collections
import functools
import glob
import os
import pathlib
import typing
import unicodedata

from kerasseg import errors
from kerasseg.system import files, patterns
from tfrecords_tools import annotations
from tfrecords_tools.annotations import checking
from tfrecords_tools.annotations import yolo as label_files
from tfrecords_tools.converters import (
    class_lists,
    image_sizes,
    matching,
    own_data,
    source_files,
)

SUFFIXES = (".yaml", ".yml")
_SPLITS = ("train", "val", "test")
_NO_LABELS = frozenset({"classes.txt", "labels.txt"})  # Of tools: lists of the classes.


class DataYaml(typing.NamedTuple):
    """A data.yaml.

    Attributes:
        path: The file.
        root: The folder that it gives with "path", or its own.
        names: Class names in the order of their numbers in label files.
        splits: Folders and lists of images of each split.
    """

    path: str
    root: str
    names: tuple[str, ...]
    splits: dict[str, list[str]]


class Found(typing.NamedTuple):
    """What a data.yaml finds.

    Attributes:
        match: Images and label files.
        shapes: Annotations of each image that has a label file.
        classes: "background", then the names.
        missing: Why a split has no image, by its name.
    """

    match: matching.Match
    shapes: dict[matching.Key, annotations.Annotated]
    classes: class_lists.ClassList | None
    missing: dict[str, str]


def is_data_yaml(path: str | None) -> bool:
    """Returns whether `annotations` is a data.yaml, by its ending."""
    return bool(path) and str(path).lower().endswith(SUFFIXES)


def match(own: own_data.OwnData) -> Found:
    """Finds images and labels.

    Args:
        own: Own images, whose `annotations` is a data.yaml.

    Raises:
        errors.UserError: The file cannot be used, or `images` is given, too.
        errors.MissingFileError: A folder or list of images is missing in all splits.
    """
    path = str(own.annotations)
    if own.images or own.lists:
        option = "images" if own.images else "lists"
        raise errors.UserError(
            f"`{option}={own.images or own.lists}` was given, but the data.yaml "
            f"`annotations={path}` gives the images of each split. Omit `{option}`."
        )
    data = read(path)
    found = _Files({}, {}, [], [])
    missing = {}
    for split, entries in data.splits.items():
        try:
            found.add(split, data, entries)
        except FileNotFoundError as error:
            missing[split] = str(error)
    if not found.images:
        raise errors.MissingFileError(next(iter(missing.values())))
    shapes = {
        key: _read_label(data, image, found.labels[key], ignore_exif=own.ignore_exif)
        for key, image in found.images.items()
        if key in found.labels
    }
    used = {*found.images.values(), *found.labels.values(), *found.duplicates}
    passed_over = tuple(sorted({*found.passed_over} - used))
    return Found(
        matching.Match(
            found.images, found.labels, tuple(found.duplicates), passed_over
        ),
        shapes,
        _class_list(data),
        missing,
    )


def _class_list(data):
    others = (name for name in data.names if name not in ("background", "_background_"))
    return class_lists.make_list(
        [("background", None), *((name, None) for name in others)], data.path
    )


def read(path: str) -> DataYaml:
    """Reads a data.yaml.

    Raises:
        errors.MissingFileError: There is no such file.
        errors.UserError: It is damaged, or describes no polygons.
        errors.MissingPackageError: PyYAML is not installed.
    """
    text = files.read_text(path)
    try:
        data = _parse(text)
        checking.field({"data": data}, "data", dict, "it")
        if "kpt_shape" in data:
            raise annotations.AnnotationError(
                'it has "kpt_shape", so its labels are keypoints, not polygons'
            )
        names = _names(data)
        splits = {key: _entries(data, key) for key in _SPLITS if data.get(key)}
        root = checking.field({"path": "", **data}, "path", (str, type(None)), "it")
        if not splits:
            raise annotations.AnnotationError('it has neither "train" nor "val"')
    except annotations.AnnotationError as error:
        raise errors.UserError(
            f"{path} is not a data.yaml of YOLO for segmentation: {error}. Expected "
            '"names", and folders or lists of images as "train", "val" and "test".'
        ) from error
    folder = os.path.dirname(path)
    given = os.path.join(folder, root or "")
    return DataYaml(path, given if os.path.isdir(given) else folder, names, splits)


def _parse(text):
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError as error:
        raise errors.MissingPackageError(
            "A data.yaml of YOLO needs PyYAML. It is not installed: pip install "
            "'kerasseg[datasets]'."
        ) from error

    class Loader(yaml.SafeLoader):
        """Refuses equal keys, of which all but one would be lost."""

        def construct_mapping(self, node, deep=False):
            keys = collections.Counter(
                key.value for key, _ in node.value if isinstance(key.value, str)
            )
            twice = [key for key, count in keys.items() if count > 1]
            if twice:
                raise annotations.AnnotationError(f"it has the key {twice[0]!r} twice")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except annotations.AnnotationError:
        raise
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise annotations.AnnotationError(f"it is not YAML ({reason})") from error


def _names(data):
    given = checking.field(data, "names", (list, dict), "it")
    if isinstance(given, dict):
        numbers = {checking.whole(key, "a class number", 0): key for key in given}
        if sorted(numbers) != [*range(len(given))]:
            raise annotations.AnnotationError(
                f"the class numbers of its names are {source_files.shorten([*given])}, "
                f"expected 0 to {len(given) - 1}"
            )
        given = [given[numbers[i]] for i in range(len(given))]
    names = tuple(_name(name, i) for i, name in enumerate(given))
    twice = [name for name, n in collections.Counter(names).items() if n > 1]
    if twice:
        raise annotations.AnnotationError(f"two classes have the name {twice[0]!r}")
    count = checking.whole(data.get("nc", len(names)), '"nc"', 0)
    if count != len(names):
        raise annotations.AnnotationError(
            f'"nc" is {count}, but it has {source_files.count(names, "name")}'
        )
    return names


def _name(value, number):
    what = f"class {number}"
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        kind = type(value).__name__
        raise annotations.AnnotationError(
            f"the name of {what} is a {kind}, expected text. Put the name into quotes, "
            "as YAML reads words such as yes, no and null otherwise"
        )
    return checking.class_name(str(value).strip(), what)


def _entries(data, key):
    given = checking.field(data, key, (str, list), "it")
    listed = [given] if isinstance(given, str) else given
    for each in listed:
        if not isinstance(each, str) or not each.strip() or "\0" in each:
            raise annotations.AnnotationError(f'"{key}" lists what is not a path')
    return listed


class _Files(typing.NamedTuple):
    """Images and labels of all splits, which `add` extends."""

    images: dict[matching.Key, str]
    labels: dict[matching.Key, str]
    duplicates: list[str]
    passed_over: list[str]

    def add(self, split, data, entries):
        """Adds the images and labels of a split.

        Raises:
            errors.MissingFileError: A folder or list does not exist, or is empty.
        """
        paths: list[str] = []
        bases: list[str] = []
        unused: dict[str, str] = {}
        for entry in entries:
            path = _existing(data, entry, split)
            if os.path.isdir(path):
                found = matching.find(path, "annotations")
                paths += found.all
                bases.append(path)
                self.passed_over.extend(found.passed_over)
                unused |= _label_files(path)
            else:
                listed = _read_list(path, data.root)
                paths += listed
                bases += map(os.path.dirname, listed)
        base = os.path.commonpath([os.path.abspath(each) for each in bases])
        for image in dict.fromkeys(paths):
            key = split, _name_below(base, image)
            label = label_path(image)
            unused.pop(label, None)
            if key in self.images:
                self.duplicates.append(image)
                continue
            self.images[key] = image
            if os.path.isfile(label):
                self.labels[key] = label
        for label, name in sorted(unused.items()):  # No image has this label.
            if (split, name) in self.labels:
                self.duplicates.append(label)
            self.labels.setdefault((split, name), label)


def _existing(data, entry, split):
    """Returns the path of a folder or list of images.

    Exports of Roboflow write ../train/images for train/images beside the file.
    """
    folder = os.path.dirname(data.path)
    below = entry.removeprefix("../")
    candidates = [
        os.path.normpath(os.path.join(start, each))
        for each in (entry, below)
        for start in (data.root, folder)
    ]
    for path in candidates:
        if os.path.exists(path):
            return path
    raise errors.MissingFileError(
        f"{data.path} gives {candidates[0]} as images of split '{split}', which does "
        'not exist. Correct the path there, or "path"; both may be relative to the '
        "file."
    )


def _read_list(path, root):
    """Returns the images that a list names, each once."""
    lines = source_files.read_lines(path)
    if not lines:
        raise errors.MissingFileError(
            f"{path} lists no image. List the paths of images, one per line."
        )
    folder = os.path.dirname(path)
    found = []
    for line in lines:
        beside = os.path.normpath(os.path.join(folder, line))
        below = os.path.normpath(os.path.join(root, line))
        is_below = not os.path.exists(beside) and os.path.exists(below)
        found.append(below if is_below else beside)
    return found


def label_path(image: str) -> str:
    """Returns the label file of an image: labels/ for the last images/, and .txt."""
    start, separator, end = f"/{image}".rpartition("/images/")
    path = f"{start}/labels/{end}"[1:] if separator else image
    return f"{os.path.splitext(path)[0]}.txt"


def _label_files(folder):
    """Returns the names of the label files of a folder of images, by path."""
    labels = os.path.dirname(label_path(os.path.join(folder, "x")))
    found = patterns.find(os.path.join(glob.escape(labels), "**", "*.txt"))
    base = os.path.abspath(labels)
    return {
        path: _name_below(base, path)
        for path in found
        if os.path.basename(path) not in _NO_LABELS
    }


def _name_below(base, path):
    """Returns the name of an image: its path below a folder, without the ending."""
    full = os.path.abspath(path)
    start = base if os.path.commonpath([base, full]) == base else os.path.dirname(full)
    relative = pathlib.PurePath(os.path.relpath(full, start))
    return unicodedata.normalize("NFC", relative.with_suffix("").as_posix())


def _read_label(data, image, label, *, ignore_exif):
    """Reads a label file. A file that cannot be used is one bad image."""
    try:
        size = image_sizes.read(image, ignore_exif=ignore_exif)
        stat = os.stat(label)
        known = data.names, image, label, size
        return _read_cached(*known, stat.st_mtime_ns, stat.st_size)
    except (errors.UserError, OSError) as error:
        reason = str(error).rstrip(".")
        return label_files.faulty(reason, data.names, image, label)


@functools.lru_cache(maxsize=1 << 20)
def _read_cached(names, image, label, size, *_):
    return label_files.read(files.read_text(label), names, size, image, label)
