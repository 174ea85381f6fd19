"""Errors of single images: missed instances, false positives and duplicates.

They are read off COCO's matches at an IoU of 0.5. In the order of scores, a detection
is matched with the instance of its class that overlaps it most and is not yet matched,
so the matches of detections above a minimum score do not depend on those below it.
"""

import dataclasses
from typing import Any

import numpy as np

MIN_IOU = 0.5
# What becomes of an instance or a detection, in the order of `counts`.
CORRECT, MISSED, FALSE_POSITIVE, DUPLICATE, IGNORED = range(5)
KINDS = ("correct", "missed", "false_positives", "duplicates", "ignored")


@dataclasses.dataclass(frozen=True, eq=False)
class Matches:
    """What became of the instances and detections of an image.

    Attributes:
        objects: `CORRECT`, `MISSED` or, for a crowd, `IGNORED`, int8 `[objects]`.
        detections: `CORRECT`, `FALSE_POSITIVE`, `DUPLICATE` or `IGNORED`, int8
            `[detections]`. A duplicate overlaps an instance of its class that is
            already matched. Ignored are those in a crowd, those below the minimum
            score, and all but the first 100 of a class.
    """

    objects: np.ndarray
    detections: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Numbers of each of `KINDS`, int64 `[5]`; ignored detections, not crowds."""
        counts = np.bincount(self.detections, minlength=len(KINDS))
        counts[MISSED] = np.count_nonzero(self.objects == MISSED)
        return counts


@dataclasses.dataclass(frozen=True)
class Error:
    """An error of a split.

    Attributes:
        kind: `MISSED`, `FALSE_POSITIVE` or `DUPLICATE`.
        image: Index of the image in the split.
        index: Index of the instance or the detection in the image.
        class_number: Its class.
        box: y1, x1, y2, x2 in pixels.
        rank: Area of a missed instance in pixels, score of a detection.
    """

    kind: int
    image: int
    index: int
    class_number: int
    box: tuple[float, float, float, float]
    rank: float


def match(
    result: Any, sizes: list[tuple[int, int]], min_score: float
) -> tuple[list[Matches], list[Error]]:
    """Reads what became of all instances and detections.

    Args:
        result: `COCOeval` after evaluate, see `coco_evaluation.evaluate`.
        sizes: Number of objects and of detections of each image.
        min_score: Detections below this score are ignored.

    Returns:
        The matches of each image, and all errors: first missed instances, the largest
        first, then false positives and duplicates, those of highest score first.
    """
    matches = [
        Matches(np.full(n, IGNORED, np.int8), np.full(m, IGNORED, np.int8))
        for n, m in sizes
    ]
    errors: list[Error] = []
    num_areas = len(result.params.areaRng)
    for i, each in enumerate(result.evalImgs):
        is_all_areas = i // len(result.params.imgIds) % num_areas == 0
        if each is not None and is_all_areas:
            errors += _read(result, each, matches, min_score)
    return matches, sorted(errors, key=lambda error: (error.kind, -error.rank))


def _read(result, each, matches, min_score):
    """Reads the matches of an image and class; yields its errors."""
    image = each["image_id"] - 1
    own = matches[image]
    scores = np.array(each["dtScores"])
    objects = [result.cocoGt.anns[i] for i in each["gtIds"]]
    for annotation, matched, ignored in zip(
        objects, each["gtMatches"][0], each["gtIgnore"], strict=True
    ):
        if ignored:
            continue
        is_found = matched and result.cocoDt.anns[int(matched)]["score"] >= min_score
        own.objects[annotation["index"]] = CORRECT if is_found else MISSED
        if not is_found:
            yield _error(MISSED, image, annotation, annotation["area"])
    overlaps = _overlaps(result, each)
    for d, number in enumerate(each["dtIds"]):
        if scores[d] < min_score or each["dtIgnore"][0][d]:
            continue
        annotation, kind = result.cocoDt.anns[number], CORRECT
        if not each["dtMatches"][0][d]:
            kind = DUPLICATE if overlaps[d] >= MIN_IOU else FALSE_POSITIVE
            yield _error(kind, image, annotation, annotation["score"])
        own.detections[annotation["index"]] = kind


def _overlaps(result, each):
    """Returns the largest IoU of each detection with an instance, not a crowd."""
    key = each["image_id"], each["category_id"]
    ious = np.asarray(result.ious[key])
    if not ious.size:
        return np.zeros(len(each["dtIds"]))
    # The columns are in the order of the annotations.
    listed = result.cocoGt.imgToAnns[each["image_id"]]
    crowds = [a["iscrowd"] for a in listed if a["category_id"] == each["category_id"]]
    return np.where(np.array(crowds, bool), 0, ious).max(axis=1)


def _error(kind, image, annotation, rank):
    x, y, width, height = annotation["bbox"]
    box = y, x, y + height, x + width
    number = annotation["category_id"]
    return Error(kind, image, annotation["index"], number, box, float(rank))


def f1(counts: np.ndarray) -> np.ndarray:
    """Computes the F1 score of images at an IoU of 0.5.

    Args:
        counts: Integers `[..., 5]`, see `Matches.counts`.

    Returns:
        float64 `[...]`: correct / (correct + half of missed, false positives and
        duplicates); NaN where nothing is to be detected and nothing was.
    """
    counts = np.asarray(counts, float)
    correct, wrong = counts[..., CORRECT], counts[..., MISSED : DUPLICATE + 1].sum(-1)
    total = correct + wrong / 2
    return np.where(total > 0, correct / np.maximum(total, 0.5), np.nan)
