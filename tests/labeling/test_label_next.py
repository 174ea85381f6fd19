"""The command label_next."""

import csv

import numpy as np
import pytest

from kerasseg import errors, images, label_next, labeling
from kerasseg.inference.options import PredictorOptions
from kerasseg.records import labeled_lists
from tests.support import commands, levels, tiny
from tfrecords_tools.converters import class_lists, folder, own_data, pairs

# At red 64 the logits are 0, 0.1 and -19.8 (see levels): the probabilities are 0.475
# and 0.525, their entropy is 0.6919, and the margin 0.05. At red 0 both are certain.
BORDER, SURE = 64, 0
ENTROPY = 0.6919
OUTPUTS = [
    *("coco.json", "contact_sheet.png", "cvat.xml", "failed.txt"),
    *("label_studio.json", "label_studio_config.xml", "next.txt", "order.csv"),
]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return levels.make_workdir(tmp_path_factory.mktemp("run"))


@pytest.fixture
def inputs(tmp_path):
    root = tmp_path / "inputs"
    (root / "deep").mkdir(parents=True)
    for name, reds in {
        "sure.png": [[SURE, SURE]],
        "deep/half b.png": [[SURE, BORDER]],
        "most.png": [[BORDER, BORDER]],
        "also.png": [[BORDER, BORDER]],
    }.items():
        (root / name).write_bytes(tiny.png(levels.red(reds)))
    return root


@pytest.fixture
def run(workdir, inputs, tmp_path, capsys):
    def call(*more):
        given = f"--workdir={workdir}", f"--images={inputs}"
        output = f"--output_dir={tmp_path}/out"
        status = commands.run(label_next.main, *given, output, *more)
        return status, *capsys.readouterr()

    return call


def order(root):
    rows = list(csv.DictReader((root / "out/order.csv").open()))
    assert [row["rank"] for row in rows] == [str(i + 1) for i in range(len(rows))]
    return {row["name"]: float(row["score"]) for row in rows}


def test_the_most_uncertain_images_are_chosen(run, tmp_path):
    status, out, _ = run("--count=3")
    assert (status, out) == (
        0,
        f"Scored 4 of 4 files. The first 3 are in {tmp_path}/out/next.txt.\n",
    )
    found = order(tmp_path)
    assert [*found] == ["also", "most", "deep/half b", "sure"]  # Ties by name.
    expected = [ENTROPY, ENTROPY, ENTROPY / 2, 0]
    assert [*found.values()] == pytest.approx(expected, abs=1e-4)
    text = tmp_path / "out/next.txt"
    assert text.read_text() == "also\nmost\ndeep/half b\n"
    assert labeled_lists.read_list(text, [*found]).names == (
        *("also", "deep/half b", "most"),
    )
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {name for name in names if not name.startswith(".")} == {*OUTPUTS}
    assert images.read_image(tmp_path / "out/contact_sheet.png").shape[2] == 3
    assert (tmp_path / "out/failed.txt").read_text() == ""


@pytest.mark.parametrize("file", ["coco.json", "cvat.xml", "label_studio.json"])
def test_a_build_reads_the_predictions(run, inputs, tmp_path, file):
    pytest.importorskip("pycocotools.mask")
    run("--count=4")
    classes = class_lists.make_list([(n, None) for n in tiny.SPEC.class_names], "x")
    own = own_data.OwnData(
        images=str(inputs),
        annotations=str(tmp_path / "out" / file),
        classes=classes,
        val_fraction=0,
    )
    listed = folder.list_pairs("train", pairs.Source(own=own))
    labels = {pair.name: folder.read_pair(pair).label.tolist() for pair in listed}
    assert labels == {  # The class of red 64 is 1.
        "also": [[1, 1]],
        "deep/half b": [[0, 1]],
        "most": [[1, 1]],
        "sure": [[0, 0]],
    }


def test_other_scores_and_diversity(run, tmp_path):
    run("--score=margin", "--count=2", "--diversity")
    found = order(tmp_path)
    # 1 - (0.52498 - 0.47502) = 0.95004. "most" has the probabilities of "also", and
    # "sure" is the farthest from both.
    assert [*found] == ["also", "sure", "most", "deep/half b"]
    assert found["also"] == pytest.approx(0.95004, abs=1e-4)


