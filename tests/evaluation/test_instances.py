"""Scores of instances: COCO's own figures, intervals, and the errors of images."""

import dataclasses
import json
import sys

import numpy as np
import pytest

from kerasseg import errors, evaluation, images, records
from kerasseg.evaluation import coco_evaluation, instance_rankings
from kerasseg.metrics import instance_errors
from tests.support import detected

coco = pytest.importorskip("pycocotools.coco")
cocoeval = pytest.importorskip("pycocotools.cocoeval")

SIZE = 20, 30


def scored(each, **options):
    """Scores images, each a `DetectedImage`."""
    return evaluation.score_instances(each, detected.Split(len(each)), **options)


def image(instances, found, *, index=0, size=SIZE, label=None):
    return evaluation.DetectedImage(
        index,
        f"image{index}.jpg",
        detected.objects(size, instances),
        detected.detections(size, found),
        label,
    )


def plain_stats(folder, each, iou_type):
    """Runs COCOeval on files, as the page of COCO does."""
    annotations, results = detected.write_coco(folder, each)
    listed = json.loads(results.read_text())
    if iou_type == "segm":  # Else the areas of the boxes would be used for masks.
        for result in listed:
            del result["bbox"]
    annotations = coco.COCO(str(annotations))
    result = cocoeval.COCOeval(annotations, annotations.loadRes(listed), iou_type)
    result.evaluate()
    result.accumulate()
    result.summarize()
    return result


# COCO's scores.


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_pycocotools_to_the_last_digit(tmp_path, seed):
    each = detected.random_images(seed, 12, size=(100, 140))
    scores = scored(each).scores
    for kind, iou_type in coco_evaluation.IOU_TYPES.items():
        plain = plain_stats(tmp_path, each, iou_type)
        own = [v for key, v in scores.items() if key.startswith(f"{kind}_a")]
        assert own == [None if value == -1 else value for value in plain.stats]
        for k, name in enumerate(detected.NAMES[1:]):
            precision = plain.eval["precision"][:, :, k, 0, 2]
            assert scores[f"{kind}_classes"]["ap"][name] == pytest.approx(
                precision.mean(), abs=1e-15
            )


def test_a_perfect_detection_and_a_missed_instance_have_half_the_precision():
    # Recall 1/2 at precision 1: 51 of the 101 recalls 0, 0.01, ... are reached.
    each = [image([(1, (0, 0, 9, 9)), (1, (10, 10, 19, 29))], [(1, 0.9, (0, 0, 9, 9))])]
    scores = scored(each).scores
    assert scores["mask_ap"] == scores["box_ap50"] == pytest.approx(51 / 101)
    assert scores["mask_ar_100"] == pytest.approx(1 / 2)
    # 81 pixels are small, so are 171; there is nothing of medium size.
    assert scores["mask_ap_small"] == pytest.approx(51 / 101)
    assert scores["mask_ap_medium"] is None
    assert scores["mask_classes"]["ap50"] == {
        "car": pytest.approx(51 / 101),
        "person": None,
        "dog": None,
    }
    assert scores["instances"] == {"car": 2, "person": 0, "dog": 0}


def test_masks_and_boxes_are_scored_apart():
    # The mask is the left half of the box: mask IoU 1/2, box IoU 1.
    half = images.Detections(
        np.array([[0, 0, 10, 20]], np.float32),
        np.array([0.8]),
        np.array([1]),
        detected.rectangle(SIZE, (0, 0, 10, 10))[None],
    )
    objects = detected.objects(SIZE, [(1, (0, 0, 10, 20))])
    scores = scored([evaluation.DetectedImage(0, "a", objects, half)]).scores
    assert scores["box_ap"] == pytest.approx(1)
    assert scores["mask_ap"] == pytest.approx(1 / 10)  # Only at the IoU 0.5, of ten.
    assert scores["mask_ap50"] == pytest.approx(1)
    assert scores["mask_ap75"] == 0


def test_detections_in_a_crowd_do_not_count():
    crowd, other = (1, (0, 0, 20, 20), True), (1, (0, 22, 20, 30))
    found = [(1, 0.9, (0, 0, 9, 9)), (1, 0.8, (0, 10, 9, 19)), (1, 0.7, other[1])]
    result = scored([image([crowd, other], found)])
    assert result.scores["mask_ap"] == result.scores["box_ap"] == pytest.approx(1)
    assert result.scores["crowds"] == {"car": 1, "person": 0, "dog": 0}
    assert result.scores["ignored"] == 2
    assert result.scores["missed"] == result.scores["false_positives"] == 0


