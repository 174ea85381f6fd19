"""The training state and its checkpoints; the format of a workdir."""

import numpy as np
import pytest
import tensorflow as tf

from kerasseg import errors
from kerasseg.training import network
from kerasseg.training import run as training_run
from kerasseg.workdir import checkpoints, flag_file, layout, metadata
from tests.support import tiny
from tests.training import test_training


def stored_names(path):
    """Returns the names of the variables in a checkpoint."""
    keys = tf.train.load_checkpoint(str(path)).get_variable_to_shape_map()
    return {
        key.removeprefix("variables/")
        .removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")
        .replace(".S", "/")
        for key in keys
        if "OBJECT_GRAPH" not in key
    }


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema_decay": 0.9, "optimizer": "adam", "head_learning_rate_factor": 10.0},
    ],
)
def test_a_checkpoint_holds_exactly_the_training_state(tmp_path, changes):
    records_dir = tiny.write_records(tmp_path / "records")
    changes = {"training_number_of_steps": 1, "momentum": 0.9, **changes}
    test_training.run(records_dir, tmp_path / "run", **changes)
    tiny_network = network.Network(tiny.Builder(), 3)
    state, _ = training_run.create_state(
        tiny_network, test_training.recipe(**changes), None
    )
    path = tmp_path / "run" / "checkpoints" / "ckpt-1"
    names = stored_names(path)
    assert names == set(state.variables())
    groups = {name.partition("/")[0] for name in names}
    average = {"average"} if changes.get("ema_decay") else set()
    assert groups == {"model", "optimizer", "history", "loss_scale", "good_steps"} | (
        average
    )


def test_an_optional_variable_that_a_checkpoint_lacks_keeps_its_value(tmp_path):
    old = {"history/loss": tf.Variable(1.0)}
    checkpoints.Checkpoints(tmp_path, old).save(7)
    new = {"history/loss": tf.Variable(2.0), "history/extra": tf.Variable(3.0)}
    optional = ["history/extra"]
    saver = checkpoints.Checkpoints(tmp_path, new, optional=optional)
    assert saver.restore() == 7
    assert [variable.numpy() for variable in new.values()] == [1.0, 3.0]
    saver.save(8)
    for variable in new.values():
        variable.assign(0.0)
    assert checkpoints.Checkpoints(tmp_path, new, optional=optional).restore() == 8
    assert [variable.numpy() for variable in new.values()] == [1.0, 3.0]


def test_other_variables_must_be_in_a_checkpoint(tmp_path):
    checkpoints.Checkpoints(tmp_path, {"one": tf.Variable(1.0)}).save(7)
    both = {"one": tf.Variable(2.0), "two": tf.Variable(3.0)}
    for optional in ((), ("one",)):
        saver = checkpoints.Checkpoints(tmp_path, both, optional=optional)
        with pytest.raises(errors.UserError, match=r"can be read \(ckpt-7: "):
            saver.restore()


@pytest.mark.parametrize("text", ['{"format": 3}', '{"format": "1"}', "{}", "[]"])
def test_a_workdir_of_a_later_version_is_refused(tmp_path, text):
    (tmp_path / layout.RUN).write_text(text)
    message = r"run\.json has format .*reads formats up to 2\. Install"
    with pytest.raises(errors.UserError, match=message):
        flag_file.keep(tmp_path, ["--seed=1"], defaults=(), may_change=())
    assert not (tmp_path / layout.FLAGS).exists()
    with pytest.raises(errors.UserError, match=message):
        metadata.read_metadata(tmp_path)


def test_a_run_is_not_resumed_in_a_workdir_of_a_later_version(tmp_path):
    records_dir = tiny.write_records(tmp_path / "records")
    (tmp_path / layout.RUN).write_text('{"format": 3}')
    with pytest.raises(errors.UserError, match="has format 3"):
        test_training.run(records_dir, tmp_path)
    assert not (tmp_path / layout.CHECKPOINTS).exists()


def test_a_workdir_without_a_format_is_of_format_1(tmp_path):
    flag_file.keep(tmp_path, ["--seed=1"], defaults=(), may_change=())
    assert not (tmp_path / layout.RUN).exists()
    (tmp_path / layout.RUN).write_text('{"format": 1}')
    flag_file.keep(tmp_path, ["--seed=1"], defaults=(), may_change=())
    assert flag_file.read(tmp_path) == {"seed": "1"}


def test_weights_of_the_state_are_those_of_the_model():
    step = test_training.Step(ema_decay=0.5)
    named = step.state.variables()
    for group, model in (("model", step.model), ("average", step.average)):
        found = [v for name, v in named.items() if name.startswith(f"{group}/")]
        assert len(found) == len(model.variables)
        for one, two in zip(found, model.variables, strict=True):
            np.testing.assert_array_equal(one, two)
    assert step.state.evaluated_model is step.average
