"""The command evaluate."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from kerasseg import datasets, evaluate, images, records
from kerasseg.evaluation import masks, scoring
from tests.support import commands, levels, tiny

# Red and label; the model predicts red // 64. The third class is never labeled.
IMAGES = [([[0, 0, 70, 70]], [[0, 0, 1, 0]]), ([[0, 70]], [[255, 1]])]
# left: 2 hits, 3 labeled, 2 predicted; middle: 2 hits, 2 labeled, 3 predicted.
MEAN_IOU = (2 / 3 + 2 / 3) / 2


def write_records(folder, pairs, split="val", spec=tiny.SPEC):
    folder.mkdir(exist_ok=True)
    serialized = [
        tiny.example(levels.red(values), np.array(label, np.uint8), f"p{i}.png")
        for i, (values, label) in enumerate(pairs)
    ]
    shard = records.write_shard(folder / records.shard_name(split, 0, 1), serialized)
    records.write_info(folder, records.DatasetInfo(spec, {split: [shard]}))
    return folder


@pytest.fixture
def workdir(tmp_path):
    """A finished run on the split of `IMAGES`."""
    records_dir = write_records(tmp_path / "records", IMAGES)
    workdir = levels.make_workdir(tmp_path / "run", output_stride=16)
    (workdir / "flags.txt").write_text(
        f"--eval_split=val\n--records_dir={records_dir}\n--nomirror\n"
    )
    return workdir


@pytest.fixture
def run(capsys):
    """Runs the command; returns its exit status, output and errors."""

    def call(*arguments):
        status = commands.run(evaluate.main, *arguments)
        return status, *capsys.readouterr()

    return call


def read_metrics(workdir):
    return json.loads((workdir / "metrics.json").read_text())


def test_a_run_is_evaluated_on_its_own_records(workdir):
    result = subprocess.run(
        [sys.executable, "-m", "kerasseg.evaluate", f"--workdir={workdir}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    # Each image is a row of pixels, all of them at the image border: the boundary of a
    # class are all its pixels.
    assert lines[1].split() == ["left", "66.67", "66.67", "66.67", "60.00"]
    assert lines[2].split() == ["middle", "66.67", "66.67", "100.00", "40.00"]
    assert lines[3].split() == ["right", "-", "-", "-", "0.00"]
    assert "Never seen, left out of the means: right." in lines
    metrics = read_metrics(workdir)
    assert metrics["mean_iou"] == pytest.approx(MEAN_IOU)
    assert metrics["pixel_accuracy"] == pytest.approx(4 / 5)
    assert metrics["mean_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert metrics["frequency_weighted_iou"] == pytest.approx(2 / 3)
    assert metrics["iou"]["right"] is None
    assert (metrics["split"], metrics["pictures"], metrics["step"]) == ("val", 2, 7)
    assert (metrics["output_stride"], metrics["crf"]) == (16, None)
    assert "labeled_checksum" not in metrics


def test_the_scores_name_the_list_of_labeled_images_of_the_run(run, workdir):
    path = workdir / "best" / "model.json"
    listed = {"labeled_images": 46, "labeled_checksum": "ab12"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **listed}))
    assert run(f"--workdir={workdir}", "--noreport")[0] == 0
    metrics = read_metrics(workdir)
    assert {key: metrics[key] for key in listed} == listed


def write_pseudo_labels(workdir, content):
    path = workdir.parent / "records" / records.PSEUDO_LABELS_FILE
    path.write_text(json.dumps(content))


def make_numbers(**changes):
    """Numbers of pseudo-labels: 200 pixels of 3 images, half of them kept."""
    values = {"predicted_pixels": 0, "coverage": None, "precision": None}
    classes = {name: dict(values) for name in tiny.SPEC.class_names}
    classes["left"] = {"predicted_pixels": 150, "coverage": 0.5, "precision": 0.96}
    total = {"images": 3, "compared_images": 2, "pixels": 200}
    scores = {"coverage": 0.25, "precision": 0.96}
    return {**total, **scores, "classes": classes, **changes}


def test_the_report_shows_pseudo_labels_and_the_newest_generated_images(run, workdir):
    write_pseudo_labels(workdir, make_numbers())
    (workdir / "pictures").mkdir()
    for step, red in ((5, 10), (400, 250)):
        image = np.full((4, 8, 3), red, np.uint8)
        path = workdir / "pictures" / f"{step:08d}_generated.png"
        path.write_bytes(images.encode_image(image))
    assert run(f"--workdir={workdir}")[0] == 0
    page = (workdir / "report.html").read_text()
    assert "fixed noise at step 400." in page
    # 150 of 200 pixels, half of them kept, 96 % correct.
    section = page[page.index('id="pseudo-labels"') :]
    left = section[section.index("left") :]
    assert re.findall(r">([\d.]+)</td>", left)[:3] == ["75.00", "50.00", "96.00"]


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"classes": {}},
        make_numbers(classes={"left": 3}),
        make_numbers(pixels=-1),
        make_numbers(pixels="<b>"),
        make_numbers(coverage=1.5),
        make_numbers(precision="0.9"),
        make_numbers(images=10**400),
        make_numbers(coverage=float("nan")),
    ],
)
def test_a_damaged_file_of_pseudo_labels_is_left_out(run, workdir, content):
    write_pseudo_labels(workdir, content)
    (workdir / "pictures").mkdir()
    (workdir / "pictures" / "00000005_generated.png").write_bytes(b"no image")
    status, out, _ = run(f"--workdir={workdir}")
    page = (workdir / "report.html").read_text()
    assert status == 0
    assert "The report has no pseudo-labels: " in out
    assert 'id="pseudo-labels"' not in page
    assert "The report has no generated images: " in out
    assert 'id="generated"' not in page


def test_other_records_and_splits_can_be_given(run, workdir, tmp_path):
    other = write_records(tmp_path / "other", [([[200, 0]], [[2, 0]])], split="test")
    status, _, errors = run(
        f"--workdir={workdir}",
        f"--records_dir={other}",
        "--split=test",
        "--batch_size=4",
    )
    assert status == 0, errors
    metrics = read_metrics(workdir)
    assert (metrics["split"], metrics["mean_iou"]) == ("test", 1.0)


def test_scores_without_labeled_pixels_are_null(run, workdir, tmp_path):
    other = write_records(tmp_path / "other", [([[0]], [[255]])])
    assert run(f"--workdir={workdir}", f"--records_dir={other}")[0] == 0
    assert read_metrics(workdir)["pixel_accuracy"] is None


def test_the_output_stride_can_be_given(run, workdir, monkeypatch):
    built = []
    levels.register(monkeypatch, built)
    assert run(f"--workdir={workdir}", "--output_stride=8")[0] == 0
    assert built == [(3, {"output_stride": 8, "backbone_weights": None})]
    metrics = read_metrics(workdir)
    assert metrics["output_stride"] == 8
    assert metrics["mean_iou"] == pytest.approx(MEAN_IOU)


def test_the_crf_is_evaluated_and_its_settings_are_written(run, workdir, tmp_path):
    pytest.importorskip("pydensecrf.densecrf")
    values = np.full((24, 32), 40)
    values[:, 16:] = 70
    label = values // 64
    values[10, 8] = 70  # A single pixel of the wrong class.
    other = write_records(tmp_path / "other", [(values, label)] * 3)
    given = [f"--workdir={workdir}", f"--records_dir={other}"]
    assert run(*given)[0] == 0
    assert read_metrics(workdir)["pixel_accuracy"] == pytest.approx(1 - 1 / (24 * 32))
    status, _, errors = run(
        *given, "--crf", "--crf_iterations=5", "--crf_bilateral_compat=0"
    )
    assert status == 0, errors
    metrics = read_metrics(workdir)
    assert metrics["pixel_accuracy"] == 1
    assert metrics["crf"]["iterations"] == 5
    assert metrics["crf"]["gaussian_sxy"] == 3


def test_a_failed_evaluation_leaves_the_old_metrics(run, workdir, tmp_path):
    assert run(f"--workdir={workdir}")[0] == 0
    before = (workdir / "metrics.json").read_bytes()
    other = write_records(tmp_path / "other", [*IMAGES, ([[0]], [[9]])])
    status, _, errors = run(f"--workdir={workdir}", f"--records_dir={other}")
    assert status == 2
    assert "image p2.png: labels out of range: 9 (1 pixel)" in errors
    assert (workdir / "metrics.json").read_bytes() == before
    assert not list(workdir.glob("*.tmp*"))


OTHER_SPEC = datasets.DatasetSpec(
    name="other",
    source="tests.evaluation.test_evaluate",
    num_images={},
    classes={"cat": (0, 0, 0), "dog": (1, 1, 1), "horse": (2, 2, 2)},
)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "Required flags are missing: --workdir. --help lists the flags."),
        (["--workdir=/nowhere"], "--workdir=/nowhere is not an existing folder."),
        (["--workdir={empty}"], "{empty} has no trained model yet. Train one"),
        (["--workdir={workdir}", "--split=test"], "has no split 'test', only val."),
        (
            ["--workdir={workdir}", "--records_dir=/nowhere"],
            "--records_dir=/nowhere is not an existing folder. Correct the path.",
        ),
        (
            ["--workdir={workdir}", "--records_dir={empty}"],
            "{empty} has no dataset.json and no val-*.tfrecord. Build the records",
        ),
        (
            ["--workdir={workdir}", "--records_dir={other}"],
            "has the classes cat, dog, horse, and {workdir} was trained on left, "
            "middle, right. Give a --records_dir with the same classes in the same ord",
        ),
        (["--workdir={workdir}", "--batch_size=0"], "flag --batch_size=0"),
        (
            ["--workdir={workdir}", "--crf", "--crf_bilateral_sxy=0"],
            "--crf_bilateral_sxy=0.0: a standard deviation must be a finite number",
        ),
    ],
)
def test_mistakes_are_one_line_and_exit_with_2(run, workdir, tmp_path, arguments, text):
    other = write_records(tmp_path / "other", IMAGES, spec=OTHER_SPEC)
    (tmp_path / "empty").mkdir()
    known = {"workdir": workdir, "other": other, "empty": tmp_path / "empty"}
    status, _, errors = run(*[argument.format(**known) for argument in arguments])
    assert status == 2
    assert errors.count("\n") == 1
    assert text.format(**known) in errors
    assert not (workdir / "metrics.json").exists()


def test_a_run_without_flags_file_needs_records_dir(run, workdir):
    (workdir / "flags.txt").unlink()
    status, _, errors = run(f"--workdir={workdir}")
    assert status == 2
    assert "does not name the records of the run. Give --records_dir." in errors


def test_measures_are_chosen(run, workdir):
    assert run(f"--workdir={workdir}")[0] == 0
    metrics = read_metrics(workdir)
    assert metrics["expected_calibration_error"] >= 0
    assert metrics["interval"]["pictures"] == 2
    for given, present in (("", False), ("trimap", True)):
        assert run(f"--workdir={workdir}", f"--measures={given}")[0] == 0
        metrics = read_metrics(workdir)
        assert ("trimap" in metrics) is present
        assert "bf_score" not in metrics
    status, _, errors = run(f"--workdir={workdir}", "--measures=size")
    assert status == 2
    assert "Unknown measures: size. Choose from boundary_iou, bf_score" in errors


def test_calibration_is_left_out_with_refinement(run, workdir):
    pytest.importorskip("skimage")
    assert run(f"--workdir={workdir}", "--superpixels=2")[0] == 0
    metrics = read_metrics(workdir)
    assert "trimap" in metrics
    assert "reliability" not in metrics
    status, _, errors = run(
        f"--workdir={workdir}", "--superpixels=2", "--measures=calibration"
    )
    assert (status, "calibration needs the network" in errors) == (2, True)


def test_scales_and_flip_are_used_and_written(run, workdir):
    flags = ["--eval_scales=1,2", "--flip", "--eval_fusion=max", "--tile_size=128"]
    status, _, errors = run(f"--workdir={workdir}", *flags)
    assert status == 0, errors
    metrics = read_metrics(workdir)
    assert (metrics["scales"], metrics["flip"]) == ([1, 2], True)
    assert (metrics["fusion"], metrics["tile_size"]) == ("max", 128)
    for flag, text in [
        ("--eval_scales=1,big", "--eval_scales=1,big: expected numbers separated by"),
        ("--eval_scales=0", "--eval_scales=0: expected one or more numbers"),
        ("--tile_size=100", "--tile_size=100: expected a multiple of 128 pixels"),
    ]:
        status, _, errors = run(f"--workdir={workdir}", flag)
        assert (status, text in errors) == (2, True), errors


def test_two_runs_are_compared_on_the_same_images(run, workdir, tmp_path):
    other = tmp_path / "other"
    assert run(f"--workdir={workdir}", f"--output_dir={other}")[0] == 0
    assert not (workdir / "metrics.json").exists()
    status, output, errors = run(f"--workdir={workdir}", f"--compare_workdir={other}")
    assert status == 0, errors
    assert "difference          0.0000 [0.0000, 0.0000], above 0 in 0.0%" in output
    assert read_metrics(workdir)["difference"]["mean_iou"]["above_zero"] == 0
    status, _, errors = run(f"--workdir={workdir}", "--compare_workdir=/nowhere")
    assert status == 2
    assert "/nowhere/pictures.csv does not exist. Evaluate the run of" in errors


@pytest.mark.parametrize("flag", [[], ["--predictions_dir={masks}"]])
def test_runs_that_cannot_be_compared_are_refused_before_the_evaluation(
    run, workdir, tmp_path, monkeypatch, flag
):
    other = tmp_path / "other"
    assert run(f"--workdir={workdir}", f"--output_dir={other}")[0] == 0
    counts = other / "pictures.csv"
    counts.write_text("".join(counts.read_text().splitlines(True)[:-1]))

    def score(*_, **__):
        raise AssertionError("The evaluation has started.")

    monkeypatch.setattr(scoring, "evaluate", score)
    monkeypatch.setattr(masks, "score_masks", score)
    given = [part.format(masks=tmp_path) for part in flag]
    flags_given = [f"--workdir={workdir}", f"--compare_workdir={other}", *given]
    status, _, errors = run(*flags_given)
    assert status == 2
    assert "has 1 images, the split 'val' has 2. Evaluate both runs on" in errors


@pytest.mark.parametrize("flag", [[], ["--predictions_dir={masks}"]])
def test_a_run_that_detects_objects_cannot_be_compared_with(
    run, workdir, tmp_path, flag
):
    (tmp_path / "instances.npz").write_bytes(b"")
    given = [part.format(masks=tmp_path) for part in flag]
    status, _, errors = run(
        f"--workdir={workdir}",
        f"--compare_workdir={tmp_path}",
        f"--output_dir={tmp_path}",
        *given,
    )
    assert status == 2
    assert "a network that detects objects, and this one predicts the class" in errors
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize("flag", [[], ["--predictions_dir={masks}"]])
def test_a_minimum_score_applies_to_detected_objects(run, workdir, tmp_path, flag):
    given = [part.format(masks=tmp_path) for part in flag]
    more = [f"--output_dir={tmp_path}", "--min_score=0.5"]
    status, _, errors = run(f"--workdir={workdir}", *more, *given)
    assert status == 2
    assert "--min_score applies to detected objects" in errors


def write_masks(folder, arrays):
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in arrays.items():
        (folder / name).write_bytes(images.encode_label(np.array(mask, np.uint8)))
    return folder


# Predictions of the model for `IMAGES`.
MASKS = {"p0.png": [[0, 0, 1, 1]], "p1.png": [[0, 1]]}


def test_masks_have_the_same_scores_as_the_network(run, workdir, tmp_path):
    assert run(f"--workdir={workdir}")[0] == 0
    folder = write_masks(tmp_path / "masks", MASKS)
    given = [f"--predictions_dir={folder}", f"--output_dir={tmp_path / 'out'}"]
    status, _, errors = run(*given, f"--records_dir={tmp_path / 'records'}")
    assert status == 0, errors
    network, metrics = read_metrics(workdir), read_metrics(tmp_path / "out")
    for key in ("iou", "mean_iou", "trimap", "bf_score", "boundary_iou", "interval"):
        assert metrics[key] == network[key]
    assert metrics["predictions_dir"] == str(folder)
    # A run with the same classes names its records.
    assert run(*given, f"--workdir={workdir}")[0] == 0


def test_masks_are_evaluated_with_a_folder_of_labels(run, tmp_path):
    # 11 is ignored in CamVid.
    labels = write_masks(tmp_path / "labels/deep", {"a.png": [[0, 1, 11]]})
    folder = write_masks(tmp_path / "masks/deep", {"a.png": [[0, 0, 5]]})
    status, _, errors = run(
        f"--predictions_dir={folder.parent}",
        f"--labels_dir={labels.parent}",
        "--dataset=camvid",
        f"--output_dir={tmp_path / 'out'}",
    )
    assert status == 0, errors
    metrics = read_metrics(tmp_path / "out")
    assert metrics["pixel_accuracy"] == 0.5
    assert metrics["iou"]["sky"] == 0.5
    assert metrics["iou"]["tree"] is None


def test_a_folder_of_labels_may_have_the_classes_of_a_run_or_of_records(
    run, workdir, tmp_path
):
    labels = write_masks(tmp_path / "labels", {"a.png": [[0, 1, 1]]})
    folder = write_masks(tmp_path / "masks", {"a.png": [[0, 0, 1]]})
    given = [f"--predictions_dir={folder}", f"--labels_dir={labels}"]
    for i, own in enumerate(
        [f"--workdir={workdir}", f"--records_dir={tmp_path / 'records'}"]
    ):
        status, _, errors = run(*given, f"--output_dir={tmp_path / str(i)}", own)
        assert status == 0, errors
        metrics = read_metrics(tmp_path / str(i))
        # One of two pixels in the union each.
        assert metrics["iou"] == {"left": 0.5, "middle": 0.5, "right": None}


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"p0.png": [[0, 0, 1, 1]]}, "1 missing: p1.png"),
        ({**MASKS, "p2.png": [[0]]}, "1 without a label: {masks}/p2.png"),
        (
            {**MASKS, "p1.png": [[0, 1], [0, 1]]},
            "1 of another size than the label: {masks}/p1.png (2 x 2, the label 2 x 1)",
        ),
        ({**MASKS, "p1.PNG": [[0, 1]]}, "1 found twice: {masks}/p1.PNG and {masks}/p1"),
        (
            {**MASKS, "p1.png": [[0, 7]]},
            "p1.png: Predicted class numbers out of range: 1 pixels, the first 7.",
        ),
    ],
)
def test_masks_that_do_not_match_are_listed_and_refused(
    run, workdir, tmp_path, arrays, text
):
    folder = write_masks(tmp_path / "masks", arrays)
    status, _, errors = run(
        f"--predictions_dir={folder}",
        f"--workdir={workdir}",
        f"--output_dir={tmp_path / 'out'}",
    )
    assert status == 2
    assert text.format(masks=folder) in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--predictions_dir={masks}"], "Required flags are missing: --output_dir."),
        (
            ["--predictions_dir={masks}", "--output_dir=out"],
            "--predictions_dir needs labels to be scored against. Give --records_dir, ",
        ),
        (
            ["--predictions_dir={masks}", "--output_dir=out", "--labels_dir={masks}"],
            "--labels_dir does not name the classes. Give --dataset, or the --workdir",
        ),
        (
            ["--predictions_dir=/nowhere", "--workdir={workdir}"],
            "--predictions_dir=/nowhere is not an existing folder.",
        ),
        (
            [
                "--predictions_dir={masks}",
                "--workdir={workdir}",
                "--measures=calibration",
            ],
            "The measure calibration needs the network's probabilities",
        ),
    ],
)
def test_mistakes_about_masks_exit_with_2(run, workdir, tmp_path, arguments, text):
    known = {"workdir": workdir, "masks": write_masks(tmp_path / "masks", MASKS)}
    status, _, errors = run(*[argument.format(**known) for argument in arguments])
    assert status == 2
    assert text in errors


def test_mistakes_are_reported_without_starting_tensorflow(workdir, tmp_path):
    """Checked in a process, as TensorFlow runs in this one."""
    code = """
import sys
from kerasseg import errors, evaluation
for wrong in {wrong}:
    try:
        evaluation.check_inputs(**wrong)
    except errors.UserError as error:
        print(error)
sys.exit("tensorflow" in sys.modules or "keras" in sys.modules)
"""
    masks_dir = write_masks(tmp_path / "masks", MASKS)
    run_and_masks = {"workdir": str(workdir), "predictions_dir": str(masks_dir)}
    wrong = [
        {"workdir": "/nowhere"},
        {"workdir": str(workdir), "records_dir": "/nowhere"},
        {"records_dir": str(tmp_path / "records"), "split": "test"},
        {"workdir": str(workdir), "dataset": "unknown"},
        {"workdir": str(workdir), "compare_workdir": "/nowhere"},
        {**run_and_masks, "predictions_dir": "/nowhere"},
        {**run_and_masks, "labels_dir": "/nowhere"},
        {**run_and_masks, "measures": ["calibration"]},
    ]
    command = [sys.executable, "-c", code.format(wrong=wrong)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == len(wrong)
