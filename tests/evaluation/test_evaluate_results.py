"""The command evaluate with detections of other tools."""

import csv
import json
import sys

import numpy as np
import pytest

from kerasseg import errors, evaluate, evaluation, records
from tests.support import commands, detected, tiny

pytest.importorskip("pycocotools.mask")

EACH = detected.random_images(6, 5)


def write_records(folder, each=EACH, *, with_objects=True):
    folder.mkdir(exist_ok=True)
    serialized = []
    for image in each:
        objects = image.objects
        masks = [objects.mask(i) for i in range(len(objects))]
        encoded = records.encode_masks(masks, objects.classes, objects.is_crowd)
        pixels = np.full((*image.label.shape, 3), 90 + image.index, np.uint8)
        more = {"objects": encoded} if with_objects else {}
        serialized.append(tiny.example(pixels, image.label, image.name, **more))
    shard = records.write_shard(folder / records.shard_name("val", 0, 1), serialized)
    info = records.DatasetInfo(
        detected.spec(),
        {"val": [shard]},
        records.OBJECTS_VERSION if with_objects else records.SCHEMA_VERSION,
    )
    records.write_info(folder, info)
    return folder


@pytest.fixture
def given(tmp_path):
    """Records, and results by the ids of an annotation file."""
    annotations, results = detected.write_coco(tmp_path, EACH)
    return {
        "predictions_json": results,
        "annotations_json": annotations,
        "records_dir": write_records(tmp_path / "records"),
        "output_dir": tmp_path / "scores",
    }


@pytest.fixture
def run(capsys):
    """Runs the command; returns its exit status, output and errors."""

    def call(arguments, *others):
        arguments = [f"--{name}={value}" for name, value in arguments.items()]
        status = commands.run(evaluate.main, *arguments, *others)
        return status, *capsys.readouterr()

    return call


def test_results_are_scored_on_records(given, run):
    status, output, _ = run(given)
    assert status == 0
    expected = evaluation.score_instances(EACH, detected.Split(len(EACH)))
    folder = given["output_dir"]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {key: metrics[key] for key in expected.scores} == expected.scores
    assert (metrics["split"], metrics["min_score"], metrics["pictures"]) == (
        *("val", 0.5),
        len(EACH),
    )
    found = [len(each.detections) for each in EACH]
    empty = found.count(0)
    assert f"{sum(found)} results of {5 - empty} images; {empty} images" in output
    assert f"mask AP {expected.scores['mask_ap']:.4f}" in " ".join(output.split())
    with open(folder / "instances.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [each.name for each in EACH]
    assert [int(row["missed"]) for row in rows] == expected.counts[:, 1].tolist()
    assert "<h1>Masks on things, val</h1>" in (folder / "report.html").read_text()


def test_the_report_can_be_left_out_and_the_minimum_score_chosen(given, run):
    assert run(given, "--noreport", "--min_score=0.9")[0] == 0
    metrics = json.loads((given["output_dir"] / "metrics.json").read_text())
    expected = evaluation.score_instances(
        EACH, detected.Split(len(EACH)), min_score=0.9
    )
    assert metrics["missed"] == expected.scores["missed"]
    assert not (given["output_dir"] / "report.html").exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"predictions_json": "/no.json"},
            "--predictions_json=/no.json does not exist",
        ),
        (
            {"annotations_json": "/no.json"},
            "--annotations_json=/no.json does not exist",
        ),
        ({"records_dir": None}, "Give --records_dir, or the --workdir of a run"),
        ({"split": "test"}, "no split 'test', only val"),
        ({"predictions_dir": "/tmp"}, "--predictions_dir has no meaning with"),
        ({"measures": "trimap"}, "--measures has no meaning with --predictions_json"),
        ({"output_dir": None}, "--output_dir"),
        ({"min_score": "nan"}, "--min_score=nan: expected a finite number"),
        ({"compare_workdir": "/nowhere"}, "/nowhere/instances.npz does not exist"),
        ({"annotations_json": None}, "unknown images: 5.*--annotations_json"),
    ],
)
def test_wrong_arguments_are_refused(given, run, change, text):
    arguments = {k: v for k, v in (given | change).items() if v is not None}
    status, _, stderr = run(arguments)
    assert status == 2
    pattern = text.split(".*")
    assert all(part in stderr for part in pattern), stderr
    assert not (given["output_dir"] / "metrics.json").exists()


def test_records_without_instances_name_the_image(given, run, tmp_path):
    plain = write_records(tmp_path / "plain", with_objects=False)
    status, _, stderr = run(given | {"records_dir": plain})
    assert status == 2
    assert "image image0.jpg: the record has no instances" in stderr


def test_a_missing_package_is_reported_at_the_start(given, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    status, _, stderr = run(given)
    assert status == 2
    assert "pip install 'kerasseg[datasets]'" in stderr


def test_records_are_read_with_label_and_instances(given):
    split = records.open_split(given["records_dir"], "val")
    ground_truth = evaluation.RecordObjects(split)
    assert ground_truth.targets() == [(each.name, each.label.shape) for each in EACH]
    image, label, objects, name = ground_truth.read(2)
    assert (image == 92).all()
    assert (label == EACH[2].label).all()
    assert name == EACH[2].name
    expected = EACH[2].objects
    assert (objects.classes == expected.classes).all()
    assert all((objects.mask(i) == expected.mask(i)).all() for i in range(len(objects)))


def test_a_wrong_label_names_the_record(tmp_path):
    wrong = detected.random_images(6, 1)[0]
    wrong.label[:] = 77
    folder = write_records(tmp_path / "records", [wrong])
    ground_truth = evaluation.RecordObjects(records.open_split(folder, "val"))
    with pytest.raises(errors.UserError, match=r"record 0, image image0.jpg.*77"):
        ground_truth.read(0)
