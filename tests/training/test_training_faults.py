"""Faults in training: saved files survive, and errors are reported."""

import csv
import logging
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import distribution, training
from kerasseg.pipeline import augment
from kerasseg.training import logs, memory, signals, state, step
from kerasseg.workdir import best_model, checkpoints, metadata
from tests.support import faults, save_tiny, tiny

CROP = augment.Augmentation(crop_size=(24, 24))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_records(tmp_path_factory.mktemp("records"))


def run(folder, workdir, *, allow_others=False, **changes):
    settings = {
        "training_number_of_steps": 4,
        "train_batch_size": 4,
        "base_learning_rate": 0.1,
        "save_interval_steps": 1,
        **changes,
    }
    return training.train(
        tiny.Builder(),
        training.Data(records_dir=str(folder), allow_others=allow_others),
        training.Recipe(**settings),
        CROP,
        workdir=str(workdir),
    )


def newest(workdir):
    folder = pathlib.Path(workdir) / "checkpoints"
    return max(int(p.stem.split("-")[1]) for p in folder.glob("*.index"))


def scores(workdir):
    with open(workdir / "scores.csv", newline="") as file:
        return list(csv.DictReader(file))


# Rows 30 and 36: killed while it saves.


@pytest.mark.slow
def test_a_kill_at_any_rename_of_a_save_leaves_a_whole_checkpoint(tmp_path):
    before = [0]

    def check(_):
        state = save_tiny.variables()
        step = checkpoints.Checkpoints(str(tmp_path), state).restore() or 0
        assert step >= before[0]
        before[0] = step
        for variable in state.values():
            np.testing.assert_array_equal(variable.numpy(), step)

    kills = faults.crashpoints(
        ["-m", "tests.support.save_tiny", "checkpoint", tmp_path], check
    )
    assert kills >= 3
    check(None)
    assert before[0] >= 3


@pytest.mark.slow
def test_a_kill_at_any_rename_leaves_a_whole_best_model(tmp_path):
    first = ["-m", "tests.support.save_tiny", "best", tmp_path]
    assert faults.run(first).returncode == 0

    def check(_):
        step = best_model.load_best(tmp_path).get_layer("step").kernel
        saved = metadata.read_metadata(tmp_path)["step"]
        # The metadata are written last; the validation is then repeated.
        assert saved <= np.array(step).flat[0] <= saved + 1

    assert faults.crashpoints(first, check) >= 2


# Row 31: a full disk.


def test_a_full_disk_stops_a_run_and_loses_nothing(folder, tmp_path):
    workdir = tmp_path / "run"
    with faults.small_disk(workdir / "checkpoints"):
        run(folder, workdir, training_number_of_steps=2)
        filler = workdir / "checkpoints" / "filler"
        fill(filler)
        message = r"step 3 could not be written to .*ckpt-2 is whole.*Free disk"
        with pytest.raises(OSError, match=message):
            run(folder, workdir, training_number_of_steps=3)
        assert newest(workdir) == 2
        filler.unlink()
        run(folder, workdir, training_number_of_steps=3)
        assert newest(workdir) == 3
        names = {p.name.split(".")[0] for p in (workdir / "checkpoints").iterdir()}
        assert names == {"ckpt-1", "ckpt-2", "ckpt-3"}


def fill(path):
    """Writes until the disk is full."""
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            pass


def test_a_checkpoint_that_is_written_again_is_never_lost(tmp_path, monkeypatch):
    """A step whose validation was interrupted is saved a second time."""
    state = save_tiny.variables()
    saver = checkpoints.Checkpoints(str(tmp_path), state)
    saver.save(5)
    index = (tmp_path / "ckpt-5.index").read_bytes()
    for variable in state.values():
        variable.assign(tf.ones([3000]))
    with monkeypatch.context() as patch:  # Killed between its two files.
        patch.setattr(saver, "_remove", lambda *_: None)
        saver.save(5)
    (tmp_path / "ckpt-5.index").write_bytes(index)
    assert checkpoints.Checkpoints(str(tmp_path), state).restore() == 5
    for variable in state.values():
        np.testing.assert_array_equal(variable.numpy(), 0)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"ckpt-5.index", "ckpt-5.data-00000-of-00001"}


@pytest.mark.slow
def test_a_kill_at_any_rename_of_a_second_save_leaves_a_whole_checkpoint(tmp_path):
    program = ["-m", "tests.support.save_tiny", "again", tmp_path]
    assert faults.run(program).returncode == 0

    def check(_):
        state = save_tiny.variables()
        assert checkpoints.Checkpoints(str(tmp_path), state).restore() == 5
        values = [variable.numpy() for variable in state.values()]
        assert np.ptp(values) == 0

    assert faults.crashpoints(program, check) >= 5


