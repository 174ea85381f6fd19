"""The command tune_crf, its grid and its scores."""

import csv
import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from kerasseg import crf, datasets, evaluate, tune_crf
from kerasseg.crf import tuning
from kerasseg.crf.tuning import Setting, cache, coarse, fine
from tests.evaluation.test_evaluate import write_records
from tests.support import commands, exact_crf, faults, levels

AXES = {
    "bilateral_compat": (4.0, 6.0, 10.0),
    "bilateral_sxy": (40.0,),
    "bilateral_srgb": (2.0, 8.0),
}
FEW = ["--try_bilateral_compat=1,3", "--try_bilateral_sxy=20", "--crf_iterations=3"]
FEW += ["--try_bilateral_srgb=30"]


def test_the_coarse_grid_holds_every_combination_once():
    settings = coarse({**AXES, "bilateral_compat": (6.0, 4.0, 6.0)})
    assert settings == [(4, 40, 2), (4, 40, 8), (6, 40, 2), (6, 40, 8)]
    assert settings[0].bilateral_compat == 4
    usual = coarse(tuning.AXES)
    assert (len(usual), usual[0], usual[-1]) == (64, (4, 40, 4), (10, 100, 10))


def test_the_fine_grid_adds_midpoints():
    # compat 6: halfway to 4 and 10. srgb 8 is an end: 6 to 2 is the only gap, so 3 in
    # both directions. There is one sxy.
    assert fine(AXES, Setting(6.0, 40.0, 8.0)) == [
        (w, 40, b) for w in (5, 6, 8) for b in (5, 8, 11)
    ]
    # srgb 2 - 3 is not above 0; compat 10 extends by 2 outwards.
    assert fine(AXES, Setting(10.0, 40.0, 2.0)) == [
        (w, 40, b) for w in (8, 10, 12) for b in (2, 5)
    ]
    one = {name: (5.0,) for name in AXES}
    assert fine(one, Setting(5.0, 5.0, 5.0)) == [(5, 5, 5)]


@pytest.mark.parametrize("values", [(), (1.0, 0.0), (-1.0,), (np.inf,), (np.nan,)])
def test_invalid_values_are_errors(values):
    with pytest.raises(ValueError, match=r"values of `bilateral_sxy` are .*above 0"):
        coarse({**AXES, "bilateral_sxy": values})


def test_scores_survive_a_kill_in_the_middle_of_a_line(tmp_path):
    path = tmp_path / "scores.jsonl"
    counts = np.arange(6).reshape(3, 2)
    setting = Setting(3.0, 40.5, 4.0)
    with tuning.Scores(path) as scores:
        scores.add(7, {None: counts, setting: 2 * counts})
        whole = path.read_bytes()
    path.write_bytes(whole + b"[8, [3.0, 40.5")
    with tuning.Scores(path) as scores:
        assert scores.has(7, None) and scores.has(7, setting)
        assert not scores.has(8, setting)
        assert scores.of(setting, [7]).tolist() == [(2 * counts).tolist()]
        assert path.read_bytes() == whole


def test_damaged_and_locked_scores_are_errors(tmp_path):
    path = tmp_path / "scores.jsonl"
    with (
        tuning.Scores(path),
        pytest.raises(ValueError, match="being written by another program"),
    ):
        tuning.Scores(path)
    path.write_text("7\n")
    with pytest.raises(ValueError, match=r"scores.jsonl is damaged .*Delete it"):
        tuning.Scores(path)


def test_a_cached_image_is_read_as_it_was_written(tmp_path):
    image, probabilities = exact_crf.drawn(1, 24, 30, num_classes=3)
    label = probabilities.argmax(-1).astype(np.uint8)
    pruned, path = crf.prune(image, probabilities), tmp_path / "0.npz"
    with open(path, "wb") as file:
        cache.write(file, pruned, label)
    again = cache.read(path)
    np.testing.assert_array_equal(again.image, image)
    np.testing.assert_array_equal(again.numbers, pruned.numbers)
    # float16: 11 bits of precision, and 2**-25 for subnormal values.
    difference = np.log(again.probabilities) - np.log(pruned.probabilities)
    assert np.abs(difference).max() < 0.003
    assert again.probabilities.min() >= 1e-5
    np.testing.assert_array_equal(cache.read_label(path), label)


