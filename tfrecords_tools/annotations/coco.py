"""COCO JSON: polygons and run lengths, decoded by pycocotools."""

import collections
import dataclasses
import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from kerasseg import datasets, errors, images
from kerasseg.records import rle
from kerasseg.system import files
from tfrecords_tools.annotations import checking
from tfrecords_tools.annotations.shapes import (
    IGNORED,
    Annotated,
    AnnotationError,
    Instance,
    Shape,
)


@dataclasses.dataclass(frozen=True)
class CocoImage:
    """One image of an annotation file.

    Attributes:
        file_name: As given in the file.
        height: Pixels.
        width: Pixels.
        annotations: COCO's dicts with "category_id", "segmentation", "area" and
            "iscrowd".
    """

    file_name: str
    height: int
    width: int
    annotations: tuple[dict, ...]


def read_images(path: str | os.PathLike) -> tuple[dict[int, str], list[CocoImage]]:
    """Reads an annotation file.

    Returns:
        The name of each category by its id, in the order of the file, and the images.
        Images without annotations are included.

    Raises:
        FileNotFoundError: There is no such file.
        errors.UserError: It is not an annotation file in COCO's format.
    """
    try:
        content = json.loads(files.read_bytes(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, errors.UserError):
            raise
        raise invalid(path, f"it is not JSON: {error}") from error
    names, listed = _parse(content, path)
    try:
        return names, [_sized(*each) for each in listed]
    except AnnotationError as error:
        raise invalid(path, error) from error


def _sized(item, annotations):
    name = item["file_name"]
    height, width = (
        checking.whole(item.get(key), f'the "{key}" of image {name!r}')
        for key in ("height", "width")
    )
    return CocoImage(name, height, width, annotations)


def invalid(path: str | os.PathLike, reason: object) -> AnnotationError:
    """Returns the error of a file that is not in COCO's format."""
    return AnnotationError(
        f"{path} is not an annotation file in COCO's format, JSON with images, "
        f"annotations and categories ({reason}). Give the right file."
    )


def _parse(content, path):
    """Returns the categories, and each image's object with its annotations."""
    try:
        categories = by_id(content, "categories", "name")
        images_by_id = by_id(content, "images", "file_name")
        annotations = collections.defaultdict(list)
        for number, item in enumerate(
            checking.field(content, "annotations", list, "it")
        ):
            image_id = checking.field(item, "image_id", _ID, f"annotation {number}")
            annotations[image_id].append(item)
    except AnnotationError as error:
        raise invalid(path, error) from error
    _check_listed(annotations.keys() - images_by_id.keys(), images_by_id, path)
    _check_unique(annotations, images_by_id, path)
    names = {number: str(item["name"]) for number, item in categories.items()}
    listed = [(item, tuple(annotations[i])) for i, item in images_by_id.items()]
    return names, listed


_ID = (int, str)


def by_id(content: Any, key: str, name: str) -> dict:
    """Returns the objects of a list by their ids, which must be unique.

    Args:
        content: The file.
        key: Key of the list.
        name: Key of the name of each object.

    Raises:
        AnnotationError: The list or an object is damaged, or two have the same id.
    """
    found: dict = {}
    for number, item in enumerate(checking.field(content, key, list, "it")):
        what = f"number {number} of its {key}"
        number = checking.field(item, "id", _ID, what)
        text = checking.field(item, name, str if name == "file_name" else _ID, what)
        if number in found:
            raise AnnotationError(
                f"{found[number][name]!r} and {text!r} in its {key} have the same id "
                f"{number}"
            )
        if key == "categories":
            checking.class_name(str(text), what)
        found[number] = item
    return found


def _check_listed(unlisted, images_by_id, path):
    if not unlisted:
        return
    first = min(unlisted, key=str)
    alike = [i for i in images_by_id if str(i) == str(first).strip()]
    if alike:
        raise AnnotationError(
            f"{path} has an annotation of image {first!r}, but the id of the image is "
            f"{alike[0]!r}: one is text, the other a number. Write the same in both."
        )
    raise AnnotationError(
        f"{path} has annotations of images that it does not list, such as {first!r}. "
        "Get the file again."
    )


def _check_unique(annotations, images_by_id, path):
    seen: dict = {}
    for image_id, items in annotations.items():
        name = images_by_id[image_id]["file_name"]
        for number in (item["id"] for item in items if "id" in item):
            if not isinstance(number, _ID):
                continue  # The id is only a name in messages.
            if number in seen:
                raise AnnotationError(
                    f"{path} has two annotations with the id {number}, of {name!r} and "
                    f"{seen[number]!r}. Ids must be unique. Export the file again."
                )
            seen[number] = name


def read(content: dict, path: str) -> tuple[Annotated, ...]:
    """Reads the shapes of all images; crowds are ignored.

    Args:
        content: The file.
        path: Its path, for error messages.

    Raises:
        AnnotationError: It is not an annotation file in COCO's format.
    """
    names, listed = _parse(content, path)
    _check_names(names, listed, path)
    unused = _groups(content["categories"], listed)
    known = tuple(names[i] for i in sorted(names.keys() - unused, key=order_of_ids))
    return tuple(_annotated(item, found, names, known, path) for item, found in listed)


def _groups(categories, listed):
    """Returns the ids of categories that only group others, as Roboflow lists them.

    Such a category is the supercategory of another one, has none itself, and no
    annotation.
    """
    used = {
        item["category_id"] for _, found in listed for item in found if _has_id(item)
    }
    parents = {
        item["supercategory"]
        for item in categories
        if isinstance(item.get("supercategory"), str)
        and item["supercategory"] != item["name"]
    }
    return {
        item["id"]
        for item in categories
        if item["name"] in parents
        and item.get("supercategory") in (None, "", "none")
        and item["id"] not in used
    }


def order_of_ids(number: int | str) -> tuple:
    """Returns a key that sorts ids: numbers come before texts."""
    return (0, number, "") if isinstance(number, int) else (1, 0, number)


def _check_names(names, listed, path):
    """Refuses two categories of one name, if both have annotations."""
    used = {i.get("category_id") for _, found in listed for i in found if _has_id(i)}
    by_name: dict = {}
    for number in names.keys() & used:
        other = by_name.setdefault(names[number], number)
        if other != number:
            raise AnnotationError(
                f"{path} has two categories named {names[number]!r}, with the ids "
                f"{other} and {number}. Rename one of them, or merge them."
            )


def _has_id(item):
    return isinstance(item.get("category_id"), _ID)


def _annotated(item, found, names, known, path):
    annotated = Annotated(
        file_name=item["file_name"],
        origin=path,
        height=0,
        width=0,
        shapes=(),
        known=known,
        largest_first=True,
    )
    try:
        image = _sized(item, found)
        shapes = tuple(_shape(x, names, i) for i, x in enumerate(found, 1))
    except AnnotationError as error:
        return dataclasses.replace(annotated, fault=str(error))
    return dataclasses.replace(
        annotated, height=image.height, width=image.width, shapes=shapes
    )


def _shape(item, names, number):
    what = f"annotation {item.get('id', f'number {number} of the image')}"
    category = checking.field(item, "category_id", _ID, what)
    if category not in names:
        alike = [i for i in names if str(i) == str(category).strip()]
        raise AnnotationError(
            f"{what} has category {category!r}, which is not listed"
            + (f" (only {alike[0]!r} is)" if alike else "")
        )
    segmentation = item.get("segmentation")
    crowd_of = names[category] if item.get("iscrowd") else ""
    name = IGNORED if crowd_of else names[category]
    if not segmentation:
        return Shape(name, "bbox", item=what)
    return Shape(name, "coco", segmentation, "coco", what, crowd_of=crowd_of)


def draw(
    image: CocoImage,
    classes: dict[int, int],
    *,
    background: int,
    image_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Draws the annotations of an image, small ones over large ones.

    Args:
        image: The image. Its crowds are ignored.
        classes: Class number by category id; other categories are not drawn.
        background: Class number of the other pixels.
        image_size: Height and width of the image file, which limit those of `image`.

    Returns:
        Class numbers, uint8 `[height, width]`.

    Raises:
        ImageError: An annotation cannot be drawn.
        errors.MissingPackageError: pycocotools is not installed.
    """
    size = image.height, image.width
    checking.area(size, image_size)
    masks = (
        (datasets.IGNORE_LABEL if is_crowd else number, mask)
        for number, mask, is_crowd in _masks(image, classes)
    )
    return paint_largest_first(np.full(size, background, np.uint8), masks)


def _masks(image, classes):
    """Yields class number, mask and whether it is a crowd, of each annotation."""
    size = image.height, image.width
    for annotation in image.annotations:
        category = annotation.get("category_id")
        if isinstance(category, _ID) and category in classes:
            mask = decode(annotation.get("segmentation"), size, image.file_name)
            yield classes[category], mask, bool(annotation.get("iscrowd"))


def draw_instances(image: CocoImage, classes: dict[int, int]) -> tuple[Instance, ...]:
    """Draws each annotation of an image alone, crowds included; see `draw`."""
    return tuple(
        Instance(rle.encode(mask), number, is_crowd)
        for number, mask, is_crowd in _masks(image, classes)
    )


def paint_largest_first(
    label: np.ndarray, masks: Iterable[tuple[int, np.ndarray]]
) -> np.ndarray:
    """Paints masks so that smaller ones cover larger ones, and all cover ignored ones.

    Of each pixel, the size of the mask that it belongs to is kept instead of the masks,
    which would take too much memory.

    Args:
        label: The background, uint8 `[height, width]`. It is changed.
        masks: Class number and mask, bool `[height, width]`, of each shape.

    Returns:
        `label`.
    """
    sizes = np.full(label.shape, 2 * label.size + 1, np.int32)
    for number, mask in masks:
        size = np.count_nonzero(mask)
        if number == datasets.IGNORE_LABEL:
            size += label.size
        mask = mask & (size <= sizes)
        label[mask], sizes[mask] = number, size
    return label


def decode(segmentation: Any, size: tuple[int, int], name: str) -> np.ndarray:
    """Decodes polygons or run lengths.

    Args:
        segmentation: Lists of x, y, x, y, ... in pixels; or a dict with "size" (height
            and width) and "counts" (a list, or COCO's compressed string).
        size: Height and width of the image.
        name: Name of the image, for error messages.

    Returns:
        Mask, bool `[height, width]`.

    Raises:
        ImageError: The annotation is damaged, or its size is not that of the image.
        errors.MissingPackageError: pycocotools is not installed.
    """
    try:
        return rasterize(segmentation, size)
    except AnnotationError as error:
        raise images.ImageError(
            f"{name} has an annotation that cannot be drawn: {error}. "
            "Correct it, or get the annotation file again."
        ) from error


def rasterize(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Decodes polygons or run lengths; see `decode`.

    Raises:
        AnnotationError: Why they cannot be drawn, without the name of the image.
        errors.MissingPackageError: pycocotools is not installed.
    """
    try:
        from pycocotools import mask as coco_mask
    except ImportError as error:
        raise errors.MissingPackageError(
            "COCO annotations need pycocotools. It is not installed: pip install "
            "'kerasseg[datasets]'."
        ) from error
    if isinstance(segmentation, dict):
        runs = {"size": list(size), "counts": _runs(segmentation, size)}
        encoded = coco_mask.frPyObjects(runs, *size)
    elif isinstance(segmentation, list) and segmentation:
        polygons = [checking.polygon(corners, size) for corners in segmentation]
        encoded = coco_mask.merge(coco_mask.frPyObjects(polygons, *size))
    else:
        raise AnnotationError("it has no polygon and no run lengths")
    return coco_mask.decode(encoded).astype(bool)


def _runs(segmentation, size):
    """Returns checked run lengths: pycocotools writes out of bounds for wrong ones."""
    given = checking.field(segmentation, "size", list, "its segmentation")
    if given != list(size):
        raise AnnotationError(
            f"its size is {str(given)[:40]}, that of the image {list(size)}"
        )
    counts = checking.field(segmentation, "counts", (list, str), "its segmentation")
    if isinstance(counts, str):
        try:
            counts = rle.expand(counts.encode("ascii")).tolist()
        except ValueError as error:
            raise AnnotationError("its string of runs is damaged") from error
    return checking.runs(counts, size)