def test_a_full_disk_keeps_the_checkpoint_that_is_written_again(tmp_path):
    state = save_tiny.variables()
    with faults.small_disk(tmp_path, "100k"):
        saver = checkpoints.Checkpoints(str(tmp_path), state)
        saver.save(5)
        fill(tmp_path / "filler")
        with pytest.raises(OSError, match=r"step 5 could not .*ckpt-5 is whole"):
            saver.save(5)
        assert checkpoints.Checkpoints(str(tmp_path), state).restore() == 5


def test_only_files_of_interrupted_saves_are_removed(tmp_path):
    saver = checkpoints.Checkpoints(str(tmp_path), save_tiny.variables())
    saver.save(5)
    mine = {"ckpt-keep.index", "ckpt-5_copy.index", "ckpt-best", "my-ckpt-3.index"}
    for name in (*mine, "ckpt-6.data-00000-of-00001", "ckpt-5.index.tempstate7"):
        (tmp_path / name).touch()
    (tmp_path / "ckpt-7_temp").mkdir()
    whole = {"ckpt-5.index", "ckpt-5.data-00000-of-00001"}
    assert saver.restore() == 5
    assert {path.name for path in tmp_path.iterdir()} == mine | whole


def test_a_best_model_that_cannot_be_written_keeps_the_old_one(tmp_path):
    workdir = tmp_path / "run"
    facts = {"model": "tiny", "num_classes": 3, "options": {}, "step": 1}
    with faults.small_disk(workdir / "best"):
        best_model.save_best(workdir, tiny.build_model("tiny", 3), facts)
        fill(workdir / "best" / "filler")
        with pytest.raises(OSError, match=r"No space left|write"):
            best_model.save_best(
                workdir, tiny.build_model("tiny", 3), {**facts, "step": 2}
            )
        assert metadata.read_metadata(workdir)["step"] == 1
        best_model.load_best(workdir)
        names = {path.name for path in (workdir / "best").iterdir()}
        assert names == {"model.keras", "model.json", "filler"}


# Rows 32, 33 and 38: the checkpoint from which a run resumes.


def damage(kind, path):
    if kind == "flip":
        faults.flip_bit(path, path.stat().st_size // 2)
    elif kind == "truncate":
        faults.cut(path, path.stat().st_size // 2)
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("flip", "data-00000-of-00001"),
        ("delete", "index"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("flip", "index"),
                ("truncate", "data-00000-of-00001"),
                ("truncate", "index"),
                ("delete", "data-00000-of-00001"),
            )
        ),
    ],
)
def test_a_run_resumes_from_the_newest_whole_checkpoint(
    folder, tmp_path, caplog, part, kind
):
    run(folder, tmp_path, training_number_of_steps=3)
    damage(kind, tmp_path / "checkpoints" / f"ckpt-3.{part}")
    validated = state.History().variables["history/validated"]
    found = checkpoints.Checkpoints(
        str(tmp_path / "checkpoints"), {"history/validated": validated}
    )
    with caplog.at_level(logging.WARNING):
        run(folder, tmp_path, training_number_of_steps=3)
    assert "ckpt-3" in caplog.text
    assert found.steps() == [1, 2, 3]  # The last one is written again.
    assert found.restore() == 3
    assert [row["step"] for row in scores(tmp_path)] == ["3"]


def test_damaged_checkpoints_are_counted_for_tensorboard(folder, tmp_path):
    run(folder, tmp_path, training_number_of_steps=3)
    damage("flip", tmp_path / "checkpoints" / "ckpt-3.data-00000-of-00001")
    damage("truncate", tmp_path / "checkpoints" / "ckpt-2.data-00000-of-00001")
    run(folder, tmp_path, training_number_of_steps=3)
    found = [
        (event.step, tf.make_ndarray(value.tensor).item())
        for path in (tmp_path / "events").iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "train/damaged_checkpoints"
    ]
    assert found == [(1, 2)]


def test_there_is_no_state_file_to_damage(folder, tmp_path):
    run(folder, tmp_path, training_number_of_steps=2)
    (tmp_path / "checkpoints" / "checkpoint").write_bytes(b"\0rubbish")
    run(folder, tmp_path, training_number_of_steps=3)
    assert newest(tmp_path) == 3