@pytest.fixture
def workdir(tmp_path):
    """A finished run whose images have isolated pixels of the wrong class."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(4):
        values = np.full((24, 32), 40)
        values[:, 16:] = 70
        label = values // 64
        values[rng.random(values.shape) < 0.03] = 70
        images.append((values, label))
    records_dir = write_records(tmp_path / "records", images)
    workdir = levels.make_workdir(tmp_path / "run")
    (workdir / "flags.txt").write_text(f"--records_dir={records_dir}\n")
    return workdir


@pytest.fixture
def run(capsys):
    """Runs a command; returns its exit status and what it prints."""

    def call(*arguments, main=tune_crf.main):
        status = commands.run(main, *arguments)
        return status, *capsys.readouterr()

    return call


def table(folder):
    with open(folder / "settings.csv", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == [*Setting._fields, "mean_iou"]
    return {tuple(line[:3]): float(line[3]) for line in lines[1:]}


@pytest.mark.parametrize("engine", ["pydensecrf", "keras"])
def test_the_best_setting_scores_the_same_in_evaluate(run, workdir, engine):
    if engine == "pydensecrf":
        pytest.importorskip("pydensecrf.densecrf")
    engine = f"--crf_engine={engine}"
    status, output, errors = run(f"--workdir={workdir}", *FEW, engine)
    assert status == 0, errors
    means = table(workdir / "crf")
    # Weights 1 and 3, then halfway between them and as far outwards.
    tried = [float(weight) for weight, *_ in list(means)[1:]]
    assert tried in ([1, 2, 3], [1, 2, 3, 4])
    assert max(means.values()) > means["", "", ""] + 0.01
    assert f"Without a CRF: mean IoU {means['', '', '']:.4f}." in output
    assert "Difference +" in output
    end = re.search("the (smallest|largest) bilateral_compat tried: extend --", output)
    best = max(tried, key=lambda weight: means[f"{weight:.1f}", "20.0", "30.0"])
    assert (best in (tried[0], tried[-1])) == (end is not None)
    assert "bilateral_sxy tried" not in output  # There was only one.
    flagfile = workdir / "crf" / "crf.flags"
    assert not list((workdir / "crf").glob("work-*/pictures"))
    given = [f"--workdir={workdir}", "--noreport"]
    status, _, errors = run(*given, f"--flagfile={flagfile}", main=evaluate.main)
    assert status == 0, errors
    actual = json.loads((workdir / "metrics.json").read_text())
    assert actual["mean_iou"] == pytest.approx(max(means.values()), abs=1e-6)
    assert actual["crf"]["iterations"] == 3
    assert actual["crf"]["bilateral_sxy"] == 20
    run(*given, main=evaluate.main)
    actual = json.loads((workdir / "metrics.json").read_text())
    assert actual["mean_iou"] == pytest.approx(means["", "", ""], abs=1e-6)


def test_a_second_run_scores_nothing_again(run, workdir, monkeypatch):
    assert run(f"--workdir={workdir}", *FEW)[0] == 0
    before = table(workdir / "crf")

    def fail(*_, **__):
        raise RuntimeError("The network was loaded.")

    with monkeypatch.context() as patch:
        patch.setattr("kerasseg.workdir.best_model.load_best", fail)
        assert run(f"--workdir={workdir}", *FEW)[0] == 0
        assert table(workdir / "crf") == before
        status, *_ = run(f"--workdir={workdir}", *FEW, "--flip")
        assert status == 1  # Other probabilities: the network is needed.
    status, _, errors = run(f"--workdir={workdir}", *FEW, "--try_bilateral_compat=3,9")
    assert status == 0, errors
    assert set(table(workdir / "crf")) & set(before)


def test_images_are_drawn_with_the_seed(run, workdir):
    def drawn(*arguments):
        out = workdir / f"out{len(list(workdir.iterdir()))}"
        given = [f"--workdir={workdir}", f"--output_dir={out}", *FEW, *arguments]
        assert run(*given)[0] == 0
        (scores,) = out.glob("work-*/scores.jsonl")
        return {json.loads(line)[0] for line in scores.read_text().splitlines()}

    assert drawn() == {0, 1, 2, 3}
    two = [drawn("--num_images=2", f"--seed={seed}") for seed in range(5)]
    assert {len(indices) for indices in two} == {2}
    assert len({tuple(indices) for indices in two}) > 1


OTHER = datasets.DatasetSpec(
    name="other", source="", num_images={}, classes={"a": (0, 0, 0), "b": (1, 1, 1)}
)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--crf_bilateral_sxy=50"], "--crf_bilateral_sxy is tuned.* --try_bilateral"),
        (["--superpixels=100"], "--superpixels cannot be combined with a CRF"),
        (["--try_bilateral_compat=4,x"], "numbers separated by commas: .*'x'"),
        (["--try_bilateral_compat=0"], r"--try_bilateral_compat are \[0.0\]"),
        (["--try_bilateral_srgb=1e-9"], "standard deviations are too small"),
        (["--crf_iterations=0"], "--crf_iterations=0: expected a whole number"),
        (["--eval_scales=x"], "--eval_scales=x: expected numbers separated by commas"),
        (["--split=test"], "test"),
        (["--split=empty"], "split 'empty' is empty. Choose another --split"),
        (["--records_dir={other}"], "a, b, and .* was trained on left, middle, right"),
        (["--workdir={other}"], "other"),
    ],
)
def test_wrong_flags_and_records_are_errors_of_one_line(
    run, workdir, tmp_path, arguments, text
):
    other = write_records(tmp_path / "other", [([[0]], [[0]])], spec=OTHER)
    if "--split=empty" in arguments:
        write_records(tmp_path / "records", [], split="empty")
    given = [argument.format(other=other) for argument in arguments]
    status, _, errors = run(f"--workdir={workdir}", *given)
    assert status == 2
    assert re.search(text, errors), errors
    assert "Traceback" not in errors
    assert not (workdir / "crf" / "crf.flags").exists()


def arguments(workdir, out):
    return [f"--workdir={workdir}", f"--output_dir={out}", *FEW, *REACHES]


REACHES = ["--try_bilateral_sxy=10,20,30", "--crf_engine=pydensecrf"]


def lines(out):
    return [
        line
        for path in out.glob("work-*/scores.jsonl")
        for line in path.read_bytes().splitlines(keepends=True)
    ]


def check_same(out, whole):
    assert len(lines(out)) == len(lines(whole))
    for name in ("settings.csv", "crf.flags"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
def test_a_killed_run_is_resumed(run, workdir, tmp_path):
    pytest.importorskip("pydensecrf.densecrf")
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run(*arguments(workdir, whole))[0] == 0
    command = [sys.executable, "-m", "kerasseg.tune_crf", *arguments(workdir, out)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while running.poll() is None and len(lines(out)) < 9:
        time.sleep(0.001)
    running.kill()
    running.communicate()
    before = [line for line in lines(out) if line.endswith(b"\n")]
    assert 9 <= len(before) < len(lines(whole))
    status, _, errors = run(*arguments(workdir, out))
    assert status == 0, errors
    assert lines(out)[: len(before)] == before
    check_same(out, whole)


@pytest.mark.slow
def test_a_run_killed_at_any_file_ends_like_one_that_was_not(run, workdir, tmp_path):
    pytest.importorskip("pydensecrf.densecrf")
    whole, out = tmp_path / "whole", tmp_path / "out"
    few = ["--num_images=1", "--try_bilateral_sxy=20"]
    assert run(*arguments(workdir, whole), *few)[0] == 0

    def check(_):
        for line in lines(out):
            if line.endswith(b"\n"):
                assert line in lines(whole)

    command = ["-m", "kerasseg.tune_crf", *arguments(workdir, out), *few]
    assert faults.crashpoints(command, check) >= 3
    check_same(out, whole)
