"""Own images with annotations: which belong together, and their class numbers."""

import collections
import json
import pathlib

from kerasseg import datasets
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
    by_stem = collections.defaultdict(list)
    for key, path in both.images.items():
        by_stem[key[0], pathlib.Path(path).stem].append(key)
    files, found = {}, {}
    duplicates = [*both.duplicates]
    for (split, name), path in both.masks.items():
        for annotated in annotations.read(path):
            key = _image_key(annotated, split, name, by_stem, both.images)
            if key in found:
                duplicates.append(f"{path} ({annotated.file_name})")
            elif key in both.images:
                found[key], files[key] = annotated, path
            else:
                files[key] = f"{path} ({annotated.file_name})"
    return matching.Match(both.images, files, tuple(duplicates)), found


def _image_key(annotated, split, name, by_stem, paths):
    """Returns the key of the annotated image; a unique key if there is no image."""
    named = annotated.file_name.replace("\\", "/")
    keys = by_stem.get((split, pathlib.PurePosixPath(named).stem), [])
    if len(keys) > 1:
        keys = [key for key in keys if f"/{paths[key]}".endswith(f"/{named}")]
    if not keys and annotated.one_file:  # The image was renamed since.
        keys = by_stem.get((split, pathlib.PurePosixPath(name).name), [])
    return keys[0] if len(keys) == 1 else (split, named)


def list_classes(
    found: dict[matching.Key, annotations.Annotated],
) -> class_lists.ClassList:
    """Lists the classes that annotations name, after "background".

    Raises:
        errors.UserError: There are none, or too many.
    """
    known = dict.fromkeys(name for each in found.values() for name in each.known)
    used = sorted({shape.name for each in found.values() for shape in each.shapes})
    names = dict.fromkeys([*known, *used])
    for name in (annotations.IGNORED, "background", "_background_"):
        names.pop(name, None)
    return class_lists.make_list(
        [("background", None), *((name, None) for name in names)], "annotations"
    )


def encode(
    annotated: annotations.Annotated,
    classes: class_lists.ClassList,
    *,
    name_map: dict[str, int],
    skip: tuple[str, ...] = (),
) -> str:
    """Packs shapes with their class numbers as a text for `annotations.draw`.

    Args:
        annotated: The shapes of one image.
        classes: The classes. Pixels without a shape get the class "background", or are
            ignored if there is none.
        name_map: Class numbers of names that are not a class.
        skip: Kinds of shapes to skip.

    Raises:
        AnnotationError: A shape has an unknown name, or a kind without an area.
    """
    numbers = {name: i for i, name in enumerate(classes.names)}
    numbers[annotations.IGNORED] = datasets.IGNORE_LABEL
    numbers.setdefault("_background_", classes.background)
    numbers |= name_map
    shapes = [shape for shape in annotated.shapes if shape.kind not in skip]
    unknown = sorted({shape.name for shape in shapes} - numbers.keys())
    where = f"{annotated.origin} ({annotated.file_name})"
    if unknown:
        raise annotations.AnnotationError(
            f"{where} has shapes named {', '.join(unknown)}, which are not in "
            "`classes`. Add them there, or ignore them: "
            f"`label_map={class_lists.ignoring(unknown, name_map)}`."
        )
    flat = sorted({shape.kind for shape in shapes} - annotations.KINDS)
    if flat:
        raise annotations.AnnotationError(
            f"{where} has shapes without an area: {', '.join(flat)}. Draw polygons, or "
            f"skip them with `skip_shapes={','.join([*skip, *flat])}`."
        )
    # The key of a build depends on this text.
    content = {
        "size": [annotated.height, annotated.width],
        "ground": classes.background,
        "largest_first": annotated.largest_first,
        "shapes": [[numbers[shape.name], shape.kind, shape.data] for shape in shapes],
    }
    return json.dumps(content)