def test_the_newest_checkpoint_is_that_of_the_last_step(folder, tmp_path):
    run(folder, tmp_path / "old", training_number_of_steps=3)
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    for path in (tmp_path / "new" / "checkpoints").iterdir():
        step = int(re.search(r"ckpt-(\d+)", path.name)[1])
        os.utime(path, (10**9 - step, 10**9 - step))  # The clock went back.
    saver = checkpoints.Checkpoints(str(tmp_path / "new" / "checkpoints"), {})
    assert saver.steps()[-1] == 3
    before = (tmp_path / "new" / "scores.csv").read_text()
    run(folder, tmp_path / "new", training_number_of_steps=3)
    assert (tmp_path / "new" / "scores.csv").read_text() == before


# Row 26: signals.


def test_a_validation_that_a_signal_interrupts_is_run_after_the_resume(
    folder, tmp_path, monkeypatch
):
    changes = {
        "training_number_of_steps": 4,
        "eval_interval_steps": 2,
        "early_stopping_validations": 9,
    }
    run(folder, tmp_path / "whole", **changes)
    drawn = []

    def draw(self, *_):
        drawn.append(self)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(logs.RunLog, "keep_images", draw)
        with pytest.raises(training.Interrupted, match="after step 2; its state"):
            run(folder, tmp_path / "cut", **changes)
    assert len(drawn) == 1
    assert not (tmp_path / "cut" / "scores.csv").exists()
    run(folder, tmp_path / "cut", **changes)
    whole, cut = scores(tmp_path / "whole"), scores(tmp_path / "cut")
    assert [row["step"] for row in cut] == ["2", "4"]
    for one, two in zip(whole, cut, strict=True):
        for name in one:
            assert float(one[name]) == pytest.approx(float(two[name]), abs=1e-4)


def one_worker():
    return distribution.WorkerGroup(tf.distribute.get_strategy())


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_closed_terminal_stops_a_run_unless_it_is_ignored(handler):
    before = signal.signal(signal.SIGHUP, handler)
    try:
        with signals.Signals(one_worker()) as received:
            if handler is signal.SIG_DFL:
                os.kill(os.getpid(), signal.SIGHUP)
                assert (received.stop, received.number) == (True, signal.SIGHUP)
            else:
                assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is handler
    finally:
        signal.signal(signal.SIGHUP, before)


HANDLES_SIGNALS = (
    "import os, signal\n"
    "import tensorflow as tf\n"
    "from kerasseg import distribution\n"
    "from kerasseg.training import signals\n"
    "group = distribution.WorkerGroup(tf.distribute.get_strategy())\n"
    "with signals.Signals(group) as received:\n"
)


