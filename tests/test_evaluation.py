"""Scores of a split: worked by hand, and the same however the pictures come."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kerasseg import datasets, evaluation, inference, pipeline, records
from tests import tiny

SPEC = datasets.DatasetSpec(
    name="levels",
    source="tests.test_evaluation",
    num_images={},
    classes={
        "low": (0, 0, 0),
        "middle": (9, 9, 9),
        "high": (99, 0, 0),
        "never": (1, 1, 1),
    },
)
# The model below takes red // 64 for the class of a pixel.
PICTURES = [  # Red and label.
    ([[0, 0, 70, 70]], [[0, 0, 1, 1]]),
    ([[0, 70, 130, 130]], [[0, 0, 255, 2]]),
    ([[70], [130], [0]], [[1], [1], [255]]),
]
# Pixels of true (row) and predicted (column) class, those of label 255 left out:
#   low:    0 0 0 -> 0, 0 -> 1       3 1 0
#   middle: 1 1 1 -> 1, 1 -> 2       0 3 1
#   high:   2 -> 2                   0 0 1
IOU = {"low": 3 / 4, "middle": 3 / 5, "high": 1 / 2, "never": None}


def levels_model(**outputs):
    image = keras.Input((None, None, 3))
    red = image[..., :1]
    # Scores that are largest at 32, 96, 160 and 224.
    centres = keras.ops.reshape(keras.ops.arange(32.0, 256.0, 64.0), (1, 1, 1, 4))
    logits = -keras.ops.abs(red - centres) / 8.0
    return keras.Model(image, {"logits": logits} if outputs.get("named") else logits)


def evaluate(model, reader, **options):
    """Returns the scores."""
    predictor = inference.Predictor(model)
    return evaluation.evaluate(predictor, reader, **options).scores


def write(folder, pictures, spec=SPEC, shards=2):
    serialized = []
    for i, (red, label) in enumerate(pictures):
        red = np.array(red, np.uint8)
        image = np.stack([red, red * 0, red * 0], axis=-1)
        serialized.append(tiny.example(image, np.array(label, np.uint8), f"p{i}.png"))
    folder.mkdir(exist_ok=True)
    found = [
        records.write_shard(
            folder / records.shard_name("val", i, shards), serialized[i::shards]
        )
        for i in range(shards)
    ]
    records.write_info(folder, records.DatasetInfo(spec, {"val": found}))
    return pipeline.ImageReader(records.open_split(folder, "val"))


@pytest.mark.parametrize("named", [False, True])
def test_scores_are_those_of_the_confusion_matrix_worked_by_hand(tmp_path, named):
    scores = evaluate(levels_model(named=named), write(tmp_path, PICTURES))
    assert scores["iou"] == pytest.approx(IOU)
    # The class that never occurs is left out, not counted as 0.
    assert scores["mean_iou"] == pytest.approx((3 / 4 + 3 / 5 + 1 / 2) / 3)
    assert scores["pixel_accuracy"] == pytest.approx(7 / 9)
    assert scores["mean_accuracy"] == pytest.approx((3 / 4 + 3 / 4 + 1) / 3)
    # Labelled are 4, 4 and 1 of 9 pixels.
    weighted = (4 * 3 / 4 + 4 * 3 / 5 + 1 * 1 / 2) / 9
    assert scores["frequency_weighted_iou"] == pytest.approx(weighted)
    assert scores["pixels"] == {"low": 4, "middle": 4, "high": 1, "never": 0}


def test_scores_are_equal_for_any_batch_size_order_and_number_of_shards(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [
        (rng.integers(0, 256, size), rng.choice([0, 1, 2, 255], size))
        for size in [(5, 7)] * 5 + [(8, 3)] * 3 + [(1, 1)]  # Batches of 2 end early.
    ]
    model = levels_model()
    first = evaluate(model, write(tmp_path / "a", pictures))
    for folder, given, shards in [("b", pictures, 1), ("c", pictures[::-1], 4)]:
        reader = write(tmp_path / folder, given, shards=shards)
        for batch_size in (1, 2, 100):
            assert evaluate(model, reader, batch_size=batch_size) == first


def test_a_limit_takes_the_first_pictures_only(tmp_path):
    reader = write(tmp_path, PICTURES, shards=1)
    scores = evaluate(levels_model(), reader, limit=1)
    assert scores["pixels"] == {"low": 2, "middle": 2, "high": 0, "never": 0}


def test_every_batch_is_shown_with_its_predictions(tmp_path):
    seen = []
    evaluate(
        levels_model(),
        write(tmp_path, PICTURES, shards=1),
        batch_size=2,
        on_batch=lambda batch, predictions: seen.append((batch, predictions)),
    )
    (batch, predictions), (other, _) = seen
    assert list(batch["name"].numpy()) == [b"p0.png", b"p1.png"]
    assert list(other["name"].numpy()) == [b"p2.png"]
    # 0 -> 0, 70 -> 1, 130 -> 2.
    assert predictions.tolist() == [[[0, 0, 1, 1]], [[0, 1, 2, 2]]]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_refinement_sees_picture_and_probabilities_and_is_scored(
    tmp_path, batch_size
):
    seen = []

    def lowest(image, probabilities):
        seen.append((image, probabilities))
        return np.zeros(image.shape[:2], np.uint8)

    reader = write(tmp_path, PICTURES)
    scores = evaluate(levels_model(), reader, batch_size=batch_size, refine=lowest)
    # All 9 labelled pixels become low; 4 of them are.
    assert scores["iou"] == pytest.approx({**IOU, "low": 4 / 9, "middle": 0, "high": 0})
    assert sorted(image.shape for image, _ in seen) == [(1, 4, 3), (1, 4, 3), (3, 1, 3)]
    for image, probabilities in seen:
        assert image.dtype == np.uint8
        np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)
        np.testing.assert_array_equal(probabilities.argmax(-1), image[..., 0] // 64)


def test_a_refinement_that_changes_nothing_scores_the_same(tmp_path):
    reader = write(tmp_path, PICTURES)
    plain = evaluate(levels_model(), reader)
    same = evaluate(levels_model(), reader, refine=lambda _, p: np.argmax(p, axis=-1))
    assert same == plain


def test_a_label_out_of_range_is_an_error_that_names_the_picture(tmp_path):
    pictures = [*PICTURES, ([[0, 0]], [[1, 4]])]  # Classes are 0 to 3.
    reader = write(tmp_path, pictures)
    with pytest.raises(
        ValueError, match=r"picture p3\.png: labels out of range: 4 \(1 pixels\)"
    ):
        evaluate(levels_model(), reader)


def test_logits_that_are_no_numbers_are_an_error_that_names_the_picture(tmp_path):
    model = levels_model()

    def broken(images, training):
        logits = model(images, training=training)
        return tf.where(images[..., :1] == 130, np.nan, logits)

    with pytest.raises(
        ValueError, match=r"logits of picture p1\.png are no numbers \(NaN\)"
    ):
        evaluate(broken, write(tmp_path, PICTURES, shards=1))


def test_a_model_is_compiled_once_for_all_sizes_and_evaluations(tmp_path):
    traced = []
    model = levels_model()

    def counted(images, training):
        traced.append(images.shape)
        return model(images, training=training)

    reader = write(tmp_path, PICTURES)
    predictor = inference.Predictor(counted)
    for batch_size in (1, 2):
        evaluation.evaluate(predictor, reader, batch_size=batch_size)
    assert len(traced) == 1


def test_new_weights_of_a_compiled_model_are_used(tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(4, 1, name="classify")(image))
    reader = write(tmp_path, PICTURES)
    kernel, bias = np.zeros((1, 1, 3, 4)), np.eye(4)
    for k, pixels in enumerate([4, 4, 1]):
        model.set_weights([kernel, bias[k]])  # Every pixel becomes class k.
        accuracy = evaluate(model, reader)["pixel_accuracy"]
        assert accuracy == pytest.approx(pixels / 9)


def test_a_split_without_records_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="Split 'val' holds no record"):
        evaluate(levels_model(), write(tmp_path, [], shards=1))


def test_counts_of_pictures_stand_in_the_order_of_the_split(tmp_path):
    predictor = inference.Predictor(levels_model())
    reader = write(tmp_path, PICTURES, shards=1)
    for batch_size in (1, 2):
        found = evaluation.evaluate(predictor, reader, batch_size=batch_size)
        assert found.names == ["p0.png", "p1.png", "p2.png"]
        # Hits, labelled and predicted of low, middle, high: 0 0 1 1 is all right; of
        # 0 0 2 the second is said to be 1; of 1 1 the second to be 2.
        assert found.counts[..., :3].tolist() == [
            [[2, 2, 0], [2, 2, 0], [2, 2, 0]],
            [[1, 0, 1], [2, 0, 1], [1, 1, 1]],
            [[0, 1, 0], [0, 2, 0], [0, 1, 1]],
        ]
        assert found.confusion[:3, :3].tolist() == [[3, 1, 0], [0, 3, 1], [0, 0, 1]]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_every_measure_is_scored_beside_the_confusion_matrix(tmp_path, batch_size):
    predictor = inference.Predictor(levels_model())
    reader = write(tmp_path, PICTURES)
    plain = evaluation.evaluate(predictor, reader).scores
    scores = evaluation.evaluate(
        predictor, reader, batch_size=batch_size, measures=list(evaluation.MEASURES)
    ).scores
    assert {key: scores[key] for key in plain} == plain
    assert set(scores) > {"boundary_iou", "bf_score", "trimap"}
    # Labelled are 9 pixels, 7 of them right.
    reliability = scores["reliability"]
    assert sum(reliability["pixels"]) == 9
    right = [
        pixels * accuracy
        for pixels, accuracy in zip(
            reliability["pixels"], reliability["accuracy"], strict=True
        )
        if pixels
    ]
    assert sum(right) == pytest.approx(7)


def test_what_cannot_be_measured_is_an_error(tmp_path):
    predictor, reader = inference.Predictor(levels_model()), write(tmp_path, PICTURES)
    with pytest.raises(ValueError, match="No such measure: size"):
        evaluation.evaluate(predictor, reader, measures=["size"])
    with pytest.raises(ValueError, match="what refines them says only classes"):
        evaluation.evaluate(
            predictor, reader, measures=["calibration"], refine=lambda *_: None
        )


def test_counts_are_written_and_read_back(tmp_path):
    found = evaluation.evaluate(
        inference.Predictor(levels_model()), write(tmp_path, PICTURES, shards=1)
    )
    path = tmp_path / "pictures.csv"
    evaluation.write_counts(path, found, SPEC.class_names)
    head, first, *_ = path.read_text().splitlines()
    assert head.startswith("name,mean_iou,low hits,middle hits,high hits,never hits,")
    assert first == "p0.png,1.0000,2,2,0,0,2,2,0,0,2,2,0,0"
    names, counts = evaluation.read_counts(path, SPEC.class_names)
    assert names == found.names
    np.testing.assert_array_equal(counts, found.counts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not hold the counts of the classes low, middle"),
        ("name,mean_iou,cat hits\n", "does not hold the counts of the classes low"),
        ("{head}\np0.png,1.0,2,2\n", "is damaged .* Score that run again"),
        ("{head}\np0.png,1.0" + 12 * ",x" + "\n", "is damaged .*invalid literal"),
    ],
)
def test_damaged_counts_are_refused(tmp_path, text, message):
    found = evaluation.evaluate(
        inference.Predictor(levels_model()), write(tmp_path, PICTURES)
    )
    path = tmp_path / "pictures.csv"
    evaluation.write_counts(path, found, SPEC.class_names)
    head = path.read_text().partition("\n")[0]
    path.write_text(text.format(head=head))
    with pytest.raises(ValueError, match=message):
        evaluation.compare(found, path, SPEC.class_names)


def test_only_runs_on_the_same_pictures_are_compared(tmp_path):
    predictor = inference.Predictor(levels_model())
    reader = write(tmp_path, PICTURES, shards=1)
    found = evaluation.evaluate(predictor, reader)
    path = tmp_path / "pictures.csv"
    with pytest.raises(FileNotFoundError, match="score that run first, with python -m"):
        evaluation.compare(found, path, SPEC.class_names)
    evaluation.write_counts(path, found, SPEC.class_names)
    same = evaluation.compare(found, path, SPEC.class_names)["mean_iou"]
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
    part = evaluation.evaluate(predictor, reader, limit=2)
    message = r"0 are missing there \(none\), 1 are there only \(p2.png\)"
    with pytest.raises(ValueError, match=message):
        evaluation.compare(part, path, SPEC.class_names)
