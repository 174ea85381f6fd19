"""The command label_next."""

import contextlib
import csv
import io

import numpy as np
import pytest

from kerasseg import errors, images, label_next
from kerasseg.inference import labeling, resuming
from kerasseg.inference.labeling import journal, running
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


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def write_inputs(root):
    (root / "deep").mkdir(parents=True)
    for name, reds in {
        "sure.png": [[SURE, SURE]],
        "deep/half b.png": [[SURE, BORDER]],
        "most.png": [[BORDER, BORDER]],
        "also.png": [[BORDER, BORDER]],
    }.items():
        (root / name).write_bytes(tiny.png(levels.red(reds)))
    (root / "bad.png").write_bytes(b"no image")
    (root / "film.mp4").write_bytes(b"")
    (root / "notes.txt").write_text("")
    return root


@pytest.fixture(scope="module")
def done(workdir, inputs, tmp_path_factory):
    """Folder, exit status and output of a first run."""
    output = tmp_path_factory.mktemp("done") / "out"
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = commands.run(
            label_next.main,
            *(f"--workdir={workdir}", f"--images={inputs}", f"--output_dir={output}"),
            "--count=4",
        )
    return output, status, out.getvalue()


@pytest.fixture
def run(workdir, inputs, tmp_path, capsys):
    def call(*more):
        given = f"--workdir={workdir}", f"--images={inputs}"
        output = f"--output_dir={tmp_path}/out"
        status = commands.run(label_next.main, *given, output, *more)
        return status, *capsys.readouterr()

    return call


def order(folder):
    rows = list(csv.DictReader((folder / "order.csv").read_text().splitlines()))
    assert [row["rank"] for row in rows] == [str(i + 1) for i in range(len(rows))]
    return {row["name"]: float(row["score"]) for row in rows}


def test_the_most_uncertain_images_are_first(done):
    output, _, _ = done
    found = order(output)
    assert [*found] == ["also", "most", "deep/half b", "sure"]  # Ties by name.
    expected = [ENTROPY, ENTROPY, ENTROPY / 2, 0]
    assert [*found.values()] == pytest.approx(expected, abs=1e-4)
    assert images.read_image(output / "contact_sheet.png").shape[2] == 3
    names = {path.name for path in output.iterdir()}
    assert {name for name in names if not name.startswith(".")} == {*OUTPUTS}


def test_the_list_of_names_is_one_of_labeled_images(done):
    output, _, _ = done
    text = output / "next.txt"
    assert text.read_text() == "also\nmost\ndeep/half b\nsure\n"
    found = labeled_lists.read_list(text, [*order(output)])
    assert found.names == ("also", "deep/half b", "most", "sure")


def test_refused_images_are_counted_and_named(done):
    output, status, out = done
    assert status == 2
    assert "Passed over" in out and ".txt" in out
    assert "Scored 4 of 6 files. The first 4 are in" in out
    first, second = (output / "failed.txt").read_text().splitlines()
    assert "bad.png" in first and "film.mp4: a video cannot be labeled" in second


@pytest.mark.parametrize("file", ["coco.json", "cvat.xml", "label_studio.json"])
def test_a_build_reads_the_predictions(done, tmp_path, file):
    pytest.importorskip("pycocotools.mask")
    root = write_inputs(tmp_path / "own")
    (root / "bad.png").unlink()
    classes = class_lists.make_list([(n, None) for n in tiny.SPEC.class_names], "x")
    own = own_data.OwnData(
        images=str(root),
        annotations=str(done[0] / file),
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


def test_scores_are_kept_if_only_the_count_changes(done, run):
    output, _, _ = done
    _, out, err = run(f"--output_dir={output}", "--count=1")
    assert "Scored 4 of 6 files, 4 of them by an earlier run. The first 1 are" in out
    assert "bad.png" in err and "film.mp4" in err
    assert (output / "next.txt").read_text() == "also\n"


def test_margin_and_diversity(run, tmp_path):
    run("--score=margin", "--count=2", "--diversity")
    found = order(tmp_path / "out")
    # 1 - (0.52498 - 0.47502) = 0.95004. "most" has the probabilities of "also", and
    # "sure" is the farthest from both.
    assert [*found] == ["also", "sure", "most", "deep/half b"]
    assert found["also"] == pytest.approx(0.95004, abs=1e-4)


def test_disagreement_compares_scales_and_flipped_views(run, tmp_path):
    # The network classifies each pixel alone: a flipped view, flipped back, is equal.
    # At scale 2 the red values of "half b" are 0, 16, 48, 64, and the mean logits of
    # the last two 0 and (-4.9 + 0.1) / 2 = -2.4, so 0.0832 of class 1 instead of
    # 0.5250. The entropies are 0.2864 and 0.6919, that of the mean, 0.3041, is 0.6143:
    # 0.6143 - (0.2864 + 0.6919) / 2 = 0.1251, and 0 in the other of two pixels.
    run("--score=disagreement", "--eval_scales=1,2", "--flip")
    found = order(tmp_path / "out")
    assert next(iter(found)) == "deep/half b"
    assert found["deep/half b"] == pytest.approx(0.1251 / 2, abs=1e-4)
    assert found["most"] == pytest.approx(0, abs=1e-6)


def test_the_journal_skips_damaged_lines_other_settings_and_changed_images(tmp_path):
    path, other = tmp_path / "a.png", tmp_path / "b.png"
    path.write_bytes(b"one")
    other.write_bytes(b"two")
    scored = journal.Scored(0.25, [0.5, 0.5])
    first = journal.Journal(tmp_path, {"score": "margin"})
    first.add("a", resuming.source(path), scored)
    first.add("b", resuming.source(other), scored)
    file = tmp_path / ".label_next.jsonl"
    file.write_bytes(file.read_bytes()[:-9] + b'\n[]\n{}\n{"settings": 1}')  # A crash.
    again = journal.Journal(tmp_path, {"score": "margin"})
    assert (again.find("a", path), again.find("b", other)) == (scored, None)
    assert journal.Journal(tmp_path, {"score": "entropy"}).find("a", path) is None
    path.write_bytes(b"three")
    assert again.find("a", path) is None
    assert again.find("a", tmp_path / "none.png") is None


@pytest.mark.slow
def test_an_image_that_vanishes_after_its_score_is_replaced(run, tmp_path, monkeypatch):
    root, scored = write_inputs(tmp_path / "own"), running._score

    def remove(*arguments):
        result = scored(*arguments)
        (root / "also.png").unlink()
        return result

    monkeypatch.setattr(running, "_score", remove)
    status, out, err = run(f"--images={root}", "--count=2")
    assert status == 2 and "Scored 3 of 6 files. The first 2" in out
    assert "also.png" in err
    assert (tmp_path / "out/next.txt").read_text() == "most\ndeep/half b\n"


@pytest.mark.slow
def test_if_no_image_can_be_read_the_lists_are_empty(run, tmp_path):
    root = write_inputs(tmp_path / "own")
    run(f"--images={root}")
    for path in [*root.rglob("*.png")]:
        path.write_bytes(b"")
    status, out, _ = run(f"--images={root}")
    assert status == 2 and "Scored 0 of 6 files" in out
    assert order(tmp_path / "out") == {}
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


@pytest.mark.slow
def test_results_are_the_same_in_each_run(workdir, inputs, tmp_path):
    paths = {path.stem: path for path in sorted(inputs.glob("*[!d].png"))}
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
