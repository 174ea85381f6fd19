"""Scores of detected instances: COCO's, and the mean IoU of the pasted map."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from kerasseg import errors, images, metrics, records
from kerasseg.evaluation import (
    coco_evaluation,
    instance_intervals,
    instance_rankings,
)
from kerasseg.metrics import instance_errors, intervals
from kerasseg.system import progress


@dataclasses.dataclass(frozen=True, eq=False)
class DetectedImage:
    """An image with its ground truth and detections.

    Attributes:
        index: Index of the image in the split.
        name: Name of the image.
        objects: Its ground truth.
        detections: Its detections, with masks of the size of the image.
        label: Class numbers and 255, uint8 `[height, width]`, to be compared with the
            pasted masks; None to leave the image out of the mean IoU.
        image: RGB, uint8 `[height, width, 3]`, for display; or None.
    """

    index: int
    name: str
    objects: records.Objects
    detections: images.Detections
    label: np.ndarray | None = None
    image: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class InstanceEvaluation:
    """The result of an evaluation of instances.

    Attributes:
        scores: See `score_instances`.
        names: Names of the images, in the order of the split.
        counts: int64 `[images, 5]`, see `instance_errors.Matches.counts`.
        matches: `instance_errors.Matches` of each image.
        errors: Missed instances, false positives and duplicates.
        rankings: `instance_rankings.Ranking` of each class, by kind: "mask", unless
            the detections have no masks, and "box".
    """

    scores: dict[str, Any]
    names: list[str]
    counts: np.ndarray
    matches: list[instance_errors.Matches]
    errors: list[instance_errors.Error]
    rankings: dict[str, list[instance_rankings.Ranking]]


def score_instances(
    detected: Iterable[DetectedImage],
    split,
    *,
    limit: int | None = None,
    min_score: float = images.MIN_SCORE,
) -> InstanceEvaluation:
    """Scores the detections of a split with COCO's measures.

    The scores are those of pycocotools' COCOeval. Masks are compared at the size of the
    image; if detections have no masks, the scores of masks are left out.

    Args:
        detected: The images of the split, each once, in any order.
        split: `records.Split`, or an object with its `name`, `spec` and length. Class 0
            of the spec is the background.
        limit: Only the first `limit` images are scored; None for the whole split.
        min_score: Detections below it are not pasted for the mean IoU, and are no
            errors. COCO's measures use all detections.

    Returns:
        The evaluation. Its scores, from 0 to 1, None where undefined, are:
        - "mask_ap" (the mean over the IoUs from 0.5 to 0.95), "mask_ap50", "mask_ap75",
          "mask_ap_small", "mask_ap_medium" and "mask_ap_large" (areas below 32^2, below
          96^2, and above), the recalls "mask_ar_1", "mask_ar_10", "mask_ar_100" (with
          at most that many detections of an image and class), "mask_ar_small",
          "mask_ar_medium" and "mask_ar_large"; and the same for "box";
        - "mask_classes" and "box_classes", with "ap", "ap50", "ap75" and "ar_100" by
          class name; "instances", "crowds" and "detections", their numbers by class
          name;
        - "interval", see `instance_intervals.interval` and `metrics.interval`;
        - "mean_iou" and "iou" of the map that `Detections.class_map` pastes;
        - "correct", "missed", "false_positives", "duplicates" and "ignored", the
          numbers of detections and missed instances at an IoU of 0.5 and `min_score`,
          of masks where there are masks.

    Raises:
        errors.MissingPackageError: pycocotools is not installed.
        errors.UserError: The split is empty, there is no class besides the background,
            or detections do not match an image or the classes; the image is named.

    Source: https://cocodataset.org/#detection-eval.
    """
    num_images = min(len(split), limit or len(split))
    if not num_images:
        raise errors.UserError(
            f"Split '{split.name}' has no record to score (limit: {limit}). Choose "
            "another split, or build it again."
        )
    spec = split.spec
    if spec.num_classes < 2:
        raise errors.UserError(
            f"The only class is {spec.class_names[0]}, the background. Instances need "
            "another class; choose the data set of the instances."
        )
    annotations, names, confusion = _collect(detected, spec, num_images, min_score)
    class_names = spec.class_names[1:]
    has_masks = all(each.has_masks for each in annotations)
    results = {
        kind: coco_evaluation.evaluate(annotations, len(class_names), kind)
        for kind in coco_evaluation.IOU_TYPES
        if kind == "box" or has_masks
    }
    rankings = {kind: instance_rankings.rank(each) for kind, each in results.items()}
    scores: dict[str, Any] = {"interval": _intervals(rankings, num_images, class_names)}
    for kind, result in results.items():
        scores |= _scores(result, kind, class_names)
    scores |= _numbers(annotations, class_names)
    if has_masks and confusion.any():
        semantic = metrics.scores(confusion, spec.class_names)
        scores |= {key: semantic[key] for key in ("mean_iou", "iou")}
    result = results["mask" if has_masks else "box"]
    sizes = [(each.num_objects, len(each.detections)) for each in annotations]
    matches, wrong = instance_errors.match(result, sizes, min_score)
    counts = np.stack([each.counts for each in matches])
    totals = zip(instance_errors.KINDS, counts.sum(axis=0).tolist(), strict=True)
    scores |= dict(totals)
    return InstanceEvaluation(scores, names, counts, matches, wrong, rankings)


def _collect(detected, spec, num_images, min_score):
    """Returns annotations and names of the images, and the confusion matrix."""
    annotations: list[Any] = [None] * num_images
    names = [""] * num_images
    counter = metrics.Confusion(spec.num_classes)
    confusion = np.zeros(counter.shape, np.int64)
    with progress.track(num_images, unit="image", text="evaluating") as bar:
        for each in detected:
            try:
                _check_classes(each.detections, spec)
                annotations[each.index] = coco_evaluation.annotate(
                    each.objects, each.detections
                )
                if each.label is not None and each.detections.masks is not None:
                    pasted = each.detections.above(min_score)
                    confusion += counter.measure(
                        each.label, pasted.class_map(each.label.shape)
                    )
            except errors.MissingPackageError:
                raise
            except errors.UserError as error:
                raise errors.UserError(f"Image {each.name}: {error}") from error
            names[each.index] = each.name
            bar.update()
    missing = annotations.count(None)
    if missing:
        raise errors.UserError(
            f"{missing} of {num_images} images have no detections, the first at index "
            f"{annotations.index(None)}. Give an empty list for an image without any."
        )
    return annotations, names, confusion


def _check_classes(detections, spec):
    largest = max(np.asarray(detections.classes).tolist(), default=0)
    if largest >= spec.num_classes:
        raise errors.UserError(
            f"a detection has the class {largest}, the classes are 1 to "
            f"{spec.num_classes - 1}. Choose the data set of the detections."
        )


def _intervals(rankings, num_images, class_names):
    scores = intervals.settings(num_images)
    for kind, each in rankings.items():
        scores |= instance_intervals.interval(each, kind, class_names)
    return scores


def _scores(result, kind, class_names):
    stats = coco_evaluation.STATS.items()
    own = {key: float(result.stats[i]) for key, i in stats if key.startswith(kind)}
    classes = instance_intervals.class_scores(result, class_names)
    defined = {key: value if value > -1 else None for key, value in own.items()}
    return {**defined, f"{kind}_classes": classes}


def _numbers(annotations, class_names):
    """Counts instances, crowds and detections of each class."""
    numbers = np.zeros((3, 1 + len(class_names)), np.int64)
    for each in annotations:
        for annotation in each.objects:
            if annotation["kind"] is None:
                numbers[annotation["iscrowd"], annotation["category_id"]] += 1
        for annotation in each.detections:
            numbers[2, annotation["category_id"]] += 1
    return {
        key: dict(zip(class_names, row[1:].tolist(), strict=True))
        for key, row in zip(("instances", "crowds", "detections"), numbers, strict=True)
    }
