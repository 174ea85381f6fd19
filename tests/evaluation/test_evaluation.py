"""Scores of a split: computed by hand, and independent of batches and order."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kerasseg import datasets, evaluation, inference, pipeline, records
from tests.support import tiny

SPEC = datasets.DatasetSpec(
    name="levels",
    source="tests.evaluation.test_evaluation",
    num_images={},
    classes={
        "low": (0, 0, 0),
        "middle": (9, 9, 9),
        "high": (99, 0, 0),
        "never": (1, 1, 1),
    },
)
# The model below predicts red // 64 as the class of a pixel.
IMAGES = [  # Red and label.
    ([[0, 0, 70, 70]], [[0, 0, 1, 1]]),
    ([[0, 70, 130, 130]], [[0, 0, 255, 2]]),
    ([[70], [130], [0]], [[1], [1], [255]]),
]
# Pixels by class of the label (row) and prediction (column), without label 255:
#   low:    0 0 0 -> 0, 0 -> 1       3 1 0
#   middle: 1 1 1 -> 1, 1 -> 2       0 3 1
#   high:   2 -> 2                   0 0 1
IOU = {"low": 3 / 4, "middle": 3 / 5, "high": 1 / 2, "never": None}


def levels_model(**outputs):
    image = keras.Input((None, None, 3))
    red = image[..., :1]
    # Logits that are largest at 32, 96, 160 and 224.
    centers = keras.ops.reshape(keras.ops.arange(32.0, 256.0, 64.0), (1, 1, 1, 4))
    logits = -keras.ops.abs(red - centers) / 8.0
    return keras.Model(image, {"logits": logits} if outputs.get("named") else logits)


def evaluate(model, reader, **options):
    """Returns the scores."""
    predictor = inference.Predictor(model)
    return evaluation.evaluate(predictor, reader, **options).scores


def write(folder, images, spec=SPEC, shards=2):
    serialized = []
    for i, (red, label) in enumerate(images):
        red = np.array(red, np.uint8)
        image = np.stack([red, red * 0, red * 0], axis=-1)
        serialized.append(tiny.example(image, np.array(label, np.uint8), f"p{i}.png"))
    folder.mkdir(exist_ok=True)
    written = [
        records.write_shard(
            folder / records.shard_name("val", i, shards), serialized[i::shards]
        )
        for i in range(shards)
    ]
    records.write_info(folder, records.DatasetInfo(spec, {"val": written}))
    return pipeline.ImageReader(records.open_split(folder, "val"))


@pytest.mark.parametrize("named", [False, True])
def test_scores_are_those_of_the_confusion_matrix_computed_by_hand(tmp_path, named):
    scores = evaluate(levels_model(named=named), write(tmp_path, IMAGES))
    assert scores["iou"] == pytest.approx(IOU)
    # The class that does not occur is left out, not counted as 0.
    assert scores["mean_iou"] == pytest.approx((3 / 4 + 3 / 5 + 1 / 2) / 3)
    assert scores["pixel_accuracy"] == pytest.approx(7 / 9)
    assert scores["mean_accuracy"] == pytest.approx((3 / 4 + 3 / 4 + 1) / 3)
    # 4, 4 and 1 of the 9 pixels are labeled as the classes.
    weighted = (4 * 3 / 4 + 4 * 3 / 5 + 1 * 1 / 2) / 9
    assert scores["frequency_weighted_iou"] == pytest.approx(weighted)
    assert scores["pixels"] == {"low": 4, "middle": 4, "high": 1, "never": 0}


def test_scores_are_equal_for_any_batch_size_order_and_number_of_shards(tmp_path):
    rng = np.random.default_rng(0)
    images = [
        (rng.integers(0, 256, size), rng.choice([0, 1, 2, 255], size))
        for size in [(5, 7)] * 5
        + [(8, 3)] * 3
        + [(1, 1)]  # Some batches of 2 are incomplete.
    ]
    model = levels_model()
    first = evaluate(model, write(tmp_path / "a", images))
    for folder, order, shards in [("b", images, 1), ("c", images[::-1], 4)]:
        reader = write(tmp_path / folder, order, shards=shards)
        for batch_size in (1, 2, 100):
            assert evaluate(model, reader, batch_size=batch_size) == first


def test_a_limit_evaluates_the_first_images_only(tmp_path):
    reader = write(tmp_path, IMAGES, shards=1)
    scores = evaluate(levels_model(), reader, limit=1)
    assert scores["pixels"] == {"low": 2, "middle": 2, "high": 0, "never": 0}


def test_on_batch_gets_every_batch_with_its_masks(tmp_path):
    calls = []
    evaluate(
        levels_model(),
        write(tmp_path, IMAGES, shards=1),
        batch_size=2,
        on_batch=lambda batch, masks: calls.append((batch, masks)),
    )
    (batch, masks), (other, _) = calls
    assert list(batch["name"].numpy()) == [b"p0.png", b"p1.png"]
    assert list(other["name"].numpy()) == [b"p2.png"]
    # 0 -> 0, 70 -> 1, 130 -> 2.
    assert masks.tolist() == [[[0, 0, 1, 1]], [[0, 1, 2, 2]]]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_refinement_gets_image_and_probabilities_and_is_scored(tmp_path, batch_size):
    calls = []

    def lowest(image, probabilities):
        calls.append((image, probabilities))
        return np.zeros(image.shape[:2], np.uint8)

    reader = write(tmp_path, IMAGES)
    scores = evaluate(levels_model(), reader, batch_size=batch_size, refine=lowest)
    # All 9 labeled pixels become low, which 4 of them are.
    assert scores["iou"] == pytest.approx({**IOU, "low": 4 / 9, "middle": 0, "high": 0})
    assert sorted(image.shape for image, _ in calls) == [
        (1, 4, 3),
        (1, 4, 3),
        (3, 1, 3),
    ]
    for image, probabilities in calls:
        assert image.dtype == np.uint8
        np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)
        np.testing.assert_array_equal(probabilities.argmax(-1), image[..., 0] // 64)


def test_a_refinement_that_changes_nothing_scores_the_same(tmp_path):
    reader = write(tmp_path, IMAGES)
    plain = evaluate(levels_model(), reader)
    same = evaluate(levels_model(), reader, refine=lambda _, p: np.argmax(p, axis=-1))
    assert same == plain


def test_a_label_out_of_range_is_an_error_that_names_the_image(tmp_path):
    images = [*IMAGES, ([[0, 0]], [[1, 4]])]  # Classes are 0 to 3.
    reader = write(tmp_path, images)
    with pytest.raises(
        ValueError, match=r"image p3\.png: labels out of range: 4 \(1 pixel\)"
    ):
        evaluate(levels_model(), reader)


def test_logits_of_nan_are_an_error_that_names_the_image(tmp_path):
    model = levels_model()

    def broken(images, training):
        logits = model(images, training=training)
        return tf.where(images[..., :1] == 130, np.nan, logits)

    with pytest.raises(ValueError, match=r"logits of image p1\.png are NaN"):
        evaluate(broken, write(tmp_path, IMAGES, shards=1))


def test_a_model_is_compiled_once_for_all_sizes_and_evaluations(tmp_path):
    traces = []
    model = levels_model()

    def counted(images, training):
        traces.append(images.shape)
        return model(images, training=training)

    reader = write(tmp_path, IMAGES)
    predictor = inference.Predictor(counted)
    for batch_size in (1, 2):
        evaluation.evaluate(predictor, reader, batch_size=batch_size)
    assert len(traces) == 1


def test_new_weights_of_a_compiled_model_are_used(tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(4, 1, name="classify")(image))
    reader = write(tmp_path, IMAGES)
    kernel, bias = np.zeros((1, 1, 3, 4)), np.eye(4)
    for k, pixels in enumerate([4, 4, 1]):
        model.set_weights([kernel, bias[k]])  # Every pixel becomes class k.
        accuracy = evaluate(model, reader)["pixel_accuracy"]
        assert accuracy == pytest.approx(pixels / 9)


def test_a_split_without_records_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="Split 'val' has no record"):
        evaluate(levels_model(), write(tmp_path, [], shards=1))


def test_counts_of_images_are_in_the_order_of_the_split(tmp_path):
    predictor = inference.Predictor(levels_model())
    reader = write(tmp_path, IMAGES, shards=1)
    for batch_size in (1, 2):
        result = evaluation.evaluate(predictor, reader, batch_size=batch_size)
        assert result.names == ["p0.png", "p1.png", "p2.png"]
        # Hits, labeled and predicted pixels of low, middle, high: 0 0 1 1 is correct;
        # of 0 0 2 the second is predicted as 1; of 1 1 the second as 2.
        assert result.counts[..., :3].tolist() == [
            [[2, 2, 0], [2, 2, 0], [2, 2, 0]],
            [[1, 0, 1], [2, 0, 1], [1, 1, 1]],
            [[0, 1, 0], [0, 2, 0], [0, 1, 1]],
        ]
        assert result.confusion[:3, :3].tolist() == [[3, 1, 0], [0, 3, 1], [0, 0, 1]]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_all_measures_are_computed_besides_the_confusion_matrix(tmp_path, batch_size):
    predictor = inference.Predictor(levels_model())
    reader = write(tmp_path, IMAGES)
    plain = evaluation.evaluate(predictor, reader).scores
    scores = evaluation.evaluate(
        predictor, reader, batch_size=batch_size, measures=list(evaluation.MEASURES)
    ).scores
    assert {key: scores[key] for key in plain} == plain
    assert set(scores) > {"boundary_iou", "bf_score", "trimap"}
    # 9 pixels are labeled, 7 of them correct.
    reliability = scores["reliability"]
    assert sum(reliability["pixels"]) == 9
    correct = [
        pixels * accuracy
        for pixels, accuracy in zip(
            reliability["pixels"], reliability["accuracy"], strict=True
        )
        if pixels
    ]
    assert sum(correct) == pytest.approx(7)


def test_measures_that_cannot_be_computed_are_errors(tmp_path):
    predictor, reader = inference.Predictor(levels_model()), write(tmp_path, IMAGES)
    with pytest.raises(ValueError, match="Unknown measures: size"):
        evaluation.evaluate(predictor, reader, measures=["size"])
    with pytest.raises(
        ValueError, match="calibration needs the network's probabilities"
    ):
        evaluation.evaluate(
            predictor, reader, measures=["calibration"], refine=lambda *_: None
        )


def test_counts_are_written_and_read(tmp_path):
    result = evaluation.evaluate(
        inference.Predictor(levels_model()), write(tmp_path, IMAGES, shards=1)
    )
    path = tmp_path / "pictures.csv"
    evaluation.write_counts(path, result, SPEC.class_names)
    head, first, *_ = path.read_text().splitlines()
    assert head.startswith("name,mean_iou,low hits,middle hits,high hits,never hits,")
    assert first == "p0.png,1.0000,2,2,0,0,2,2,0,0,2,2,0,0"
    names, counts = evaluation.read_counts(path, SPEC.class_names)
    assert names == result.names
    np.testing.assert_array_equal(counts, result.counts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not have the counts of the classes low, middle"),
        ("name,mean_iou,cat hits\n", "does not have the counts of the classes low"),
        ("{head}\np0.png,1.0,2,2\n", "is damaged .* Evaluate that run again"),
        ("{head}\np0.png,1.0" + 12 * ",x" + "\n", "is damaged .*invalid literal"),
    ],
)
def test_damaged_counts_are_refused(tmp_path, text, message):
    result = evaluation.evaluate(
        inference.Predictor(levels_model()), write(tmp_path, IMAGES)
    )
    path = tmp_path / "pictures.csv"
    evaluation.write_counts(path, result, SPEC.class_names)
    head = path.read_text().partition("\n")[0]
    path.write_text(text.format(head=head))
    with pytest.raises(ValueError, match=message):
        evaluation.compare(result, path, SPEC.class_names)


def test_only_runs_on_the_same_images_are_compared(tmp_path):
    predictor = inference.Predictor(levels_model())
    reader = write(tmp_path, IMAGES, shards=1)
    result = evaluation.evaluate(predictor, reader)
    path = tmp_path / "pictures.csv"
    message = "does not exist. Evaluate the run of .* first, with python -m"
    with pytest.raises(FileNotFoundError, match=message):
        evaluation.compare(result, path, SPEC.class_names)
    evaluation.write_counts(path, result, SPEC.class_names)
    same = evaluation.compare(result, path, SPEC.class_names)["mean_iou"]
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
    part = evaluation.evaluate(predictor, reader, limit=2)
    message = r"0 are missing there \(none\), 1 are only there \(p2.png\)"
    with pytest.raises(ValueError, match=message):
        evaluation.compare(part, path, SPEC.class_names)


def test_the_names_of_measures_are_known_without_keras():
    assert tuple(evaluation.MEASURES) == evaluation.MEASURE_NAMES