def test_a_second_signal_ends_the_process_at_once():
    program = (
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print(received.stop, received.number, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here', flush=True)\n"
    )
    done = faults.run(["-c", HANDLES_SIGNALS + program])
    assert (done.returncode, done.stdout) == (130, "True 15\n")


def test_a_signal_that_timeout_sends_twice_counts_once():
    program = (
        "    for _ in range(2):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print(received.stop, flush=True)\n"
    )
    done = faults.run(["-c", HANDLES_SIGNALS + program])
    assert (done.returncode, done.stdout) == (0, "True\n")


# Row 27: logs that cannot be written.


def test_output_to_a_full_disk_does_not_end_a_run(tmp_path):
    program = (
        "import sys\n"
        "from kerasseg.system import progress\n"
        "with progress.track(3, unit='step') as bar:\n"
        "    bar.update()\n"
        "    progress.log('here')\n"
        "open(sys.argv[1], 'w').close()\n"
    )
    with open("/dev/full", "wb", buffering=0) as full:
        subprocess.run(
            [sys.executable, "-c", program, tmp_path / "through"],
            cwd=faults.ROOT,
            stdout=full,
            stderr=full,
            check=False,
        )
    assert (tmp_path / "through").exists()


def test_logs_that_cannot_be_written_cause_a_warning(folder, tmp_path, caplog):
    for name in ("events", "pictures"):
        (tmp_path / name).write_text("in the way")
    (tmp_path / "curves.png").mkdir()
    (tmp_path / "curves.png" / "in the way").touch()
    run(folder, tmp_path, training_number_of_steps=2, eval_interval_steps=1)
    for name in ("events", "pictures", "curves.png"):
        warnings = re.findall(rf"{name} cannot be written, training con", caplog.text)
        assert len(warnings) == 1, (name, caplog.text)
    assert newest(tmp_path) == 2


def test_a_full_disk_of_tensorboard_causes_a_warning(folder, tmp_path):
    with faults.small_disk(tmp_path / "events", "64k"):
        fill(tmp_path / "events" / "filler")
        run(folder, tmp_path, training_number_of_steps=2, eval_interval_steps=1)
    assert newest(tmp_path) == 2
    assert len(scores(tmp_path)) == 2


@pytest.mark.parametrize(
    "text", ["step,loss\nx,1\n", 'step,"loss\n', "", "\0\0", "step\n1\n"]
)
def test_a_damaged_scores_file_is_renamed(tmp_path, caplog, text):
    (tmp_path / "scores.csv").write_text(text)
    log = logs.RunLog(tmp_path, tiny.SPEC, start_step=5)
    log.add_validation(
        6, 0.5, 0.1, {"mean_iou": 0.5, "pixel_accuracy": 0.6, "mean_accuracy": 0.7}
    )
    log.close()
    assert [row["step"] for row in scores(tmp_path)] == ["6"]
    if text:
        assert "scores.csv is damaged and started again" in caplog.text
        assert (tmp_path / "scores.csv.damaged").read_text() == text


def test_a_validation_that_is_repeated_has_one_row(folder, tmp_path, monkeypatch):
    def draw(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(training.Interrupted):
        patch.setattr(logs.RunLog, "keep_images", draw)
        run(folder, tmp_path, training_number_of_steps=2)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(checkpoints.Checkpoints, "save", fail)
        run(folder, tmp_path, training_number_of_steps=2)  # Scored, and not saved.
    run(folder, tmp_path, training_number_of_steps=2)
    assert [row["step"] for row in scores(tmp_path)] == ["2"]


@pytest.mark.parametrize("text", ["", "[]", '{"step": 3'])
def test_damaged_metadata_of_the_best_model_are_reported(tmp_path, text):
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "model.json").write_text(text)
    with pytest.raises(
        ValueError, match=r"model\.json is damaged .*the next validation"
    ):
        best_model.load_best(tmp_path)


# Rows 34 and 35: another run in the same folder.


def test_a_run_does_not_resume_on_other_records(folder, tmp_path):
    run(folder, tmp_path / "run", training_number_of_steps=1)
    shutil.copytree(folder, tmp_path / "moved")
    run(
        tmp_path / "moved", tmp_path / "run", training_number_of_steps=2
    )  # The same, elsewhere.
    others = tiny.write_records(tmp_path / "others", train=13)
    message = r"other records \(train: 12 of 3 .* there, 13 of 3 .* here\)"
    with pytest.raises(ValueError, match=message + ".*`change_flags=records_dir`"):
        run(others, tmp_path / "run", training_number_of_steps=3)
    run(others, tmp_path / "run", training_number_of_steps=3, allow_others=True)
    with pytest.raises(ValueError, match=r"13 of 3 .* there, 12 of 3 .* here"):
        run(folder, tmp_path / "run", training_number_of_steps=4)


def test_a_run_does_not_resume_on_other_classes(folder, tmp_path):
    run(folder, tmp_path / "run", training_number_of_steps=1)
    facts = tiny.SPEC.to_json()
    facts["classes"].append({"name": "fourth", "color": [9, 9, 9]})
    spec = type(tiny.SPEC).from_json(facts)
    others = tiny.write_records(tmp_path / "others", spec=spec)
    with pytest.raises(ValueError, match=r"12 of 3 classes.* there, 12 of 4 classes"):
        run(others, tmp_path / "run", training_number_of_steps=2)


def test_a_run_does_not_overwrite_its_records(tmp_path):
    records_dir = tiny.write_records(tmp_path / "records")
    before = (records_dir / "dataset.json").read_bytes()
    (tmp_path / "link").symlink_to(records_dir)
    with pytest.raises(ValueError, match=r"both `workdir` and `records_dir`.*its own"):
        run(records_dir, tmp_path / "link", training_number_of_steps=1)
    assert (records_dir / "dataset.json").read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", '{"train": 7}', '{"train": {}}'])
def test_a_damaged_fingerprint_is_reported(folder, tmp_path, text):
    tmp_path.joinpath("records.json").write_text(text)
    with pytest.raises(ValueError, match=r"records\.json is damaged .*Remove it"):
        run(folder, tmp_path)


# Row 24: memory.


STARVED = """
import resource, sys
from kerasseg import training
from kerasseg.pipeline import augment
from tests.support import tiny
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + 3 * 2**30
resource.setrlimit(resource.RLIMIT_AS, (most, most))
training.train(
    tiny.Builder(),
    training.Data(records_dir=sys.argv[1]),
    training.Recipe(
        training_number_of_steps=2, train_batch_size=4, save_interval_steps=1
    ),
    augment.Augmentation(crop_size=(20_000, 20_000)),
    workdir=sys.argv[2],
)
"""


def test_a_crop_beyond_all_memory_is_refused(folder, tmp_path):
    run(folder, tmp_path, training_number_of_steps=1)
    done = faults.run(["-c", STARVED, folder, tmp_path])
    assert done.returncode == 1
    assert re.search(
        r"Out of memory: 4 crops of 20000x20000 at once need about \d+\.\d GiB, and "
        r"[0-3]\.\d GiB of the machine's memory are available\. The checkpoint of step "
        r"1 is whole\. Give `gradient_accumulation_steps=2` for the same batch in "
        r"less memory, a smaller `train_crop_size` or a smaller `train_batch_size`\.",
        done.stderr,
    )
    run(folder, tmp_path, training_number_of_steps=2)
    assert newest(tmp_path) == 2


def test_a_device_that_runs_out_of_memory_is_reported(folder, tmp_path, monkeypatch):
    def exhaust(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    run(folder, tmp_path, training_number_of_steps=1)
    monkeypatch.setattr(step.StepFunction, "__call__", exhaust)
    with pytest.raises(
        ValueError, match=r"Out of memory: 1 crops of 24x24 .* whole\. G"
    ):
        run(folder, tmp_path, training_number_of_steps=2, train_batch_size=1)


def test_the_estimate_of_memory_counts_maps_and_weights():
    # One image of 8x8: 3 channels scaled, 6 of the convolution, 6 of batch norm, 6
    # rectified, 3 logits, in float32; the layers make other tensors, too.
    model = tiny.build_model("tiny", 3, dropout=0.0)
    least = 1.25 * 4 * 8 * 8 * (3 + 6 + 6 + 6 + 3)
    weights = 4 * 4 * (3 * 3 * 3 * 6 + 6 + 4 * 6 + 6 * 3 + 3)
    group = distribution.WorkerGroup(tf.distribute.get_strategy())
    estimate = memory.StepMemory(model, (8, 8), 3, group)
    found = estimate.needed(1)
    assert least + weights < found < 3 * least + weights
    assert estimate.needed(3) - weights == 3 * (found - weights)


# Rows 23 and 37: the history of a run.


def test_losses_are_those_since_the_last_validation():
    history = state.History()
    history.add_loss(1.0, labeled=True)
    history.add_loss(0.0, labeled=False)
    history.add_loss(2.0, labeled=True)
    assert history.take_losses() == (1.5, 1)
    loss, unlabeled = history.take_losses()
    assert np.isnan(loss)
    assert unlabeled == 0


def test_the_best_score_and_its_age_are_kept():
    history = state.History()
    results = []
    for number, score in enumerate([0.5, 0.5, float("nan"), 0.6, 0.55], 1):
        history.add_score(10 * number, score)
        results.append((history.best, history.waited))
    assert results == [(0.5, 0), (0.5, 1), (0.5, 2), (0.6, 0), (0.6, 1)]
    assert history.validated == 50


def test_batches_without_a_label_are_counted(tmp_path, capsys):
    image, label = tiny.image_and_label(0)
    ignored = np.full_like(label, 255)
    splits = {"train": [(image, ignored)] * 4, "val": [(image, label)]}
    records = tiny.write_images(tmp_path / "records", splits)
    run(records, tmp_path / "run", training_number_of_steps=2, eval_interval_steps=2)
    output = capsys.readouterr().out
    assert "loss nan" in output
    assert ", 2 batches without a label" in output


def test_early_stopping_also_holds_for_a_resumed_run(folder, tmp_path, capsys):
    changes = {
        "training_number_of_steps": 9,
        "base_learning_rate": 1e-12,  # No score is better than the first.
        "fine_tune_batch_norm": False,
        "eval_interval_steps": 1,
        "early_stopping_validations": 2,
    }
    run(folder, tmp_path, **changes)
    assert "No better mean IoU in 2 validations" in capsys.readouterr().out
    assert newest(tmp_path) == 3
    run(folder, tmp_path, **changes)
    assert newest(tmp_path) == 3
    assert [row["step"] for row in scores(tmp_path)] == ["1", "2", "3"]
    run(folder, tmp_path, **{**changes, "early_stopping_validations": 4})
    assert newest(tmp_path) == 5


def test_damaged_metadata_of_the_best_model_are_replaced(folder, tmp_path):
    run(folder, tmp_path, training_number_of_steps=1)
    (tmp_path / "best" / "model.json").write_text("{")
    assert run(folder, tmp_path, training_number_of_steps=2)["step"] == 2
    keras.models.load_model(tmp_path / "best" / "model.keras", compile=False)
