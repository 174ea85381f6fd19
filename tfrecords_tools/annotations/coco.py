"""COCO's annotation files: polygons and run lengths to masks, through pycocotools."""

import collections
import dataclasses
import json
import os
import pathlib

import numpy as np

from kerasseg import datasets, errors, images


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture of an annotation file.

    Attributes:
        file_name: As the file has it.
        height: Pixels.
        width: Pixels.
        annotations: COCO's dicts of "category_id", "segmentation", "area", "iscrowd".
    """

    file_name: str
    height: int
    width: int
    annotations: tuple[dict, ...]


def read_pictures(path: str | os.PathLike) -> tuple[dict[int, str], list[Picture]]:
    """Reads an annotation file.

    Returns:
        Name by category id, in the file's order, and the pictures; one without an
        annotation has none.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no annotation file of COCO's kind.
    """
    try:
        content = json.loads(pathlib.Path(path).read_bytes())
        annotations = collections.defaultdict(list)
        for annotation in content["annotations"]:
            annotations[annotation["image_id"]].append(annotation)
        pictures = [
            Picture(
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
            f"{path} is no annotation file of COCO's kind, JSON with images, "
            f"annotations and categories ({error!r}). Give the right file"
        ) from error
    if annotations:
        raise errors.UserError(
            f"{path} has annotations of pictures that it does not list, such as "
            f"{next(iter(annotations))!r}. Get the file again"
        )
    return names, pictures


def draw(picture: Picture, classes: dict[int, int], *, background: int) -> np.ndarray:
    """Draws the annotations over each other, the smallest on top; crowds are ignored.

    Args:
        picture: What to draw.
        classes: Class number by category id; other categories are not drawn.
        background: Number of what nothing is drawn on.

    Returns:
        Class numbers, uint8 `[height, width]`.

    Raises:
        ImageError: An annotation cannot be drawn.
        ValueError: pycocotools is missing.
    """
    label = np.full((picture.height, picture.width), background, np.uint8)
    drawn: list[tuple] = []
    for annotation in picture.annotations:
        if annotation.get("category_id") not in classes:
            continue
        number = classes[annotation["category_id"]]
        is_crowd = bool(annotation.get("iscrowd"))
        mask = decode(annotation.get("segmentation"), label.shape, picture.file_name)
        number = datasets.IGNORE_LABEL if is_crowd else number
        drawn.append((not is_crowd, -int(mask.sum()), len(drawn), number, mask))
    for *_, number, mask in sorted(drawn, key=lambda thing: thing[:3]):
        label[mask] = number
    return label


def decode(segmentation, size: tuple[int, int], name: str) -> np.ndarray:
    """Makes a mask, bool `[height, width]`, of polygons or run lengths.

    Args:
        segmentation: Lists of x, y, x, y, ... in pixels; or a dict of "size", height
            and width, and "counts", a list or COCO's compressed text.
        size: Height and width of the picture.
        name: What errors call the picture.

    Raises:
        ImageError: It is damaged, or of another size than the picture.
        ValueError: pycocotools is missing.
    """
    try:
        from pycocotools import mask as coco_mask
    except ImportError as error:
        raise errors.UserError(
            "COCO's annotations need pycocotools and it is not installed: "
            "pip install kerasseg[datasets]"
        ) from error
    try:
        if isinstance(segmentation, dict):
            runs = {"size": list(size), "counts": _runs(segmentation, size)}
            found = coco_mask.frPyObjects(runs, *size)
        else:
            polygons = [_polygon(corners, size) for corners in segmentation]
            found = coco_mask.merge(coco_mask.frPyObjects(polygons, *size))
    except (ValueError, TypeError, LookupError) as error:
        raise images.ImageError(
            f"{name} has an annotation that cannot be drawn: {error}. "
            "Correct it, or get the file of annotations again"
        ) from error
    return coco_mask.decode(found).astype(bool)


def _runs(segmentation, size):
    """Lengths of runs, checked: pycocotools writes where they lead it."""
    if list(segmentation["size"]) != list(size):
        raise errors.UserError(
            f"its size is {segmentation['size']}, the picture's {list(size)}"
        )
    counts = segmentation["counts"]
    if isinstance(counts, str):
        counts = _expand(counts)
    counts = [int(count) for count in counts]
    if min(counts, default=0) < 0 or sum(counts) != size[0] * size[1]:
        raise errors.UserError(f"its runs do not make up {size[0]} x {size[1]} pixels")
    return counts


def _expand(text):
    """Reads COCO's text of runs: five bits a letter, differences from the third on.

    Source: rleFrString of https://github.com/cocodataset/cocoapi, maskApi.c.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if shift > 60:
            raise errors.UserError("its text of runs is damaged")
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts


def _polygon(corners, size):
    """Corners, checked: pycocotools walks along each edge, however long it is."""
    points = np.array(corners, float).reshape(-1, 2)
    if len(points) < 3:
        raise errors.UserError(f"a polygon has {len(points)} corners, wanted are three")
    end = np.array(size[::-1])
    if not ((points >= -end) & (points <= 2 * end)).all():
        raise errors.UserError(
            f"a polygon from {points.min(axis=0).tolist()} to "
            f"{points.max(axis=0).tolist()} lies far outside of the picture of "
            f"{end[0]} x {end[1]} pixels"
        )
    return points.ravel().tolist()
