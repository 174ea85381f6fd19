"""Own images with annotations: which belong together, and their class numbers."""

import collections
import contextlib
import dataclasses
import json
import pathlib

from kerasseg import datasets, errors
from tfrecords_tools import annotations
from tfrecords_tools.converters import class_lists, matching


def match(
    images: str, patterns: str
) -> tuple[matching.Match, dict[matching.Key, annotations.Annotated]]:
    """Finds images and their annotations.

    Args:
        images: Folder or pattern of the images, see `matching.match`.
        patterns: Folder or pattern of the annotation files.

    Returns:
        The images with the files of their annotations, and the annotations of each
        image by the same keys.

    Raises:
        errors.MissingFileError: There is no image or no annotation file.
        AnnotationError: An annotation file cannot be read.
        errors.UserError: `{split}` is in one pattern only.
    """
    both = matching.find_both(images, patterns, "annotations", annotations.SUFFIXES)
    finder = _Finder(both)
    files: dict[matching.Key, str] = {}
    found: dict[matching.Key, annotations.Annotated] = {}
    duplicates = [*both.duplicates]
    for file_key, path in both.masks.items():
        for annotated in _read(path, finder.named_like(file_key)):
            key = finder.find(annotated, file_key)
            where = f"{path} ({annotated.file_name})"
            if key in found:
                duplicates.append(f"{where}, like {found[key].origin}")
            elif key in both.images:
                found[key], files[key] = annotated, annotated.label_file or path
            else:
                files[key] = where
    return matching.Match(both.images, files, tuple(duplicates)), found


def _read(path, own_key):
    """Reads a file. A damaged file that is named like one image is a fault of it."""
    try:
        return annotations.read(path)
    except annotations.AnnotationError as error:
        if own_key is None:
            raise
        broken = annotations.Annotated(own_key[1], path, 0, 0, (), one_file=True)
        return (dataclasses.replace(broken, fault=str(error)),)


class _Finder:
    """Finds the image of annotations by the names of their file and of the image."""

    def __init__(self, both):
        self._images = both.images
        self._by_stem = collections.defaultdict(list)
        for key, path in both.images.items():
            self._by_stem[key[0], pathlib.PurePosixPath(path).stem].append(key)

    def named_like(self, file_key):
        """Returns the key of the image with the name of an annotation file, or None."""
        if file_key in self._images:
            return file_key
        stem = pathlib.PurePosixPath(file_key[1]).name
        keys = self._by_stem.get((file_key[0], stem), [])
        return keys[0] if len(keys) == 1 else None

    def find(self, annotated, file_key):
        """Returns the key of the annotated image; another one if there is no image.

        Raises:
            AnnotationError: The file has the name of one image, and annotates another.
        """
        named = annotated.file_name.replace("\\", "/")
        keys = self._inside(file_key[0], named)
        if not annotated.one_file:
            return keys[0] if len(keys) == 1 else (file_key[0], named)
        own = self.named_like(file_key)
        if own is None:
            other = f"{annotated.origin}: {named}"  # Unique, so that none is lost.
            return keys[0] if len(keys) == 1 else (file_key[0], other)
        if keys and own not in keys:
            raise annotations.AnnotationError(
                f"{annotated.origin} has the name of {self._images[own]}, but its "
                f'"imagePath" is {named}, which is {self._images[keys[0]]}. Rename the '
                "file, or correct the path in it."
            )
        return own  # Where `keys` is empty, the image was renamed since.

    def _inside(self, split, named):
        """Returns the keys of the images that a name in annotations may mean."""
        keys = self._by_stem.get((split, pathlib.PurePosixPath(named).stem), [])
        exact = [key for key in keys if f"/{self._images[key]}".endswith(f"/{named}")]
        return exact or keys


def list_classes(
    found: dict[matching.Key, annotations.Annotated], *, with_background: bool = True
) -> class_lists.ClassList:
    """Lists the classes that annotations name, after "background".

    Args:
        found: The annotations of each image.
        with_background: Whether "background" is a class.

    Raises:
        errors.UserError: There are none, or too many.
    """
    known = dict.fromkeys(name for each in found.values() for name in each.known)
    used = sorted({shape.name for each in found.values() for shape in each.shapes})
    names = dict.fromkeys([*known, *used])
    for name in (annotations.IGNORED, "background", "_background_"):
        names.pop(name, None)
    faults = [each.fault for each in found.values() if each.fault]
    if faults and not names:
        raise annotations.AnnotationError(_where(next(iter(found.values())), faults[0]))
    _check_alike(names)
    first = ["background"] if with_background else []
    return class_lists.make_list(
        [(name, None) for name in (*first, *names)], "annotations"
    )


def _check_alike(names):
    """Refuses names that differ by case or spaces: they are hardly two classes."""
    by_form: dict[str, str] = {}
    for name in names:
        other = by_form.setdefault("".join(name.split()).casefold(), name)
        if other != name:
            raise errors.UserError(
                f"The annotations name the classes {other!r} and {name!r}, which "
                "differ by case or spaces only. Rename one, or list the classes with "
                f"`classes` and give the other name a number, `label_map={name}:1`."
            )


