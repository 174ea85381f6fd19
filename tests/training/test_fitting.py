"""--train_batch_size=auto: the fewest micro-batches that fit into memory."""

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
from tests.support import tiny

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


def read_micro_batches(workdir):
    return json.loads((workdir / layout.MICRO_BATCHES).read_text())


def step_memory(model, batch_size=12):
    group = distribution.WorkerGroup(tf.distribute.get_strategy())
    return memory.StepMemory(model, CROP.crop_size, batch_size, group)


def limit_memory(images, monkeypatch):
    """Limits the available memory to the estimate of a step of some images."""
    model = tiny.build_model("tiny", 3, norm=False)
    free = step_memory(model).needed(images)
    monkeypatch.setattr(system_memory, "available", lambda: free)


def weights(workdir, step=2):
    reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / f"ckpt-{step}"))
    names = [n for n in reader.get_variable_to_shape_map() if "/model/" in n]
    return {name: reader.get_tensor(name) for name in names}


def test_a_batch_size_is_a_number_or_auto():
    assert type(recipes.parse_batch_size("8")) is int
    for text, expected in {"auto": 16, "auto:8": 8}.items():
        found = recipes.parse_batch_size(text)
        assert (found, str(found)) == (expected, f"auto:{expected}")
        assert isinstance(found, recipes.FittedBatch)


@pytest.mark.parametrize("text", ["", "0", "-4", "auto:", "auto:0", "many", "autom:8"])
def test_a_wrong_batch_size_is_reported(text, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train", f"--train_batch_size={text}"])
    with flagsaver.flagsaver():
        assert running._run(train.main, sys.argv) == 2
    output = capsys.readouterr().err
    assert "train_batch_size" in output
    assert "Give a number of images from 1, auto or auto:NUMBER." in output


def test_the_flag_is_written_as_it_was_given():
    with flagsaver.flagsaver(train_batch_size=recipes.FittedBatch(8)):
        flag = flags.FLAGS["train_batch_size"]
        assert flag.serialize() == "--train_batch_size=auto:8"
        assert flag.parser.parse("auto:8") == 8


@pytest.mark.parametrize(
    ("images", "micro_batches"),
    # The divisors of 12 are 1, 2, 3, 4, 6 and 12.
    [(12, 1), (11, 2), (6, 2), (5, 3), (3, 4), (1, 12)],
)
def test_the_fewest_micro_batches_that_fit_are_used(monkeypatch, images, micro_batches):
    limit_memory(images, monkeypatch)
    model = tiny.build_model("tiny", 3, norm=False)
    assert step_memory(model).fewest_micro_batches(None) == micro_batches


def test_one_image_that_does_not_fit_is_reported(folder, tmp_path, monkeypatch):
    limit_memory(0, monkeypatch)
    with pytest.raises(
        ValueError, match=r"Out of memory: 1 crops of 24x24 .*Give a smaller `train_cr"
    ):
        run(folder, tmp_path)


@pytest.mark.parametrize(
    ("batch_size", "micro_batches", "more"), [(12, 1, 2), (12, 4, 6), (9, 1, 3)]
)
def test_the_number_of_micro_batches_that_is_advised_divides_the_batch(
    batch_size, micro_batches, more
):
    model = tiny.build_model("tiny", 3)
    error = step_memory(model, batch_size).error(micro_batches, None)
    assert f"Give `gradient_accumulation_steps={more}` for" in str(error)
    recipe = training.Recipe(
        train_batch_size=batch_size, gradient_accumulation_steps=more
    )
    assert recipe.gradient_accumulation_steps == more


def test_the_updates_are_those_of_the_whole_batch(folder, tmp_path, monkeypatch):
    run(folder, tmp_path / "whole", "12")
    assert not (tmp_path / "whole" / layout.MICRO_BATCHES).exists()
    limit_memory(4, monkeypatch)
    run(folder, tmp_path / "parts")
    assert read_micro_batches(tmp_path / "parts") == {"batch_size": 12, "parts": 3}
    in_parts = weights(tmp_path / "parts")
    for name, value in weights(tmp_path / "whole").items():
        np.testing.assert_allclose(value, in_parts[name], atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_a_resumed_run_keeps_its_micro_batches(folder, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        limit_memory(4, patch)
        run(folder, tmp_path)
    run(
        folder, tmp_path, training_number_of_steps=3
    )  # More memory does not change the rounding.
    assert read_micro_batches(tmp_path)["parts"] == 3
    with monkeypatch.context() as patch:
        limit_memory(2, patch)
        run(folder, tmp_path, training_number_of_steps=4)
    assert read_micro_batches(tmp_path)["parts"] == 6
    (tmp_path / layout.MICRO_BATCHES).write_text("{")
    run(folder, tmp_path, training_number_of_steps=5)
    assert (
        "batch_parts.json is damaged, the number of micro-batches is found again"
        in caplog.text
    )
    assert read_micro_batches(tmp_path)["parts"] == 1


def exhausted(monkeypatch, fits):
    """Lets steps of more than `fits` images run out of memory, as on a GPU."""
    run_step, seen = steps.StepFunction._run, []

    def step(self, batch, *others):
        seen.append(self.micro_batches)
        if batch["image"].shape[0] // self.micro_batches > fits:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
        return run_step(self, batch, *others)

    monkeypatch.setattr(steps.StepFunction, "_run", step)
    return seen


def test_a_device_with_too_little_memory_gets_smaller_micro_batches(
    folder, tmp_path, monkeypatch
):
    seen = exhausted(monkeypatch, fits=4)
    run(folder, tmp_path)
    assert seen == [1, 2, 3]  # Traced once each.
    assert read_micro_batches(tmp_path) == {"batch_size": 12, "parts": 3}


def test_a_device_on_which_no_image_fits_is_reported(folder, tmp_path, monkeypatch):
    assert exhausted(monkeypatch, fits=0) == []
    with pytest.raises(ValueError, match="Out of memory: 1 crops of 24x24"):
        run(folder, tmp_path)


def test_auto_excludes_a_number_of_micro_batches(folder, tmp_path):
    with pytest.raises(
        ValueError, match=r"auto:12` finds the number .* Leave out `gra"
    ):
        run(folder, tmp_path, gradient_accumulation_steps=2)


def test_auto_is_refused_on_several_machines():
    group = distribution.WorkerGroup(tf.distribute.get_strategy())
    group.size = 2
    recipe = training.Recipe(train_batch_size=recipes.FittedBatch(8))
    with pytest.raises(ValueError, match="memory of one machine, and there are sev"):
        memory.FittedMicroBatches(recipe, group)
