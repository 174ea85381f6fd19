"""Shapes that people drew with an editor: COCO JSON, labelme JSON, CVAT XML.

`reading` tells the formats apart, `drawing` turns shapes into class numbers.
"""

import collections
import json
import pathlib

from kerasseg import datasets
from tfrecords_tools.annotations import drawing, reading
from tfrecords_tools.annotations.drawing import draw
from tfrecords_tools.annotations.shapes import (
    IGNORED,
    Annotated,
    AnnotationError,
    Shape,
)
from tfrecords_tools.converters import class_lists, matching

__all__ = [
    "Annotated",
    "AnnotationError",
    "Shape",
    "classes",
    "draw",
    "encode",
    "match",
]


def match(
    images: str, annotations: str
) -> tuple[matching.Match, dict[matching.Key, Annotated]]:
    """Finds pictures and what is annotated in them.

    Args:
        images: Folder or pattern, see `matching.match`.
        annotations: Likewise.

    Returns:
        Pictures with the file of their annotations, and the annotations by the same
        keys.

    Raises:
        FileNotFoundError: No picture or no annotation is there.
        AnnotationError: A file of annotations cannot be read.
        ValueError: `{split}` in one pattern only.
    """
    pictures, files, more = matching.find_both(
        images, annotations, "annotations", matching.ANNOTATIONS
    )
    by_stem = collections.defaultdict(list)
    for key, path in pictures.items():
        by_stem[key[0], pathlib.Path(path).stem].append(key)
    masks, found = {}, {}
    doubles = [*more]
    for (split, name), path in files.items():
        for annotated in reading.read(path):
            key = _picture(annotated, split, name, by_stem, pictures)
            if key in found:
                doubles.append(f"{path} ({annotated.file_name})")
            elif key in pictures:
                found[key], masks[key] = annotated, path
            else:
                masks[key] = f"{path} ({annotated.file_name})"
    return matching.Match(pictures, masks, tuple(doubles)), found


def _picture(annotated, split, name, by_stem, pictures):
    """Key of the picture that a file of annotations names; its own if there is none."""
    named = annotated.file_name.replace("\\", "/")
    keys = by_stem.get((split, pathlib.PurePosixPath(named).stem), [])
    if len(keys) > 1:
        keys = [key for key in keys if f"/{pictures[key]}".endswith(f"/{named}")]
    if not keys and annotated.one_file:  # Of a picture that was renamed since.
        keys = by_stem.get((split, pathlib.PurePosixPath(name).name), [])
    return keys[0] if len(keys) == 1 else (split, named)


def classes(found: dict[matching.Key, Annotated]) -> class_lists.ClassList:
    """Lists the classes that annotations name, after "background".

    Raises:
        ValueError: There are none, or too many.
    """
    known = dict.fromkeys(name for each in found.values() for name in each.known)
    used = sorted({shape.name for each in found.values() for shape in each.shapes})
    names = dict.fromkeys([*known, *used])
    for name in (IGNORED, "background", "_background_"):
        names.pop(name, None)
    return class_lists.make_list(
        [("background", None), *((name, None) for name in names)], "annotations"
    )


def encode(
    annotated: Annotated,
    named: class_lists.ClassList,
    *,
    name_map: dict[str, int],
    skip: tuple[str, ...] = (),
) -> str:
    """Packs shapes with their class numbers as a text that `draw` reads.

    Args:
        annotated: One picture's shapes.
        named: The classes; what no shape covers is the one called background, or
            ignored where there is none.
        name_map: Numbers of names that are no class.
        skip: Kinds of shapes that are left out.

    Raises:
        AnnotationError: A shape has a name without a number, or a kind without an area.
    """
    numbers = {name: i for i, name in enumerate(named.names)}
    numbers[IGNORED] = datasets.IGNORE_LABEL
    numbers.setdefault("_background_", named.background)
    numbers |= name_map
    shapes = [shape for shape in annotated.shapes if shape.kind not in skip]
    unknown = sorted({shape.name for shape in shapes} - numbers.keys())
    where = f"{annotated.origin} ({annotated.file_name})"
    if unknown:
        raise AnnotationError(
            f"{where} has shapes of {', '.join(unknown)}, which `classes` does not "
            f"name. Name them there, or ignore them: `label_map={unknown[0]}:255`"
        )
    flat = sorted({shape.kind for shape in shapes} - drawing.KINDS)
    if flat:
        raise AnnotationError(
            f"{where} has shapes without an area: {', '.join(flat)}. Draw polygons, or "
            f"leave them out with `skip_shapes={','.join(flat)}`"
        )
    facts = {
        "size": [annotated.height, annotated.width],
        "ground": named.background,
        "largest_first": annotated.largest_first,
        "shapes": [[numbers[shape.name], shape.kind, shape.data] for shape in shapes],
    }
    return json.dumps(facts)