def encode(
    annotated: annotations.Annotated,
    classes: class_lists.ClassList,
    *,
    name_map: dict[str, int],
    skip: tuple[str, ...] = (),
    instances: bool = False,
    multi_label: bool = False,
) -> str:
    """Packs shapes with their class numbers as a text for `annotations.draw`.

    Args:
        annotated: The shapes of one image.
        classes: The classes. Pixels without a shape get the class "background", or are
            ignored if there is none.
        name_map: Class numbers of names that are not a class.
        skip: Kinds of shapes to skip; "degenerate" are those that cover no part of the
            image.
        instances: Whether `annotations.draw_instances` draws the objects.
        multi_label: Whether a pixel has the classes of all its shapes.

    Raises:
        AnnotationError: A shape has an unknown name or an unknown kind, has no area, or
            cannot be drawn.
    """
    if annotated.fault:
        raise annotations.AnnotationError(_where(annotated, annotated.fault))
    numbers = {name: i for i, name in enumerate(classes.names)}
    numbers[annotations.IGNORED] = datasets.IGNORE_LABEL
    numbers.setdefault("_background_", classes.background)
    numbers |= name_map
    shapes = [
        shape for shape in annotated.shapes if not {shape.kind, shape.drawer} & {*skip}
    ]
    unknown = sorted({shape.name for shape in shapes} - numbers.keys())
    if unknown:
        raise annotations.AnnotationError(
            f"{annotated.origin} ({annotated.file_name}) has shapes named "
            f"{', '.join(unknown)}, which are not in `classes`. Add them there, or "
            f"ignore them: `label_map={class_lists.ignoring(unknown, name_map)}`."
        )
    _check_kinds(annotated, shapes, skip)
    size = annotated.height, annotated.width
    drawn, objects = [], []
    for i, shape in enumerate(shapes):
        data = _checked(annotated, shape, size, skip)
        if data is not None:
            drawn.append([numbers[shape.name], shape.drawer, data, shape.item])
            objects.append(_object(i, shape, numbers) if shape.is_object else None)
    # The key of a build depends on this text.
    content = {
        "size": size,
        "ground": classes.background,
        "largest_first": annotated.largest_first,
        "shapes": drawn,
    }
    if instances:
        content["objects"] = objects
    if multi_label:
        content["multi_label"] = True
    return json.dumps(content)


def _object(i, shape, numbers):
    """Returns the object of shape `i`, see `annotations.draw_instances`."""
    key = f"shape {i}" if shape.group is None else f"group {shape.group}"
    name = shape.crowd_of or shape.name
    number = numbers.get(name, datasets.IGNORE_LABEL)
    return [f"{key} of {name}", number, bool(shape.crowd_of)]


def _where(annotated, reason):
    return (
        f"{annotated.origin} ({annotated.file_name}): {reason}. Correct it in the "
        "editor, or export the annotations again."
    )


def _check_kinds(annotated, shapes, skip):
    kinds = sorted({shape.kind for shape in shapes if not shape.drawer})
    where = f"{annotated.origin} ({annotated.file_name})"
    flat = [kind for kind in kinds if kind in _WITHOUT_AREA]
    unknown = [kind for kind in kinds if kind not in _WITHOUT_AREA]
    if unknown:
        raise annotations.AnnotationError(
            f"{where} has shapes of unknown kinds: {', '.join(unknown)}. Convert them "
            f"to polygons in the editor. `skip_shapes={','.join([*skip, *unknown])}` "
            "leaves them out, so that objects that they outline become background."
        )
    if flat:
        reason = " A box does not tell which of its pixels belong to the object."
        raise annotations.AnnotationError(
            f"{where} has shapes without an area: {', '.join(flat)}."
            f"{reason if 'bbox' in flat else ''} Draw polygons, or skip them with "
            f"`skip_shapes={','.join([*skip, *flat])}`."
        )


_WITHOUT_AREA = {"bbox", "line", "linestrip", "point", "points", "polyline"}


def _checked(annotated, shape, size, skip):
    """Returns the data of a shape; None if it is degenerate and to be skipped."""
    try:
        try:
            annotations.checking.shape(shape.drawer, shape.data, size)
        except annotations.checking.DegenerateError:
            if _DEGENERATE not in skip:
                raise
            return _without_degenerate(shape, size)
    except annotations.AnnotationError as error:
        remedy = "or export the annotations again."
        if isinstance(error, annotations.checking.DegenerateError):
            skipped = ",".join([*skip, _DEGENERATE])
            remedy = f"or skip all such shapes with `skip_shapes={skipped}`."
        raise annotations.AnnotationError(
            f"{annotated.origin} ({annotated.file_name}): {shape.item}, a {shape.kind} "
            f"of {shape.name}, cannot be drawn ({error}). Correct it in the editor, "
            f"{remedy}"
        ) from error
    return shape.data


_DEGENERATE = "degenerate"


def _without_degenerate(shape, size):
    """Returns the polygons that have an area; None if there are none."""
    if shape.drawer != "coco":
        return None
    kept = []
    for polygon in shape.data:
        with contextlib.suppress(annotations.checking.DegenerateError):
            annotations.checking.shape("coco", [polygon], size)
            kept.append(polygon)
    return kept or None
