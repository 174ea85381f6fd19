"""`kerasseg fit`: what it refuses, what it plans, and what it keeps."""

import json

import numpy as np
import pytest

from kerasseg import errors, records
from kerasseg.cli import fit
from kerasseg.cli.fitting import run_file, source, stages
from kerasseg.training.planning import budget, measuring
from kerasseg.workdir import layout
from tests.support import commands, corrupt, trees

NUM_CLASSES = len(corrupt.CLASSES)
COSTS = budget.Costs(
    elapsed=0.0,
    start=5.0,
    build=5.0,
    first_step=10.0,
    step=0.5,
    first_image=2.0,
    image=0.1,
    scored_image=0.2,
    save=1.0,
)


class FakeProbe:
    """Costs of a machine that does not compute."""

    def __init__(self, network, data, *, start):
        del network, data, start
        self.costs = COSTS

    def measure(self, design, seconds):
        del design, seconds
        return True

    def close(self):
        pass


@pytest.fixture
def pairs(tmp_path):
    """Images and masks of six classes, without splits in their paths."""
    drawn = ((".", *each[1:]) for each in corrupt.drawn(6, 0))
    return corrupt.write(tmp_path / "own", drawn)


@pytest.fixture(autouse=True)
def no_steps(monkeypatch):
    monkeypatch.setattr(measuring, "Probe", FakeProbe)


def masks_of(folder):
    return sorted((folder / "masks").iterdir())


def run(folder, workdir, *arguments):
    """Runs the command on the images of a folder; returns its exit status."""
    return commands.run(
        fit.main,
        f"--images={folder}/images/*.png",
        f"--masks={folder}/masks/*.png",
        f"--workdir={workdir}",
        "--dry_run",
        *arguments,
    )


def refused(capsys, *arguments):
    """Returns the error and the output of a command that is refused."""
    assert run(*arguments) == 2
    output, error = capsys.readouterr()
    assert error.count("Error: ") == 1
    return error, output


def test_a_missing_folder_is_refused(tmp_path, capsys):
    error, _ = refused(capsys, tmp_path / "nowhere", tmp_path / "run")
    assert f"{tmp_path}/nowhere/images" in error
    assert not (tmp_path / "run").exists()


def test_masks_without_an_image_are_refused(pairs, tmp_path, capsys):
    for path in masks_of(pairs):
        path.rename(path.with_stem(f"mask_of_{path.stem}"))
    error, output = refused(capsys, pairs, tmp_path / "run")
    # The doctor finds the pattern that pairs them.
    assert f"{pairs}/masks/mask_of_*.png" in error
    assert "mask_of_train0.png" in output


def test_masks_that_are_off_by_one_are_refused_with_the_flag(pairs, tmp_path, capsys):
    corrupt.off_by_one(masks_of(pairs))
    classes = f"--classes={','.join(corrupt.CLASSES)}"
    error, _ = refused(capsys, pairs, tmp_path / "run", classes)
    assert "--label_offset=-1" in error and "labels off by one" in error


def test_a_broken_image_is_listed_to_be_left_out(pairs, tmp_path, capsys):
    (pairs / "images" / "train0.png").write_bytes(b"no image")
    error, _ = refused(capsys, pairs, tmp_path / "run")
    path = tmp_path / "run" / "leave_out.txt"
    assert f"--leave_out={path}" in error
    assert path.read_text() == "train:train0 # files that cannot be read\n"


def test_several_classes_for_each_pixel_are_refused(pairs, tmp_path, capsys):
    more = f"--classes={','.join(corrupt.CLASSES)}", "--multi_label"
    error, _ = refused(capsys, pairs, tmp_path / "run", *more)
    assert "--multi_label: kerasseg fit learns one class of each pixel" in error


def test_a_single_image_is_refused(tmp_path, capsys):
    drawn = ((".", *each[1:]) for each in corrupt.drawn(1, 0))
    folder = corrupt.write(tmp_path / "own", drawn)
    classes = f"--classes={','.join(corrupt.CLASSES)}"
    error, _ = refused(capsys, folder, tmp_path / "run", classes)
    assert "no split val, only train" in error and "At least two images" in error


