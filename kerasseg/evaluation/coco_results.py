"""Detections that any tool wrote as results in COCO's format."""

import collections
import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kerasseg import errors, images
from kerasseg.evaluation import coco_shapes
from kerasseg.evaluation.coco_evaluation import EncodedMasks
from kerasseg.evaluation.masks import image_key
from kerasseg.system import files, json_values

_MAX_LISTED = 10  # Names in an error, for each kind of mistake.
_NUMBER = re.compile(r"\d+$")
_AGAIN = "Correct the file, or write it again with the tool that it is from."


@dataclasses.dataclass(frozen=True)
class _Result:
    """A result of the file, checked except for what depends on the image's size."""

    what: str
    image_id: Any
    category_id: Any
    score: float
    box: tuple[float, float, float, float] | None
    segmentation: Any


def read_results(
    path: str | os.PathLike,
    targets: Sequence[tuple[str, tuple[int, int]]],
    class_names: Sequence[str],
    *,
    annotations_json: str | os.PathLike | None = None,
) -> list[images.Detections]:
    """Reads results in COCO's format.

    The file is a list of results, or an object with the list as "annotations" and with
    "images" and "categories", as `kerasseg.predict` writes it. A result has
    "image_id", "category_id", "score", and "bbox" (x, y, width, height), "segmentation"
    (polygons or run lengths) or both. Without a box, it gets that of its mask.

    Args:
        path: The file, or a folder whose files ending in .json are read, also those in
            its subfolders.
        targets: Name, and height and width, of each image.
        class_names: Names of all classes; class 0 is the background.
        annotations_json: An annotation file of COCO whose "images" and "categories"
            name the ids. Without it, and without these lists in the file itself, an
            image id is a name or the number at the end of a name, so that 139 is
            "000000000139"; a category id is a name or a class number.

    Returns:
        Detections of each image, sorted by score, highest first; their masks are
        `EncodedMasks`, or None if no result has a segmentation.

    Raises:
        errors.MissingFileError: A file does not exist.
        errors.MissingPackageError: pycocotools is not installed.
        errors.UserError: A file is not JSON or no such list; an id is unknown; a score
            or box is not finite; a mask is damaged, or not of the size of its image; or
            only some of the results have a segmentation.
    """
    names = _Names([name for name, _ in targets], class_names)
    given = _Ids.of(files.read_json(annotations_json)) if annotations_json else None
    found: list[list[tuple[int, _Result]]] = [[] for _ in targets]
    owners: dict[int, pathlib.Path] = {}
    for file in _files(path):
        for image, number, result in _read_file(file, names, given):
            if owners.setdefault(image, file) != file:
                raise errors.UserError(
                    f"{owners[image]} and {file} both have results of image "
                    f"{targets[image][0]}. Remove one of them."
                )
            found[image].append((number, result))
    has_masks = _check_masks([r for each in found for _, r in each], path)
    return [
        _detections(each, size, path, has_masks)
        for each, (_, size) in zip(found, targets, strict=True)
    ]


def _files(path):
    path = pathlib.Path(path)
    if not path.is_dir():
        return [path]
    paths = sorted(p for p in path.rglob("*.json") if p.is_file())
    if not paths:
        raise errors.MissingFileError(
            f"{path} has no .json files. Give a file of results, or a folder of them."
        )
    return paths


class _Ids:
    """File names and class names by the ids of a file; None if it has no such list."""

    def __init__(self, images_, categories):
        self.images, self.categories = images_, categories

    @classmethod
    def of(cls, content):
        """Reads the lists of a file; raises `errors.UserError` if one is damaged."""
        lists: list[dict | None] = []
        for key, name in (("images", "file_name"), ("categories", "name")):
            if not isinstance(content, dict) or key not in content:
                lists.append(None)
                continue
            listed = json_values.get(content, key, list, "it")
            names = [
                (
                    _id(item, "id", f"number {i} of its {key}"),
                    json_values.get(item, name, str, f"number {i} of its {key}"),
                )
                for i, item in enumerate(listed)
            ]
            _check_unique(names, key)
            lists.append(dict(names))
        return cls(*lists)


def _check_unique(names, key):
    for kind, values in zip(("id", "name"), zip(*names, strict=True), strict=False):
        value, count = collections.Counter(values).most_common(1)[0]
        if count > 1:
            raise errors.UserError(
                f"two of its {key} have the {kind} {json_values.shorten(value)}"
            )


class _Names:
    """Finds images and classes by name or number."""

    def __init__(self, names, class_names):
        self._images: list[dict[Any, set]] = [{} for _ in range(4)]
        for i, name in enumerate(names):
            key = image_key(name)
            stem = pathlib.PurePath(key).name
            number = _NUMBER.search(stem)
            values = name, key, stem, int(number[0]) if number else None
            for table, value in zip(self._images, values, strict=True):
                if value is not None:
                    table.setdefault(value, set()).add(i)
        self._classes = {name: i for i, name in enumerate(class_names) if i}
        self._num_classes = len(class_names)

    def image(self, given):
        """Returns the index of an image, or -1; the number of candidates is next."""
        if isinstance(given, str):
            key = image_key(given)
            number = int(given) if given.isdecimal() else None
            keys: tuple = given, key, pathlib.PurePath(key).name, number
        else:
            keys = None, None, None, given
        for table, value in zip(self._images, keys, strict=True):
            indices = table.get(value, ())
            if indices:
                return (min(indices) if len(indices) == 1 else -1), len(indices)
        return -1, 0

    def class_number(self, given):
        """Returns the number of a class, or None."""
        if isinstance(given, str):
            return self._classes.get(given)
        return given if 1 <= given < self._num_classes else None


