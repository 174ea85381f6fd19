"""--profile: some steps for TensorBoard; an error does not stop the run."""

import pytest
import tensorflow as tf

from kerasseg import training
from kerasseg.pipeline import augment
from kerasseg.training import loop
from tests.support import tiny


@pytest.fixture
def calls(monkeypatch):
    """Calls of the profiler, in order."""
    found = []

    def note(name):
        monkeypatch.setattr(
            tf.profiler.experimental, name, lambda *args: found.append((name, *args))
        )

    note("start")
    note("stop")
    return found


def test_a_few_steps_after_the_first_are_profiled(calls):
    profile = loop.Profile("there", enabled=True)
    for number in range(30):
        with profile.step(number):
            calls.append(number)
    profile.close()
    profiled = calls[calls.index(("start", "there")) : calls.index(("stop",)) + 1]
    assert profiled == [("start", "there"), *range(5, 15), ("stop",)]
    assert calls.count(("stop",)) == 1


def test_a_profile_ends_with_its_run(calls):
    profile = loop.Profile("there", enabled=True)
    for number in range(7):
        with profile.step(number):
            pass
    profile.close()
    assert calls == [("start", "there"), ("stop",)]


def test_nothing_is_profiled_by_default(calls):
    profile = loop.Profile("there", enabled=False)
    for number in range(30):
        with profile.step(number):
            pass
    profile.close()
    assert calls == []


def test_a_profile_that_cannot_be_written_causes_a_warning(monkeypatch, caplog):
    def refuse(*_):
        raise tf.errors.AlreadyExistsError(None, None, "Another profiler is running")

    monkeypatch.setattr(tf.profiler.experimental, "start", refuse)
    profile = loop.Profile("there", enabled=True)
    for number in range(30):
        with profile.step(number):
            pass
    assert caplog.text.count("No profile was written to there, training continues") == 1


def test_a_run_writes_a_profile_that_tensorboard_finds(tmp_path):
    training.train(
        tiny.Builder(),
        training.Data(records_dir=str(tiny.write_records(tmp_path / "records"))),
        training.Recipe(training_number_of_steps=8, train_batch_size=4, profile=True),
        augment.Augmentation(crop_size=(24, 24)),
        workdir=str(tmp_path / "run"),
    )
    found = (tmp_path / "run" / "events" / "plugins" / "profile").glob("*/*.xplane.pb")
    assert [path.stat().st_size > 0 for path in found] == [True]