@pytest.mark.parametrize("minutes", ["0", "-1", "inf", "nan"])
def test_minutes_have_to_be_a_duration(pairs, tmp_path, capsys, minutes):
    error, _ = refused(capsys, pairs, tmp_path / "run", f"--minutes={minutes}")
    assert f"--minutes={minutes} is no duration" in error


def test_too_few_minutes_are_refused_after_the_build(pairs, tmp_path, capsys):
    error, _ = refused(capsys, pairs, tmp_path / "run", "--minutes=0.5")
    assert "--minutes=0.5 is too few" in error
    assert not (tmp_path / "run" / layout.PLAN).exists()
    # The records are kept for the same command with more minutes.
    assert run(pairs, tmp_path / "run", "--minutes=5") == 0
    assert "records: complete" in capsys.readouterr().out


def test_objects_and_unlabeled_images_are_refused(pairs, tmp_path, capsys):
    error, _ = refused(capsys, pairs, tmp_path / "run", "--unlabeled")
    assert "--unlabeled: kerasseg fit learns" in error


def test_the_plan_is_printed_and_kept(pairs, tmp_path, capsys):
    workdir = tmp_path / "run"
    assert run(pairs, workdir, "--minutes=5") == 0
    output, _ = capsys.readouterr()
    assert "check: no problems found" in output
    plan = (workdir / layout.PLAN).read_text()
    assert output.endswith(plan)
    # Of 6 images, a fifth is held out: 1. The names follow from the masks.
    assert "records: images: train 5, val 1" in output
    names = ["background", *(f"class{i}" for i in range(1, NUM_CLASSES))]
    info = records.read_info(workdir / layout.FIT_RECORDS)
    assert list(info.spec.class_names) == names
    assert "--seed=1" in plan and not (workdir / "checkpoints").exists()
    # The second call changes nothing.
    assert run(pairs, workdir, "--minutes=5") == 0
    output, _ = capsys.readouterr()
    assert "records: complete" in output and "plan: complete" in output
    assert (workdir / layout.PLAN).read_text() == plan


def test_a_workdir_keeps_its_data_and_its_minutes(pairs, tmp_path, capsys):
    workdir = tmp_path / "run"
    assert run(pairs, workdir, "--minutes=5") == 0
    capsys.readouterr()
    error, _ = refused(capsys, pairs, workdir, "--minutes=6")
    assert "planned for 5 minutes" in error and "--minutes=5" in error
    more = "--minutes=5", "--val_fraction=0.5"
    error, _ = refused(capsys, pairs, workdir, *more)
    assert "other data: no such flag there, --val_fraction=0.5 here" in error
    (workdir / layout.PLAN).unlink()  # Then another one may be made.
    assert run(pairs, workdir, "--minutes=6") == 0
    assert "plan: complete" not in capsys.readouterr().out
    path = workdir / layout.FIT
    path.write_text(json.dumps({**json.loads(path.read_text()), "plans": 1}))
    error, _ = refused(capsys, pairs, workdir, "--minutes=6")
    assert f"{path} is damaged" in error


def test_the_run_of_another_command_is_refused(pairs, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "flags.txt").write_text("--seed=1\n")
    error, _ = refused(capsys, pairs, tmp_path / "run")
    assert "kerasseg fit did not start" in error


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0, 128), "0, 128,"),
        ((1, 2, 255), "1, 2,"),
        ((0, 255), "0,"),
        ((), "of colors"),
    ],
)
def test_values_that_are_not_class_numbers_need_names(numbers, text):
    with pytest.raises(errors.UserError, match=f"The masks hold the values {text}"):
        source._class_names(numbers)


def test_two_values_are_background_and_foreground():
    assert source._class_names((0, 1, 255)) == ["background", "foreground"]