def _read_file(path, names, given):
    """Yields image index, class number and result of each result of a file."""
    content = files.read_json(path)
    try:
        ids = given or _Ids.of(content)
        if isinstance(content, dict):
            content = json_values.get(content, "annotations", list, "it")
        elif not isinstance(content, list):
            raise errors.UserError(
                f"it is {json_values.shorten(content)}, expected a list of results"
            )
        results = [_parse(item, f"result {i}") for i, item in enumerate(content)]
    except errors.UserError as error:
        raise errors.UserError(
            f"{path} has no results in COCO's format: {error}. {_AGAIN}"
        ) from error
    unknown: dict[str, dict] = collections.defaultdict(dict)
    located = []
    for result in results:
        image = _find_image(result.image_id, ids, names, unknown)
        number = _find_class(result.category_id, ids, names, unknown)
        located.append((image, number, result))
    if unknown:
        lines = [f"{len(v)} {what}: {_listed(v)}" for what, v in unknown.items()]
        raise errors.UserError(
            f"The results in {path} do not match the records, so nothing was scored: "
            f"{'; '.join(lines)}. If its ids are those of an annotation file, give "
            "this file as `annotations_json`; otherwise choose the records of these "
            "images and classes."
        )
    return located


def _listed(values):
    texts = [json_values.shorten(value) for value in values]
    return ", ".join(texts[:_MAX_LISTED]) + (", ..." if len(texts) > 10 else "")


def _find_image(given, ids, names, unknown):
    name = given
    if ids.images is not None:
        name = ids.images.get(given)
    index, count = names.image(name) if name is not None else (-1, 0)
    if index < 0:
        kind = "image ids that several images have" if count else "unknown images"
        shown = given if name in (None, given) else f"{given} ({name})"
        unknown[kind][shown] = True
    return index


def _find_class(given, ids, names, unknown):
    name = given
    if ids.categories is not None:
        name = ids.categories.get(given)
    number = names.class_number(name) if name is not None else None
    if number is None:
        shown = given if name in (None, given) else f"{given} ({name})"
        unknown["unknown categories"][shown] = True
    return number


def _id(item, key, what):
    """Returns an id: a number or a text."""
    if isinstance(item, dict) and isinstance(item.get(key), str):
        return item[key]
    return json_values.get(item, key, int, what)


def _parse(item, what):
    image_id = _id(item, "image_id", what)
    what = f"{what} (image {json_values.shorten(image_id)})"
    category_id = _id(item, "category_id", what)
    score = _finite(item.get("score"), f'"score" of {what}')
    box = None
    if item.get("bbox"):
        values = json_values.check(item["bbox"], list, f'"bbox" of {what}')
        if len(values) != 4:
            raise errors.UserError(
                f'"bbox" of {what} has {len(values)} values, expected x, y, width and '
                "height"
            )
        x, y, width, height = (_finite(v, f'"bbox" of {what}') for v in values)
        if width < 0 or height < 0:
            raise errors.UserError(
                f'"bbox" of {what} is {width:g} wide and {height:g} high, expected at '
                "least 0"
            )
        box = y, x, y + height, x + width
    segmentation = item.get("segmentation") or None
    if box is None and segmentation is None:
        raise errors.UserError(f'{what} has neither "bbox" nor "segmentation"')
    return _Result(what, image_id, category_id, score, box, segmentation)


def _finite(value, what):
    try:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        number = float(value) if is_number else math.nan
    except OverflowError:
        number = math.nan
    if not math.isfinite(number):
        raise errors.UserError(
            f"{what} is {json_values.shorten(value)}, expected a finite number"
        )
    return number


def _check_masks(results: Iterable[_Result], path) -> bool:
    """Returns whether the results have segmentations: all of them, or none."""
    without = [each for each in results if each.segmentation is None]
    if without and len(without) < len(list(results)):
        raise errors.UserError(
            f"{path}: {without[0].what} has no segmentation, as {len(without)} of the "
            "results, while others have one. Give masks of all detections, or boxes "
            "only."
        )
    return not without


def _detections(found, size, path, has_masks):
    found = sorted(found, key=lambda each: -each[1].score)
    texts, boxes = [], []
    for _, result in found:
        box = result.box
        if has_masks:
            try:
                text = coco_shapes.encode(result.segmentation, size)
            except errors.MissingPackageError:
                raise
            except errors.UserError as error:
                raise errors.UserError(
                    f"{path}: the mask of {result.what} cannot be read: {error}. "
                    f"{_AGAIN}"
                ) from error
            texts.append(text)
            box = coco_shapes.box(text, size) if box is None else box
        boxes.append(box)
    return images.Detections(
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        scores=np.array([result.score for _, result in found], np.float64),
        classes=np.array([number for number, _ in found], np.int32),
        masks=EncodedMasks(texts, size) if has_masks else None,
    )