def test_flipped_views_are_flipped_back(run, tmp_path):
    # The network classifies each pixel alone, so a flipped image gives the same.
    run("--score=disagreement", "--flip")
    assert order(tmp_path)["deep/half b"] == pytest.approx(0, abs=1e-6)
    # At twice the size, the border between the two pixels has other values.
    run("--score=disagreement", "--eval_scales=1,2")
    found = order(tmp_path)
    assert next(iter(found)) == "deep/half b" and found["deep/half b"] > 0.01
    assert found["most"] == pytest.approx(0, abs=1e-6)


def test_refused_images_are_counted_and_named(run, inputs, tmp_path):
    (inputs / "bad.png").write_bytes(b"no image")
    (inputs / "film.mp4").write_bytes(b"")
    (inputs / "notes.txt").write_text("")
    status, out, err = run()
    assert status == 2
    assert "Passed over" in out and "1" in out
    assert "Scored 4 of 6 files" in out
    lines = (tmp_path / "out/failed.txt").read_text().splitlines()
    assert len(lines) == 2
    assert "bad.png" in lines[0] and "film.mp4: a video cannot be labeled" in lines[1]
    assert all(line in err for line in lines)
    assert len(order(tmp_path)) == 4


def test_scores_are_kept_where_nothing_has_changed(run, inputs, tmp_path):
    run()
    first = (tmp_path / "out/order.csv").read_bytes()
    journal = tmp_path / "out/.label_next.jsonl"
    assert "4 of them by an earlier run" in run("--count=1")[1]
    # A crash has cut off the last line, and one image is another one now.
    journal.write_bytes(journal.read_bytes()[:-9] + b"\n[]\n{}")
    assert "3 of them by an earlier run" in run()[1]
    assert (tmp_path / "out/order.csv").read_bytes() == first
    (inputs / "sure.png").write_bytes(tiny.png(levels.red([[BORDER] * 3])))
    assert "3 of them by an earlier run" in run()[1]
    assert order(tmp_path)["sure"] == pytest.approx(ENTROPY, abs=1e-4)
    assert "earlier run" not in run("--score=margin")[1]


def test_an_image_that_vanishes_after_its_score_is_replaced(run, inputs, monkeypatch):
    from kerasseg.labeling import running

    scored = running._score

    def remove(*arguments):
        result = scored(*arguments)
        (inputs / "also.png").unlink()
        return result

    monkeypatch.setattr(running, "_score", remove)
    status, out, err = run("--count=2")
    assert status == 2 and "Scored 3 of 4 files. The first 2" in out
    assert "also.png" in err


def test_if_no_image_can_be_read_the_lists_are_empty(run, inputs, tmp_path):
    run()
    for path in [*inputs.rglob("*.png")]:
        path.write_bytes(b"")
    status, out, _ = run()
    assert status == 2 and "Scored 0 of 4 files" in out
    assert order(tmp_path) == {}
    assert not (tmp_path / "out/contact_sheet.png").exists()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--score=disagreement"], "--score=disagreement compares several views"),
        (
            ["--score=disagreement", "--flip", "--eval_fusion=max"],
            "leave out --eval_fusion=max",
        ),
        (["--superpixels=9"], "leave out --crf and --superpixels"),
        (["--workdir=/nowhere"], "/nowhere does not exist"),
        (["--images=/nowhere/*.png"], "no image found"),
    ],
)
def test_wrong_flags_are_errors(run, more, reason):
    status, _, err = run(*more)
    assert status == 2 and reason in err


def test_results_between_the_images_are_refused(run, inputs):
    status, _, err = run(f"--output_dir={inputs}")
    assert status == 2 and "contains images to score" in err
    assert not (inputs / "order.csv").exists()


@pytest.mark.parametrize("more", [{"count": 0}, {"score": "variance"}])
def test_a_query_is_checked(workdir, tmp_path, more):
    (name,) = more
    with pytest.raises(errors.UserError, match=f"`{name}={more[name]}`: expected"):
        labeling.Query(workdir=str(workdir), output_dir=str(tmp_path), **more)


def test_results_are_the_same_in_each_run(workdir, inputs, tmp_path):
    paths = {path.stem: path for path in sorted(inputs.glob("*.png"))}
    written = []
    for name in ("one", "two"):
        query = labeling.Query(
            workdir=str(workdir),
            output_dir=str(tmp_path / name),
            score="disagreement",
            diversity=True,
            predictor=PredictorOptions(eval_scales="1,0.5", flip=True),
        )
        summary = labeling.label_next(query, paths)
        assert (summary.total, summary.resumed, summary.failures) == (3, 0, [])
        written.append([(tmp_path / name / f).read_bytes() for f in OUTPUTS])
    assert written[0] == written[1]
    assert np.ndim(written) == 2
