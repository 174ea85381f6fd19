"""Detected instances in COCO's format."""

import importlib.util
from collections.abc import Sequence

import numpy as np

from kerasseg import errors, images
from kerasseg.records import rle


def check_package() -> None:
    """Raises `errors.MissingPackageError` if masks cannot be encoded."""
    if importlib.util.find_spec("pycocotools") is None:
        raise errors.MissingPackageError(
            "`output=instances` encodes masks by pycocotools. It is not installed: pip "
            "install 'kerasseg[datasets]'."
        )


def coco(
    name: str,
    size: tuple[int, int],
    detections: images.Detections,
    class_names: Sequence[str],
) -> dict:
    """Returns the detections of an image as an object for JSON.

    Args:
        name: Name of the image's file.
        size: Height and width of the image.
        detections: All its detections, whatever their scores.
        class_names: Names of all classes; class 0 is the background.

    Returns:
        Dict of "images" (one, whose id is 1), "categories" (without the background) and
        "annotations": the detections in their order, each with "id" from 1,
        "category_id" (the class number), "score", "bbox" (x, y, width, height in
        pixels), "segmentation" (compressed run lengths with the "size" of the image),
        "area" (in pixels) and "iscrowd" (0). `evaluation.read_results` reads it.

    Raises:
        errors.MissingPackageError: pycocotools is not installed.

    Source: https://cocodataset.org/#format-results.
    """
    height, width = size
    return {
        "images": [{"id": 1, "file_name": name, "width": width, "height": height}],
        "categories": [
            {"id": i, "name": class_name} for i, class_name in enumerate(class_names)
        ][1:],
        "annotations": [
            _annotation(i, detections, size) for i in range(len(detections))
        ],
    }


def _annotation(i, detections, size):
    y1, x1, y2, x2 = map(float, detections.boxes[i])
    mask = np.asarray(detections.masks[i])
    return {
        "id": i + 1,
        "image_id": 1,
        "category_id": int(detections.classes[i]),
        "score": float(detections.scores[i]),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "segmentation": {"size": list(size), "counts": rle.encode(mask).decode()},
        "area": int(np.count_nonzero(mask)),
        "iscrowd": 0,
    }
