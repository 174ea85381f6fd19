"""`kerasseg.load`: what the loaded network does besides predicting."""

import json

import numpy as np
import pytest

import kerasseg
from kerasseg import errors, evaluation, exporting, images, inference, trained
from tests.evaluation import test_evaluate as runs
from tests.support import detected, levels, tiny

NAMES, PALETTE = tiny.SPEC.class_names, tiny.SPEC.palette
PAIRS = [
    (levels.red(values), np.array(label, np.uint8)) for values, label in runs.IMAGES
]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A finished run on the records of `runs.IMAGES`."""
    folder = tmp_path_factory.mktemp("trained")
    records_dir = runs.write_records(folder / "records", runs.IMAGES)
    workdir = levels.make_workdir(folder / "run")
    (workdir / "flags.txt").write_text(f"--records_dir={records_dir}\n")
    return workdir


@pytest.fixture(scope="module")
def segmenter(workdir):
    return kerasseg.load(workdir)


def test_a_loaded_network_is_that_of_inference(workdir, segmenter):
    assert isinstance(segmenter, inference.Segmenter)
    assert segmenter.path == str(workdir)
    assert repr(segmenter) == "<Segmenter levels, 3 classes: left, middle, right>"
    flipping = kerasseg.load(workdir, flip=True, scales=(1.0, 2.0))
    assert flipping.predict(levels.red([[0, 255]])).tolist() == [[0, 2]]
    assert flipping.predictor._flip and flipping.predictor._scales == (1.0, 2.0)


def expect_scores(result):
    assert result.scores["mean_iou"] == pytest.approx(runs.MEAN_IOU)
    # left: 2 of 3 labeled, middle: 2 of 2.
    assert result.scores["pixel_accuracy"] == pytest.approx(4 / 5)


def test_a_run_is_evaluated_on_its_records_and_others(segmenter, tmp_path):
    result = segmenter.evaluate()
    expect_scores(result)
    assert "expected_calibration_error" in result.scores  # All measures.
    assert repr(result) == (
        "<Evaluation of 2 images: mean IoU 66.7%, pixel accuracy 80.0%>"
    )
    assert "left" in str(result) and "mean" in str(result)
    other = runs.write_records(tmp_path, [([[200, 0]], [[2, 0]])], split="test")
    scores = segmenter.evaluate(other, split="test", measures=[]).scores
    assert scores["mean_iou"] == 1


@pytest.mark.parametrize("batch_size", [1, 2])
def test_pairs_have_the_scores_of_records(segmenter, batch_size):
    from_records = segmenter.evaluate(batch_size=batch_size)
    from_pairs = segmenter.evaluate(PAIRS)
    expect_scores(from_pairs)
    assert json.dumps(from_pairs.scores) == json.dumps(from_records.scores)
    np.testing.assert_array_equal(from_pairs.counts, from_records.counts)


def test_pairs_are_files_arrays_or_a_data_set(segmenter, tmp_path):
    for i, (image, label) in enumerate(PAIRS):
        (tmp_path / f"{i}.png").write_bytes(tiny.png(image))
        (tmp_path / f"{i}_label.png").write_bytes(images.encode_label(label))
    paths = [(tmp_path / f"{i}.png", str(tmp_path / f"{i}_label.png")) for i in (0, 1)]
    expect_scores(segmenter.evaluate(paths, measures=()))
    named = [(image / 255, label.astype(int), "a.png") for image, label in PAIRS]
    result = segmenter.evaluate(named, measures=())
    expect_scores(result)
    assert result.names == ["a.png", "a.png"]

    class Data(list):
        classes = NAMES

    expect_scores(segmenter.evaluate(Data(PAIRS), measures=()))
    Data.classes = ("a", "b", "c")
    with pytest.raises(errors.UserError, match=r"`data` has the classes a, b, c, and"):
        segmenter.evaluate(Data(PAIRS))


IMAGE = PAIRS[0][0]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (iter(PAIRS), r"`data` is list_iterator, expected .*Give list\(data\)"),
        ([IMAGE], r"item 0 is ndarray, expected a pair"),
        (
            [(IMAGE, np.zeros((4, 1), int))],
            r"label of image 0 is int64 \[4, 1\].*\[1, 4",
        ),
        ([(IMAGE, np.zeros((1, 4)))], "is float64"),
        ([(IMAGE, np.full((1, 4), 256))], "from 0 to 255"),
        ([(IMAGE, np.full((1, 4), 9, np.uint8))], r"image 0: labels out of range: 9"),
        ([(7, 8)], r"image 0: An image is a path"),
        ([], "has no record to score"),
    ],
)
def test_wrong_pairs_are_errors(segmenter, data, text):
    with pytest.raises(errors.UserError, match=text):
        segmenter.evaluate(data)


def test_a_report_has_scores_and_images(segmenter, tmp_path):
    expect_scores(segmenter.report(tmp_path / "records.html"))
    expect_scores(segmenter.report(tmp_path / "pairs.html", PAIRS, num_images=1))
    for name in ("records", "pairs"):
        page = (tmp_path / f"{name}.html").read_text()
        assert "levels" in page and "66.7" in page and "<img" in page


@pytest.mark.slow  # Starts a process that loads the export.
def test_a_run_is_exported(segmenter, tmp_path):
    version = segmenter.export(tmp_path, format_names="keras", check_images=1)
    # That of the run: with its data set, step and comparison.
    metadata = exporting.read_metadata(version)
    assert metadata["step"] == 7 and "keras" in metadata["formats"]
    exported = kerasseg.load(f"{version}/model.keras")
    assert exported.predict(levels.IMAGE).tolist() == levels.CLASSES


def test_a_run_is_exported_as_it_was_loaded(workdir, tmp_path, monkeypatch):
    levels.register(monkeypatch, [])
    calls = []
    monkeypatch.setattr(
        exporting, "export_run", lambda *x, **y: calls.append((x, y)), raising=False
    )
    loaded = kerasseg.load(workdir, output_stride=8)
    loaded.export(tmp_path, format_names="onnx,keras", version=3)
    names = {"format_names": ("onnx", "keras")}
    expected = {"output_stride": 8, "version": 3, **names}
    assert calls == [((str(workdir), tmp_path), expected)]


def test_a_keras_file_is_evaluated_and_exported(segmenter, workdir, tmp_path):
    segmenter.model.save(tmp_path / "model.keras")
    loaded = kerasseg.load(tmp_path / "model.keras")
    expect_scores(loaded.evaluate(PAIRS, measures=()))
    expect_scores(loaded.evaluate(workdir.parent / "records", measures=()))
    with pytest.raises(errors.UserError, match=r"not the workdir of a run.*`data`"):
        loaded.evaluate()
    version = loaded.export(tmp_path, format_names=["keras"], fresh_process=False)
    assert version == str(tmp_path / "1")
    assert kerasseg.load(f"{version}/model.keras").class_names == NAMES


def test_a_file_without_names_is_evaluated_on_records(workdir, tmp_path):
    levels.build_model().save(tmp_path / "model.keras")
    loaded = kerasseg.load(tmp_path / "model.keras")
    assert loaded.class_names == ("0", "1", "2")
    expect_scores(loaded.evaluate(workdir.parent / "records", measures=()))


def test_an_export_is_evaluated_and_not_exported(tmp_path):
    exporting.export_saved_model(
        levels.build_model(), tmp_path, class_names=NAMES, palette=PALETTE
    )
    loaded = kerasseg.load(tmp_path)
    assert repr(loaded).startswith("<Segmenter exported model, 3 classes")
    expect_scores(loaded.evaluate(PAIRS, measures=()))
    with pytest.raises(errors.UserError, match="is an export, which cannot be export"):
        loaded.export(tmp_path / "again")


def test_a_network_that_detects_objects_returns_them_with_the_mask():
    # An object of class 2, score 0.9, on the left, and one of class 1, score 0.3.
    found, last = detector().predict([np.zeros((64, 96, 3), np.uint8)] * 2)
    assert (found.source, last.source, len(found.detections)) == (
        *("image 0", "image 1"),
        1,
    )
    assert (found[32, 24], found[32, 72], found[0, 0]) == (2, 0, 0)
    assert list(found.classes) == ["background", "person"]
    assert found.overlay()[8, 8].any()  # The box.
    with pytest.raises(errors.UserError, match=r"detections\.scores"):
        _ = found.probabilities
    image = np.zeros((64, 96, 3), np.uint8)
    both = detector().predict(image, min_score=0.2)
    assert (both[32, 24], both[32, 72], len(both.detections)) == (2, 1, 2)


def detector():
    pytest.importorskip("pycocotools.mask")
    from tests.inference import test_predict_instances

    network = inference.InstanceSegmenter(
        test_predict_instances.model, detected.NAMES, detected.spec().palette
    )
    return trained.InstanceSegmenter(network, "run", None)


def test_a_network_that_detects_objects_is_evaluated(tmp_path):
    loaded = detector()
    from tests.evaluation import test_evaluate_results

    assert repr(loaded).startswith("<InstanceSegmenter exported model, 4 classes: bac")
    records_dir = test_evaluate_results.write_records(tmp_path / "records")
    with pytest.raises(errors.UserError, match="not the workdir of a run"):
        loaded.evaluate()
    result = loaded.report(tmp_path / "report.html", records_dir, min_score=0.5)
    assert isinstance(result, evaluation.InstanceEvaluation)
    assert "exported model" in (tmp_path / "report.html").read_text()
    again = loaded.evaluate(records_dir)
    assert again.scores["mask_ap"] == result.scores["mask_ap"]
