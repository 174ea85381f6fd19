"""The command evaluate with runs that detect objects; the detections are fixed."""

import json
import types

import pytest

from kerasseg import evaluate, evaluation, inference
from kerasseg.evaluation import instance_scoring
from tests.evaluation.test_evaluate_results import EACH, write_records
from tests.evaluation.test_instance_comparison import worse
from tests.support import commands, detected

pytest.importorskip("pycocotools.mask")


class Detector:
    """Finds the detections of the image whose pixels are 90 plus its index."""

    def __init__(self, each):
        self._each = each

    def detect(self, image):
        return self._each[image[0, 0, 0] - 90].detections


@pytest.fixture
def workdir(tmp_path):
    """A finished run on the records of `EACH`, without its model."""
    records_dir = write_records(tmp_path / "records")
    folder = tmp_path / "run"
    (folder / "best").mkdir(parents=True)
    values = {"model": "mask_rcnn", "num_classes": 4, "options": {}, "step": 7}
    (folder / "best/model.json").write_text(json.dumps({**values, "scores": {}}))
    (folder / "dataset.json").write_text(json.dumps(detected.spec().to_json()))
    (folder / "flags.txt").write_text(f"--records_dir={records_dir}\n")
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command with fixed detections; returns status, output and errors."""

    def call(each, *arguments):
        found = types.SimpleNamespace(detector=Detector(each))
        monkeypatch.setattr(inference, "load", lambda *_, **__: found, raising=False)
        status = commands.run(evaluate.main, *arguments)
        return status, *capsys.readouterr()

    return call


def read_metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_two_runs_are_compared_on_the_same_images(run, workdir, tmp_path):
    given, other = f"--workdir={workdir}", tmp_path / "other"
    status, _, errors = run(worse(EACH), given, f"--output_dir={other}", "--noreport")
    assert status == 0, errors
    status, output, errors = run(EACH, given, f"--compare_workdir={other}")
    assert status == 0, errors
    metrics, before = read_metrics(workdir), read_metrics(other)
    assert metrics["compared_with"] == str(other)
    for key in ("mask_ap", "mask_ap50", "box_ap", "box_ap50"):
        ends = metrics["difference"][key]
        assert ends["value"] == pytest.approx(metrics[key] - before[key], abs=1e-12)
        title = f"difference of {key.replace('_', ' ').replace('ap', 'AP')}"
        (line,) = (line for line in output.splitlines() if line.startswith(title + " "))
        expected = f"{ends['value']:.4f} [{ends['low']:.4f}, {ends['high']:.4f}], above"
        assert expected in line
    page = (workdir / "report.html").read_text()
    assert "Compared with" in page and "points</strong> of mask AP (conf" in page
    assert page.count(">change</th>") == 1


def test_a_run_does_not_differ_from_its_own_predictions(run, workdir, tmp_path):
    given = f"--workdir={workdir}", "--noreport"
    assert run(EACH, *given)[0] == 0
    annotations, results = detected.write_coco(tmp_path, EACH)
    status, output, errors = run(
        None,
        f"--predictions_json={results}",
        f"--annotations_json={annotations}",
        f"--compare_workdir={workdir}",
        f"--output_dir={tmp_path / 'out'}",
        *given,
    )
    assert status == 0, errors
    line = "difference of mask AP             0.0000 [0.0000, 0.0000], above 0 in 0.0%"
    assert line in output
    assert read_metrics(tmp_path / "out")["difference"]["mask_ap"]["above_zero"] == 0


def test_runs_that_cannot_be_compared_are_refused_before_the_evaluation(
    run, workdir, tmp_path, monkeypatch
):
    def refuse(*_, **__):
        raise AssertionError("The evaluation has started.")

    monkeypatch.setattr(instance_scoring, "evaluate_instances", refuse)
    other = tmp_path / "other"
    other.mkdir()

    def message(*more):
        given = f"--workdir={workdir}", f"--compare_workdir={other}"
        status, _, errors = run(EACH, *given, *more)
        assert status == 2
        return errors

    assert f"{other}/pictures.csv does not exist. Evaluate the run" in message()
    (other / "pictures.csv").write_text("name,mean_iou\n")
    assert "the class of each pixel, and this one detects objects" in message()
    results = detected.write_coco(tmp_path, EACH)[1]
    more = f"--predictions_json={results}", f"--output_dir={tmp_path}"
    assert "the class of each pixel, and this one detects objects" in message(*more)
    fewer = evaluation.score_instances(EACH[:3], detected.Split(3))
    names = detected.NAMES[1:]
    evaluation.instance_comparison.write_matches(other / "instances.npz", fewer, names)
    assert "instances.npz has 3 images, the split 'val' has 5" in message()
    assert "Evaluate both runs on the same records" in message(*more)


def test_the_smallest_score_decides_what_is_an_error(run, workdir):
    given = f"--workdir={workdir}", "--noreport"
    assert run(EACH, *given, "--min_score=0.9")[0] == 0
    expected = evaluation.score_instances(EACH, detected.Split(5), min_score=0.9)
    metrics = read_metrics(workdir)
    assert metrics["min_score"] == 0.9
    assert metrics["missed"] == expected.scores["missed"] > 0
    status, _, errors = run(EACH, *given, "--min_score=50")
    assert (status, "--min_score=50: expected a number from 0" in errors) == (2, True)


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--crf", "--crf applies to networks that predict the class of each pixel"),
        ("--measures=trimap", "--measures applies to networks that predict the class"),
    ],
)
def test_options_for_pixels_are_refused(run, workdir, flag, text):
    status, _, errors = run(EACH, f"--workdir={workdir}", flag)
    assert (status, text in errors) == (2, True), errors