def test_void_pixels_are_a_crowd_of_every_class_for_masks():
    void, other = (0, (0, 0, 20, 20), True), (2, (0, 22, 20, 30))
    found = [(1, 0.9, (0, 0, 9, 9)), (2, 0.8, (0, 10, 9, 19)), (2, 0.7, other[1])]
    scores = scored([image([void, other], found)]).scores
    assert scores["mask_ap"] == pytest.approx(1)
    # The box is a false positive of higher score: precision 1/2 at every recall.
    assert scores["box_ap"] == pytest.approx(1 / 2)
    assert scores["crowds"] == {"car": 0, "person": 0, "dog": 0}


def test_detections_without_masks_are_scored_by_their_boxes():
    each = detected.random_images(0, 4)
    boxes = [
        dataclasses.replace(e, detections=dataclasses.replace(e.detections, masks=None))
        for e in each
    ]
    scores = scored(boxes).scores
    assert scores["box_ap"] == scored(each).scores["box_ap"]
    assert not {"mask_ap", "mean_iou"} & scores.keys()


def test_the_order_of_the_images_does_not_matter():
    each = detected.random_images(1, 5)
    assert scored(each[::-1]).scores == scored(each).scores
    assert scored(each[::-1]).names == [e.name for e in each]


def test_images_without_anything_have_no_score():
    result = scored([image([], [])])
    assert result.scores["mask_ap"] is None
    assert result.scores["interval"]["mask_ap"] is None
    assert np.isnan(instance_errors.f1(result.counts)).all()


# The mean IoU of the pasted map.


def test_the_detection_of_highest_score_covers_the_others():
    found = detected.detections(
        (1, 6), [(1, 0.6, (0, 0, 1, 4)), (2, 0.9, (0, 2, 1, 5)), (3, 0.6, (0, 3, 1, 6))]
    )
    # Of equal scores, the first one wins; below 0.7 there is only one left.
    assert found.id_map((1, 6)).tolist() == [[1, 1, 2, 2, 2, 3]]
    assert found.class_map((1, 6)).tolist() == [[1, 1, 2, 2, 2, 3]]
    assert found.above(0.7).class_map((1, 6)).tolist() == [[0, 0, 2, 2, 2, 0]]


def test_the_mean_iou_is_that_of_the_pasted_map():
    label = np.array([[0, 0, 1, 1, 255, 1]], np.uint8)
    found = [(1, 0.9, (0, 1, 1, 5)), (2, 0.4, (0, 5, 1, 6))]
    scores = scored([image([], found, size=(1, 6), label=label)]).scores
    # Pasted: 0 1 1 1 1 0, as 0.4 is below 0.5. Background: 1 of 3; car: 2 of 4.
    assert scores["iou"] == {
        "background": pytest.approx(1 / 3),
        "car": pytest.approx(2 / 4),
        "person": None,
        "dog": None,
    }
    assert scores["mean_iou"] == pytest.approx((1 / 3 + 2 / 4) / 2)


# Intervals.


@pytest.mark.parametrize("seed", range(2))
def test_a_resample_has_the_precision_that_copies_of_the_images_have(seed):
    each = detected.random_images(seed, 6)
    counts = np.random.default_rng(seed).multinomial(6, np.full(6, 1 / 6), 5)
    annotations = [coco_evaluation.annotate(e.objects, e.detections) for e in each]
    for kind in coco_evaluation.IOU_TYPES:
        result = coco_evaluation.evaluate(annotations, 3, kind)
        rankings = instance_rankings.rank(result)
        values = instance_rankings.average_precision(rankings, counts)
        for row, number in zip(values, counts, strict=True):
            copies = np.repeat(np.array(annotations, object), number).tolist()
            plain = coco_evaluation.evaluate(copies, 3, kind).eval["precision"]
            plain = plain[:, :, :, 0, 2].mean(axis=1).T
            expected = np.where(plain > -1, plain, np.nan)
            np.testing.assert_allclose(row, expected, atol=1e-14)