@pytest.mark.parametrize(
    ("size", "object_size", "scale"),
    [
        ((360, 480), 5, 1.0),
        ((1536, 1024), 5, 1.0),  # 1.5 * 1024.
        ((3000, 4000), None, 0.26),  # 1024 / 4000 = 0.256.
        ((3000, 4000), 100, 0.26),  # 0.256 * 100 = 25.6 pixels remain.
        ((3000, 4000), 16, 0.5),  # 8 / 16.
        ((3000, 4000), 4, 1.0),  # 8 / 4 = 2, but images are not enlarged.
    ],
)
def test_large_images_are_reduced_as_far_as_their_objects_allow(
    size, object_size, scale
):
    assert source.scale_for(size, object_size)[0] == scale


def test_large_images_are_stored_reduced(tmp_path, capsys):
    label = np.zeros((1200, 1600), np.uint8)
    label[300:900, 400:1200] = 1
    for i, name in enumerate("ab"):
        noise = trees.image(i, 1200, 1600)
        trees.save(tmp_path / "own" / "images" / f"{name}.png", noise)
        trees.save(tmp_path / "own" / "masks" / f"{name}.png", label)
    assert run(tmp_path / "own", tmp_path / "run", "--minutes=5") == 0
    # 1024 / 1600 = 0.64: 768 x 1024.
    opened = records.open_split(tmp_path / "run" / layout.FIT_RECORDS, "train")
    assert opened.sizes.tolist() == [[768, 1024]]
    assert "reduced by the factor 0.64" in capsys.readouterr().out
    assert "--minutes" not in (tmp_path / "run" / layout.PLAN).read_text()


def test_other_data_sets_are_planned_with_their_own_flags(tmp_path, capsys):
    drawn = "--dataset=shapes", "--num_drawn=2"
    workdir = f"--workdir={tmp_path / 'run'}"
    arguments = *drawn, workdir, "--dry_run", "--minutes=5"
    assert commands.run(fit.main, *arguments) == 0
    output, _ = capsys.readouterr()
    assert "records: images: train 2, val 2" in output
    assert "Pixels in all labels: ground " in " ".join(output.split("\n# "))
    more = "--dataset=shapes", "--num_drawn=3", workdir, "--dry_run", "--minutes=5"
    assert commands.run(fit.main, *more) == 2
    error = capsys.readouterr().err
    assert "--num_drawn=2 there, --num_drawn=3 here" in error


def test_files_of_other_kinds_are_counted(pairs, tmp_path, capsys):
    (pairs / "images" / "notes.txt").write_text("Not an image.")
    arguments = (
        f"--images={pairs}/images/*",
        f"--masks={pairs}/masks/*",
        f"--workdir={tmp_path / 'run'}",
    )
    assert commands.run(fit.main, *arguments, "--dry_run", "--minutes=5") == 0
    assert "passed over by ending: 1 .txt" in capsys.readouterr().out


def test_the_stage_of_a_killed_command_is_done_again(
    pairs, tmp_path, capsys, monkeypatch
):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(FakeProbe, "measure", killed)
        assert run(pairs, tmp_path / "run", "--minutes=5") == 130
    capsys.readouterr()
    assert run(pairs, tmp_path / "run", "--minutes=5") == 0
    output, _ = capsys.readouterr()
    assert "records: complete" in output and "plan: " in output
    assert "plan: complete" not in output


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ("photos/*.jpg", "--input=photos "),
        ("photos/{split}/a*", "--input=photos "),
        ("my photos", "--input='my photos' "),
        ("*.jpg", "--input=. "),
        (None, "--input=image.jpg "),
    ],
)
def test_the_summary_names_a_folder_that_can_be_predicted(tmp_path, images, expected):
    (tmp_path / "metrics.json").write_text('{"mean_iou": 0.5}')
    run = run_file.RunFile(tmp_path, [], 30.0, image_scale=0.25)
    text = stages.summary(run, images)
    assert "Mean IoU on val: 0.5000\n" in text
    assert expected in text and " --eval_scales=0.25\n" in text
    assert text.endswith(f"--model_name={tmp_path.name.strip('_')}")
