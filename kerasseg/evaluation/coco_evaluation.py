"""COCO's evaluation of instances, by pycocotools' COCOeval."""

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasseg import errors, images, records
from kerasseg.records import rle

IOU_TYPES = {"mask": "segm", "box": "bbox"}  # COCOeval's names of the kinds.
_STATS = (  # In the order of `COCOeval.stats`.
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"),
)
STATS = {f"{kind}_{name}": i for kind in IOU_TYPES for i, name in enumerate(_STATS)}


class EncodedMasks:
    """Masks as COCO's run lengths, decoded on access.

    Args:
        texts: COCO's compressed strings of runs.
        size: Height and width of the image.
    """

    def __init__(self, texts: list[bytes], size: tuple[int, int]):
        self.texts, self.size = texts, size

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, i) -> np.ndarray:
        """Returns mask `i`, bool `[height, width]`."""
        counts = rle.read(self.texts[i], self.size)
        pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        return pixels.reshape(self.size[::-1]).T


@dataclasses.dataclass(frozen=True, eq=False)
class Annotations:
    """Ground truth and detections of an image in COCO's format, without ids.

    Attributes:
        size: Height and width of the image.
        objects: COCO's dicts of the ground truth. "index" is that of the object, and
            "kind" the key of `IOU_TYPES` for which it counts, or None for all.
        detections: COCO's dicts of the detections, with their "index".
        num_objects: Number of objects, with crowds.
        has_masks: Whether the detections have masks.
    """

    size: tuple[int, int]
    objects: list[dict[str, Any]]
    detections: list[dict[str, Any]]
    num_objects: int
    has_masks: bool


def annotate(objects: records.Objects, detections: images.Detections) -> Annotations:
    """Converts an image to COCO's format.

    Args:
        objects: Ground truth. The area of an instance is its number of pixels. A crowd
            of class 0, such as void pixels, is a crowd of each class of the detections.
            It does not count for boxes: a box around void pixels has no meaning.
        detections: Detections of the image.

    Raises:
        errors.MissingPackageError: pycocotools is not installed.
        errors.UserError: A mask has another size than the image.
    """
    height, width = objects.maps.shape[1:]
    size = height, width
    boxes, areas = objects.measure()
    detected = sorted(set(np.asarray(detections.classes).tolist()))
    listed = []
    for i, (box, area) in enumerate(zip(boxes, areas, strict=True)):
        number, text = int(objects.classes[i]), rle.encode(objects.mask(i))
        for category in [number] if number else detected:
            annotation = {
                **_annotation(i, category, box, text, size),
                "area": int(area),
                "iscrowd": int(objects.is_crowd[i]),
                "kind": None if number else "mask",
            }
            listed.append(annotation)
    texts = _encode(detections.masks, size, len(detections))
    return Annotations(
        size,
        listed,
        [
            {
                **_annotation(i, int(category), box, text, size),
                "score": float(score),
                "iscrowd": 0,
            }
            for i, (category, box, text, score) in enumerate(
                zip(
                    *(detections.classes, detections.boxes, texts, detections.scores),
                    strict=True,
                )
            )
        ],
        num_objects=len(objects),
        has_masks=detections.masks is not None or not len(detections),
    )


def _annotation(index, category, box, text, size):
    y1, x1, y2, x2 = map(float, box)
    return {
        "index": index,
        "category_id": category,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "segmentation": {"size": list(size), "counts": text},
    }


def _encode(masks, size, count):
    if masks is None:
        return [None] * count
    if isinstance(masks, EncodedMasks):
        return masks.texts
    for mask in masks:
        if np.shape(mask) != size:
            raise errors.UserError(
                f"the mask of a detection is {list(np.shape(mask))}, the image "
                f"{list(size)}. Paste the masks at the size of the image"
            )
    return [rle.encode(mask) for mask in masks]


def evaluate(annotations: Sequence[Annotations], num_classes: int, kind: str) -> Any:
    """Matches detections with the ground truth, and computes COCO's scores.

    Args:
        annotations: Those of each image, whose id is its index plus 1.
        num_classes: Number of classes, 1 to `num_classes`, without the background.
        kind: Key of `IOU_TYPES`. The area of a detection is that of its mask for the
            scores of masks, and that of its box for the scores of boxes.

    Returns:
        `pycocotools.cocoeval.COCOeval`, after evaluate, accumulate and summarize.

    Raises:
        errors.MissingPackageError: pycocotools is not installed.
    """
    coco, cocoeval = pycocotools()
    images_ = [
        {"id": i, "height": each.size[0], "width": each.size[1]}
        for i, each in enumerate(annotations, 1)
    ]
    objects = [
        [
            annotation
            for annotation in each.objects
            if annotation["kind"] in (None, kind)
        ]
        for each in annotations
    ]
    detections = [_with_areas(each.detections, kind) for each in annotations]
    with contextlib.redirect_stdout(io.StringIO()):  # It prints its progress.
        datasets = [coco.COCO(), coco.COCO()]
        for dataset, listed in zip(datasets, (objects, detections), strict=True):
            dataset.dataset = {
                "images": images_,
                "categories": [{"id": i} for i in range(1, num_classes + 1)],
                "annotations": list(_with_ids(listed)),
            }
            dataset.createIndex()
        result = cocoeval.COCOeval(*datasets, IOU_TYPES[kind])
        result.evaluate()
        result.accumulate()
        result.summarize()
    return result


def _with_ids(listed):
    """Adds ids from 1: to COCOeval, 0 is none."""
    number = 0
    for image_id, each in enumerate(listed, 1):
        for annotation in each:
            number += 1
            yield {**annotation, "id": number, "image_id": image_id}


def _with_areas(detections, kind):
    from pycocotools import mask as coco_mask

    for each in detections:
        if kind == "mask":
            area = float(coco_mask.area(each["segmentation"]))
        else:
            area = each["bbox"][2] * each["bbox"][3]
        yield {**each, "area": area}


def pycocotools():
    """Returns the modules `coco` and `cocoeval`.

    Raises:
        errors.MissingPackageError: They are not installed.
    """
    try:
        from pycocotools import coco, cocoeval
    except ImportError as error:
        raise errors.MissingPackageError(
            "The scores of instances are computed by pycocotools. It is not "
            "installed: pip install 'kerasseg[datasets]'."
        ) from error
    return coco, cocoeval
