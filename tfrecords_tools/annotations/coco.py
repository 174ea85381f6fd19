"""COCO JSON: polygons and run lengths, decoded by pycocotools."""

import collections
import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np

from kerasseg import datasets, errors, images
from tfrecords_tools.annotations.shapes import (
    IGNORED,
    Annotated,
    AnnotationError,
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
        content = json.loads(pathlib.Path(path).read_bytes())
        annotations = collections.defaultdict(list)
        for annotation in content["annotations"]:
            annotations[annotation["image_id"]].append(annotation)
        listed = [
            CocoImage(
                item["file_name"],
                int(item["height"]),
                int(item["width"]),
                tuple(annotations.pop(item["id"], ())),
            )
            for item in content["images"]
        ]
        names = {item["id"]: str(item["name"]) for item in content["categories"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.UserError(
            f"{path} is not an annotation file in COCO's format, JSON with images, "
            f"annotations and categories ({error!r}). Give the right file."
        ) from error
    if annotations:
        raise errors.UserError(
            f"{path} has annotations of images that it does not list, such as "
            f"{next(iter(annotations))!r}. Get the file again."
        )
    return names, listed


def read(path: str) -> tuple[Annotated, ...]:
    """Reads the shapes of all images; crowds are ignored.

    Raises:
        AnnotationError: An annotation has a category that is not listed.
        errors.UserError: It is not an annotation file in COCO's format.
    """
    names, listed = read_images(path)
    known = tuple(names[number] for number in sorted(names))
    return tuple(
        Annotated(
            file_name=image.file_name,
            origin=path,
            height=image.height,
            width=image.width,
            shapes=tuple(_shape(item, names, path) for item in image.annotations),
            known=known,
            largest_first=True,
        )
        for image in listed
    )


def _shape(item, names, path):
    number, segmentation = item.get("category_id"), item.get("segmentation")
    if number not in names:
        raise AnnotationError(
            f"{path}: annotation {item.get('id')} has category {number}, which is "
            "not listed. Export the file again."
        )
    name = IGNORED if item.get("iscrowd") else names[number]
    return Shape(name, "coco", segmentation) if segmentation else Shape(name, "bbox")


def draw(image: CocoImage, classes: dict[int, int], *, background: int) -> np.ndarray:
    """Draws the annotations of an image, small ones over large ones.

    Args:
        image: The image. Its crowds are ignored.
        classes: Class number by category id; other categories are not drawn.
        background: Class number of the other pixels.

    Returns:
        Class numbers, uint8 `[height, width]`.

    Raises:
        ImageError: An annotation cannot be drawn.
        errors.MissingPackageError: pycocotools is not installed.
    """
    label = np.full((image.height, image.width), background, np.uint8)
    drawn: list[tuple] = []
    for annotation in image.annotations:
        if annotation.get("category_id") not in classes:
            continue
        number = classes[annotation["category_id"]]
        is_crowd = bool(annotation.get("iscrowd"))
        mask = decode(annotation.get("segmentation"), label.shape, image.file_name)
        number = datasets.IGNORE_LABEL if is_crowd else number
        drawn.append((not is_crowd, -int(mask.sum()), len(drawn), number, mask))
    for *_, number, mask in sorted(drawn, key=lambda item: item[:3]):
        label[mask] = number
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
        from pycocotools import mask as coco_mask
    except ImportError as error:
        raise errors.MissingPackageError(
            "COCO annotations need pycocotools. It is not installed: pip install "
            "'kerasseg[datasets]'."
        ) from error
    try:
        if isinstance(segmentation, dict):
            runs = {"size": list(size), "counts": _runs(segmentation, size)}
            encoded = coco_mask.frPyObjects(runs, *size)
        else:
            polygons = [_polygon(corners, size) for corners in segmentation]
            encoded = coco_mask.merge(coco_mask.frPyObjects(polygons, *size))
    except (ValueError, TypeError, LookupError) as error:
        raise images.ImageError(
            f"{name} has an annotation that cannot be drawn: {error}. "
            "Correct it, or get the annotation file again."
        ) from error
    return coco_mask.decode(encoded).astype(bool)


def _runs(segmentation, size):
    """Returns checked run lengths: pycocotools writes out of bounds for wrong ones."""
    if list(segmentation["size"]) != list(size):
        raise errors.UserError(
            f"its size is {segmentation['size']}, that of the image {list(size)}"
        )
    counts = segmentation["counts"]
    if isinstance(counts, str):
        counts = _expand(counts)
    counts = [int(count) for count in counts]
    if min(counts, default=0) < 0 or sum(counts) != size[0] * size[1]:
        raise errors.UserError(
            f"its runs do not add up to {size[0]} x {size[1]} pixels"
        )
    return counts


def _expand(text):
    """Decodes COCO's string of runs: five bits a character, differences from the third.

    Source: rleFrString of https://github.com/cocodataset/cocoapi, maskApi.c.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if shift > 60:
            raise errors.UserError("its string of runs is damaged")
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts


def _polygon(corners, size):
    """Returns checked corners: pycocotools walks along each edge, however long."""
    points = np.array(corners, float).reshape(-1, 2)
    if len(points) < 3:
        raise errors.UserError(f"a polygon has {len(points)} corners, expected three")
    end = np.array(size[::-1])
    if not ((points >= -end) & (points <= 2 * end)).all():
        raise errors.UserError(
            f"a polygon from {points.min(axis=0).tolist()} to "
            f"{points.max(axis=0).tolist()} lies far outside of the image of "
            f"{end[0]} x {end[1]} pixels"
        )
    return points.ravel().tolist()
