"""--train_batch_size=auto: the same updates, in as few parts as fit into memory."""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from kerasseg import distribution, train, training
from kerasseg.cli import running
from kerasseg.pipeline import augment
from kerasseg.system import memory as system_memory
from kerasseg.training import memory
from kerasseg.training import recipe as recipes
from kerasseg.training import step as steps
from kerasseg.workdir import layout
from tests import tiny

CROP = augment.Augmentation(crop_size=(24, 24))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_records(tmp_path_factory.mktemp("records"))


def run(folder, workdir, batch_size="auto:12", training_number_of_steps=2, **changes):
    return training.train(
        tiny.Builder({"norm": False}),
        training.Data(records_dir=str(folder)),
        training.Recipe(
            training_number_of_steps=training_number_of_steps,
            train_batch_size=recipes.parse_batch_size(batch_size),
            base_learning_rate=0.1,
            **changes,
        ),
        CROP,
        workdir=str(workdir),
    )


def noted(workdir):
    return json.loads((workdir / layout.MICRO_BATCHES).read_text())


def step_memory(model, batch_size=12):
    group = distribution.WorkerGroup(tf.distribute.get_strategy())
    return memory.StepMemory(model, CROP.crop_size, batch_size, group)


def room_for(pictures, monkeypatch):
    """Leaves just as much memory as a step of so many pictures is said to need."""
    model = tiny.build_model("tiny", 3, norm=False)
    free = step_memory(model).needed(pictures)
    monkeypatch.setattr(system_memory, "available", lambda: free)


def weights(workdir, step=2):
    reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / f"ckpt-{step}"))
    names = [n for n in reader.get_variable_to_shape_map() if "/model/" in n]
    return {name: reader.get_tensor(name) for name in names}


def test_a_batch_may_be_a_number_or_found_out():
    assert type(recipes.parse_batch_size("8")) is int
    for text, wanted in {"auto": 16, "auto:8": 8}.items():
        found = recipes.parse_batch_size(text)
        assert (found, str(found)) == (wanted, f"auto:{wanted}")
        assert isinstance(found, recipes.FittedBatch)


@pytest.mark.parametrize("text", ["", "0", "-4", "auto:", "auto:0", "many", "autom:8"])
def test_a_wrong_batch_is_told(text, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train", f"--train_batch_size={text}"])
    with flagsaver.flagsaver():
        assert running._run(train.main, sys.argv) == 2
    said = capsys.readouterr().err
    assert "train_batch_size" in said
    assert "Give a number of images from 1, auto or auto:NUMBER." in said


def test_the_flag_is_written_as_it_was_given():
    with flagsaver.flagsaver(train_batch_size=recipes.FittedBatch(8)):
        flag = flags.FLAGS["train_batch_size"]
        assert flag.serialize() == "--train_batch_size=auto:8"
        assert flag.parser.parse("auto:8") == 8


@pytest.mark.parametrize(
    ("room", "parts"),
    # The divisors of 12 are 1, 2, 3, 4, 6 and 12.
    [(12, 1), (11, 2), (6, 2), (5, 3), (3, 4), (1, 12)],
)
def test_the_fewest_parts_that_fit_are_taken(monkeypatch, room, parts):
    room_for(room, monkeypatch)
    model = tiny.build_model("tiny", 3, norm=False)
    assert step_memory(model).fewest_micro_batches(None) == parts


def test_one_picture_that_does_not_fit_is_told(folder, tmp_path, monkeypatch):
    room_for(0, monkeypatch)
    with pytest.raises(
        ValueError, match=r"Out of memory: 1 crops of 24x24 .*Give a smaller `train_cr"
    ):
        run(folder, tmp_path)


def test_the_updates_are_those_of_the_whole_batch(folder, tmp_path, monkeypatch):
    run(folder, tmp_path / "whole", "12")
    assert not (tmp_path / "whole" / layout.MICRO_BATCHES).exists()
    room_for(4, monkeypatch)
    run(folder, tmp_path / "parts")
    assert noted(tmp_path / "parts") == {"batch_size": 12, "parts": 3}
    parts = weights(tmp_path / "parts")
    for name, value in weights(tmp_path / "whole").items():
        np.testing.assert_allclose(value, parts[name], atol=1e-5, err_msg=name)


def test_a_run_goes_on_in_the_same_parts(folder, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        room_for(4, patch)
        run(folder, tmp_path)
    run(
        folder, tmp_path, training_number_of_steps=3
    )  # More memory is no reason for other rounding.
    assert noted(tmp_path)["parts"] == 3
    with monkeypatch.context() as patch:
        room_for(2, patch)
        run(folder, tmp_path, training_number_of_steps=4)
    assert noted(tmp_path)["parts"] == 6
    (tmp_path / layout.MICRO_BATCHES).write_text("{")
    run(folder, tmp_path, training_number_of_steps=5)
    assert (
        "batch_parts.json is damaged, the number of micro-batches is found again"
        in caplog.text
    )
    assert noted(tmp_path)["parts"] == 1


def exhausted(monkeypatch, fits):
    """Lets steps of more than `fits` pictures run out of memory, as on a GPU."""
    run_step, seen = steps.StepFunction._run, []

    def step(self, batch, *others):
        seen.append(self.micro_batches)
        if batch["image"].shape[0] // self.micro_batches > fits:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
        return run_step(self, batch, *others)

    monkeypatch.setattr(steps.StepFunction, "_run", step)
    return seen


def test_a_device_without_room_is_given_smaller_parts(folder, tmp_path, monkeypatch):
    seen = exhausted(monkeypatch, fits=4)
    run(folder, tmp_path)
    assert seen == [1, 2, 3]  # Traced once each.
    assert noted(tmp_path) == {"batch_size": 12, "parts": 3}


def test_a_device_with_no_room_at_all_is_told(folder, tmp_path, monkeypatch):
    assert exhausted(monkeypatch, fits=0) == []
    with pytest.raises(ValueError, match="Out of memory: 1 crops of 24x24"):
        run(folder, tmp_path)


def test_parts_are_not_both_given_and_found(folder, tmp_path):
    with pytest.raises(
        ValueError, match=r"auto:12` finds the number .* Leave out `gra"
    ):
        run(folder, tmp_path, gradient_accumulation_steps=2)


def test_the_memory_of_other_machines_is_not_guessed():
    team = distribution.WorkerGroup(tf.distribute.get_strategy())
    team.size = 2
    recipe = training.Recipe(train_batch_size=recipes.FittedBatch(8))
    with pytest.raises(ValueError, match="memory of one machine, and there are sev"):
        memory.FittedMicroBatches(recipe, team)
