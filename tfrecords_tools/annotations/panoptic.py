"""COCO panoptic: a PNG file of segment ids for each image, and a JSON file.

The id of a segment is R + 256 G + 256**2 B of its pixels, and 0 is void.

Source: https://cocodataset.org/#format-data, "4. Panoptic Segmentation".
"""

import collections
import functools
import os
import pathlib

import numpy as np

from kerasseg import images
from kerasseg.system import files
from tfrecords_tools.annotations import checking, coco
from tfrecords_tools.annotations.shapes import (
    IGNORED,
    Annotated,
    AnnotationError,
    Shape,
)

_BIT_DEPTH, _COLOR_TYPE = 24, 25  # Offsets in a PNG file.
_RGB = (8, 2)  # Bits and color type.
_MAX_ID = (1 << 24) - 1


def is_panoptic(content: dict) -> bool:
    """Returns whether a JSON file with images and annotations is panoptic."""
    listed, key = content.get("annotations"), "segments_info"
    if not listed:  # Only the categories can tell.
        listed, key = content.get("categories"), "isthing"
    return isinstance(listed, list) and any(
        isinstance(item, dict) and key in item for item in listed
    )


def read(content: dict, path: str) -> tuple[Annotated, ...]:
    """Reads the segments of all annotated images.

    Void pixels are ignored. Pixels of a crowd belong to its class, as in Detectron2's
    conversion to semantic labels; as an object it is a crowd. Stuff is no object.

    Args:
        content: The file.
        path: Its path. The PNG files are in a folder beside it, of the same name
            without .json, or in its own folder.

    Raises:
        AnnotationError: It is not a panoptic file in COCO's format.
    """
    try:
        categories = coco.by_id(content, "categories", "name")
        images_by_id = coco.by_id(content, "images", "file_name")
        annotations = _by_image(content, images_by_id)
        things = {i: _is_thing(item) for i, item in categories.items()}
    except AnnotationError as error:
        raise coco.invalid(path, error) from error
    names = {number: str(item["name"]) for number, item in categories.items()}
    _check_names(names, path)
    order = sorted(names, key=coco.order_of_ids)
    known = tuple(names[i] for i in order)
    stuff = tuple(names[i] for i in order if not things[i])
    folder = _folder(path)
    return tuple(
        _annotated(images_by_id[i], item, names, path, (folder, known, stuff))
        for i, item in annotations.items()
    )


def _by_image(content, images_by_id):
    """Returns the annotation of each image."""
    found: dict = {}
    for number, item in enumerate(checking.field(content, "annotations", list, "it")):
        what = f"annotation {number}"
        image_id = checking.field(item, "image_id", (int, str), what)
        if image_id not in images_by_id:
            raise AnnotationError(
                f"{what} is of the image {image_id!r}, which is not listed"
            )
        if image_id in found:
            name = images_by_id[image_id]["file_name"]
            raise AnnotationError(f"the image {name!r} has two annotations")
        found[image_id] = item
    return found


def _is_thing(category):
    value = category.get("isthing", 1)
    if value not in (0, 1):  # Also False and True.
        raise AnnotationError(
            f'category {category["name"]!r} has an "isthing" that is not 0 or 1'
        )
    return bool(value)


def _check_names(names, path):
    counts = collections.Counter(names.values())
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise AnnotationError(
            f"{path} has two categories named {twice[0]!r}. Rename one of them."
        )


def _folder(path):
    beside = os.path.splitext(path)[0]
    return beside if os.path.isdir(beside) else os.path.dirname(path)


def _annotated(image, item, names, path, rest):
    folder, known, stuff = rest
    name = image["file_name"]
    try:
        height, width = (
            checking.whole(image.get(key), f'the "{key}" of the image')
            for key in ("height", "width")
        )
        png = _png_path(item, folder)
        shapes = tuple(_shapes(item, names, stuff, png))
    except AnnotationError as error:
        return Annotated(name, path, 0, 0, (), known, stuff=stuff, fault=str(error))
    return Annotated(
        name, path, height, width, shapes, known, stuff=stuff, label_file=png
    )


def _png_path(item, folder):
    name = checking.field(item, "file_name", str, "its annotation")
    parts = pathlib.PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\0" in name:
        raise AnnotationError(
            f'its annotation has the "file_name" {name!r}, expected the name of a PNG '
            "file"
        )
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        raise AnnotationError(
            f"its PNG file {path} does not exist. Unpack the zip file of the PNG files "
            "beside the JSON file, into a folder of the same name"
        )
    return path


def _shapes(item, names, stuff, png):
    """Yields the void pixels and the segments."""
    segments = checking.field(item, "segments_info", list, "its annotation")
    shapes, ids = [], []
    for i, segment in enumerate(segments, 1):
        number = checking.field(segment, "id", int, f"segment number {i}")
        what = f"segment {number}"
        if not 0 < number <= _MAX_ID or number in ids:
            raise AnnotationError(
                f"{what} has an id that is {'used twice' if number in ids else 'void'}"
                f", expected different ids from 1 to {_MAX_ID:,}"
            )
        category = checking.field(segment, "category_id", (int, str), what)
        if category not in names:
            raise AnnotationError(
                f"{what} has category {category!r}, which is not listed"
            )
        name = names[category]
        ids.append(number)
        shapes.append(
            Shape(
                name,
                "segment",
                [png, number],
                "ids",
                what,
                crowd_of=name if segment.get("iscrowd") else "",
                is_object=name not in stuff,
            )
        )
    void = [png, 0, ids]
    yield Shape(IGNORED, "void", void, "ids", "the void pixels", is_object=False)
    yield from shapes


def rasterize(data: list, size: tuple[int, int]) -> np.ndarray:
    """Returns the pixels of a segment.

    Args:
        data: Path of the PNG file and id of the segment. For id 0, void, also the ids
            of all segments.
        size: Height and width of the image.

    Returns:
        bool `[height, width]`.

    Raises:
        AnnotationError: The file cannot be read, has another size, or other segments
            than those.
    """
    path, number, *listed = data
    try:
        stat = os.stat(path)
        ids, found = _read_ids(path, stat.st_mtime_ns, stat.st_size)
    except (OSError, images.ImageError) as error:
        raise AnnotationError(str(error)) from error
    if ids.shape != tuple(size):
        raise AnnotationError(
            f"{path} is {ids.shape[1]} x {ids.shape[0]} pixels, its image in the JSON "
            f"file {size[1]} x {size[0]}"
        )
    if listed:
        _check_ids(path, found - {0}, set(listed[0]))
    return ids == number


def _check_ids(path, found, listed):
    unknown, absent = sorted(found - listed), sorted(listed - found)
    if unknown:
        raise AnnotationError(
            f"{path} has pixels of segment {unknown[0]}, which is not in the "
            '"segments_info" of its image'
        )
    if absent:
        raise AnnotationError(f"{path} has no pixel of segment {absent[0]}")


@functools.lru_cache(maxsize=1)
def _read_ids(path, *_):
    """Returns the ids, int32 `[height, width]`, and those that occur."""
    data = files.read_bytes(path)
    header = images.probe(data, name=path)
    kind = (data[_BIT_DEPTH], data[_COLOR_TYPE]) if header.format == "png" else None
    if kind != _RGB:
        raise images.ImageError(
            f"{path} is no PNG file in 8-bit RGB, which encodes the ids of segments"
        )
    pixels = images.read_image(data, apply_exif=False, name=path).astype(np.int32)
    ids = pixels[..., 0] + 256 * pixels[..., 1] + 256**2 * pixels[..., 2]
    return ids, set(np.unique(ids).tolist())