def test_recalls_are_reached_as_quotients_of_floats():
    recalls = cocoeval.Params(iouType="segm").recThrs
    instances = np.arange(1, 400)
    needed = instance_rankings._needed(instances)
    for total, row in zip(instances, needed, strict=True):
        quotients = np.arange(total + 1) / total
        assert (row == np.searchsorted(quotients, recalls)).all()


def test_the_interval_contains_the_score_and_follows_those_of_the_mean_iou():
    result = scored(detected.random_images(3, 10))
    interval = result.scores["interval"]
    assert (interval["level"], interval["resamples"]) == (0.95, 1000)
    assert interval["pictures"] == 10
    for kind in coco_evaluation.IOU_TYPES:
        for key in ("ap", "ap50", "ap75"):
            ends = interval[f"{kind}_{key}"]
            assert ends["value"] == pytest.approx(result.scores[f"{kind}_{key}"])
            assert ends["low"] <= ends["value"] <= ends["high"]
        assert list(interval[f"{kind}_class_ap"]) == list(detected.NAMES[1:])
    assert json.dumps(result.scores, allow_nan=False)


def test_the_interval_of_one_image_has_no_width():
    each = [image([(1, (0, 0, 9, 9))], [(1, 0.9, (0, 0, 9, 9))])]
    interval = scored(each).scores["interval"]
    assert interval["mask_ap"] == pytest.approx({"value": 1, "low": 1, "high": 1})


# Errors.


def test_errors_are_missed_instances_false_positives_and_duplicates():
    instances = [(1, (0, 0, 10, 10)), (1, (10, 20, 20, 30)), (2, (0, 20, 5, 25))]
    found = [
        (1, 0.95, (0, 0, 10, 10)),
        (1, 0.9, (0, 0, 10, 9)),  # Again the first car: IoU 0.9.
        (2, 0.85, (10, 20, 20, 30)),  # The second car, as a person.
        (2, 0.4, (0, 20, 5, 25)),  # Below the minimum score.
    ]
    result = scored([image(instances, found)])
    correct, missed = instance_errors.CORRECT, instance_errors.MISSED
    (matches,) = result.matches
    assert matches.objects.tolist() == [correct, missed, missed]
    assert matches.detections.tolist() == [
        correct,
        instance_errors.DUPLICATE,
        instance_errors.FALSE_POSITIVE,
        instance_errors.IGNORED,
    ]
    assert result.counts.tolist() == [[1, 2, 1, 1, 1]]
    # F1: 1 / (1 + (2 + 1 + 1) / 2).
    assert instance_errors.f1(result.counts).tolist() == [pytest.approx(1 / 3)]
    assert [(e.kind, e.index, e.class_number, e.rank) for e in result.errors] == [
        (missed, 1, 1, 100),  # The larger one first.
        (missed, 2, 2, 25),
        (instance_errors.FALSE_POSITIVE, 2, 2, pytest.approx(0.85)),
        (instance_errors.DUPLICATE, 1, 1, pytest.approx(0.9)),
    ]
    assert result.errors[0].box == (10, 20, 20, 30)
    lower = scored([image(instances, found)], min_score=0.3)
    assert lower.counts.tolist() == [[2, 1, 1, 1, 0]]


@pytest.mark.parametrize("seed", range(3))
def test_counts_of_errors_equal_those_of_pycocotools_without_low_scores(seed):
    each = detected.random_images(seed, 8)
    counts = scored(each, min_score=0.2).counts.sum(axis=0)
    kept = [coco_evaluation.annotate(e.objects, e.detections.above(0.2)) for e in each]
    result = coco_evaluation.evaluate(kept, 3, "mask")
    of_all_areas = [
        e
        for e in result.evalImgs
        if e is not None and e["aRng"] == result.params.areaRng[0]
    ]
    matched = sum(
        np.count_nonzero((e["dtMatches"][0] != 0) & (e["dtIgnore"][0] == 0))
        for e in of_all_areas
    )
    unmatched = sum(
        np.count_nonzero((e["dtMatches"][0] == 0) & (e["dtIgnore"][0] == 0))
        for e in of_all_areas
    )
    instances = sum(np.count_nonzero(e["gtIgnore"] == 0) for e in of_all_areas)
    correct, missed, false_positives, duplicates, _ = counts
    assert (correct, correct + missed) == (matched, instances)
    assert min(false_positives, duplicates) > 0
    assert false_positives + duplicates == unmatched


def test_counts_of_detections_are_complete():
    each = detected.random_images(5, 6)
    counts = scored(each).counts
    total = [len(e.detections) for e in each]
    missed = counts[:, instance_errors.MISSED]
    assert (counts.sum(axis=1) - missed).tolist() == total


# Wrong input.


def test_wrong_detections_are_refused():
    arrays = {"boxes": np.zeros((2, 4)), "scores": np.ones(2), "classes": np.ones(2)}
    for change, text in (
        ({"scores": np.ones(3)}, r"scores \[3\], .*Remove the padding"),
        ({"masks": np.zeros((1, 2, 2), bool)}, "1 masks"),
        ({"scores": np.array([np.nan, 1])}, "NaN or infinite"),
        ({"classes": np.array([1, 0])}, "class 0 is no object"),
    ):
        with pytest.raises(errors.UserError, match=text):
            images.Detections(**{**arrays, **change})


def test_masks_of_another_size_and_unknown_classes_name_the_image():
    each = image([], [(1, 0.9, (0, 0, 2, 2))])
    other = detected.detections((5, 5), [(1, 0.9, (0, 0, 2, 2))])
    with pytest.raises(errors.UserError, match=r"image0.jpg: the mask .* \[5, 5\]"):
        scored([dataclasses.replace(each, detections=other)])
    other = detected.detections(SIZE, [(4, 0.9, (0, 0, 2, 2))])
    with pytest.raises(errors.UserError, match=r"image0.jpg: .* class 4, .* 1 to 3"):
        scored([dataclasses.replace(each, detections=other)])
    with pytest.raises(errors.UserError, match=r"bool \[1, 1\]"):
        detected.detections(SIZE, [(1, 0.9, (0, 0, 2, 2))]).id_map((1, 1))
    with pytest.raises(errors.UserError, match="no masks"):
        dataclasses.replace(other, masks=None).id_map(SIZE)


def test_missing_images_and_an_empty_split_are_errors():
    each = detected.random_images(0, 2)
    with pytest.raises(errors.UserError, match="1 of 2 images have no detections"):
        evaluation.score_instances(each[:1], detected.Split(2))
    with pytest.raises(errors.UserError, match="no record to score"):
        evaluation.score_instances([], detected.Split(0))
    with pytest.raises(errors.UserError, match="The only class is background"):
        evaluation.score_instances(each, detected.Split(2, ("background",)))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    each = image([], [])
    with pytest.raises(
        errors.MissingPackageError, match=r"pip install 'kerasseg\[data"
    ):
        scored([each])


def test_encoded_masks_are_decoded_one_at_a_time():
    each = detected.random_images(2, 1)[0]
    masks = each.detections.masks
    texts = [records.rle.encode(mask) for mask in masks]
    encoded = coco_evaluation.EncodedMasks(texts, masks.shape[1:])
    assert all((a == b).all() for a, b in zip(encoded, masks, strict=True))
    other = dataclasses.replace(each.detections, masks=encoded)
    assert (
        scored([dataclasses.replace(each, detections=other)]).scores
        == scored([each]).scores
    )
    kept = other.above(0.5)
    expected = each.detections.above(0.5).class_map(masks.shape[1:])
    assert (kept.class_map(masks.shape[1:]) == expected).all()


def test_empty_masks_match_nothing_and_are_counted():
    nothing, car = (0, 0, 0, 0), (0, 0, 9, 9)
    result = scored(
        [image([(1, nothing), (1, car)], [(1, 0.9, car), (1, 0.8, nothing)])]
    )
    assert result.counts.tolist() == [[1, 1, 1, 0, 0]]
    # Recall 1/2 at precision 1, as the empty detection comes later.
    assert result.scores["mask_ap"] == pytest.approx(51 / 101)


def test_all_but_the_first_100_detections_of_a_class_are_ignored_and_counted():
    found = [(1, 1 - i / 1000, (0, 0, 1, 1 + i % 7)) for i in range(130)]
    result = scored([image([], [*found, (2, 0.6, (0, 0, 2, 2))])])
    assert result.counts.tolist() == [[0, 0, 101, 0, 30]]
    assert result.scores["detections"] == {"car": 130, "person": 1, "dog": 0}
