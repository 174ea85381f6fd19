"""XLA: the same step, used only if it is measured to be faster."""

import types

import numpy as np
import pytest
import tensorflow as tf

from kerasseg.training import compiling
from tests.training import test_training


class Fake:
    """A step with given times for both ways, on a clock that it sets itself."""

    def __init__(self, plain, compiled, fault=None):
        self.seconds = {False: plain, True: compiled}
        self.compiled, self.now, self.fault = False, 0.0, fault
        self.ways = []

    def rebuild(self, *, compiled):
        self.compiled = compiled
        self.now += 100.0  # Tracing and compiling, which must not count.

    def __call__(self, *_):
        if self.compiled and self.fault:
            raise self.fault
        self.ways.append(self.compiled)
        self.now += self.seconds[self.compiled]
        return tf.constant(0.5), None, None


def ways(fake, count=40):
    trial = compiling.Trial(fake, clock=lambda: fake.now)
    for number in range(count):
        trial({}, number)
    return "".join("c" if way else "p" for way in fake.ways)


# Three steps warm up and ten are timed, first without XLA.


@pytest.mark.parametrize(
    ("compiled", "then"), [(0.5, "c"), (0.94, "c"), (0.96, "p"), (3.0, "p")]
)
def test_the_faster_way_is_used(compiled, then, capsys):
    assert ways(Fake(1.0, compiled)) == "p" * 13 + "c" * 13 + then * 14
    output = capsys.readouterr().out
    assert (
        f"A step takes 1000 ms, and {1000 * compiled:.0f} ms compiled by XLA" in output
    )
    assert output.count("\n") == 1


@pytest.mark.parametrize(
    "kind", [tf.errors.InvalidArgumentError, tf.errors.UnimplementedError]
)
def test_a_step_that_cannot_be_compiled_runs_without_xla(kind, caplog):
    fake = Fake(1.0, 1.0, kind(None, None, "Detected unsupported operations"))
    assert ways(fake) == "p" * 40  # No batch is lost.
    assert caplog.text.count("XLA cannot compile this step: Detected") == 1


def test_an_error_of_a_step_without_xla_is_raised():
    fake = Fake(1.0, 1.0, tf.errors.InvalidArgumentError(None, None, "wrong"))
    fake.compiled = True
    with pytest.raises(tf.errors.InvalidArgumentError, match="wrong"):
        ways(fake)


def group(replicas=1, asynchronous=False):
    return types.SimpleNamespace(
        size=1, local_replicas=replicas, is_asynchronous=asynchronous
    )


@pytest.mark.parametrize(
    ("jit_compile", "gpu", "options", "tried"),
    [
        ("auto", True, {}, True),
        ("auto", False, {}, False),  # XLA is slower on a CPU.
        ("off", True, {}, False),
        ("on", True, {}, False),
        ("auto", True, {"replicas": 2}, False),
        ("auto", True, {"asynchronous": True}, False),
    ],
)
def test_both_ways_are_tried_on_a_single_gpu_only(
    monkeypatch, jit_compile, gpu, options, tried
):
    devices = ["GPU"] if gpu else []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: devices)
    step_function = object()
    found = compiling.choose(step_function, jit_compile, group(**options))
    assert isinstance(found, compiling.Trial) == tried
    assert tried or found is step_function


@pytest.mark.parametrize("options", [{"replicas": 2}, {"asynchronous": True}])
def test_several_devices_cannot_be_compiled(options):
    with pytest.raises(ValueError, match=r"`jit_compile=on` compiles the step of one"):
        compiling.choose(object(), "on", group(**options))


def test_a_compiled_step_is_the_same_step():
    inputs, options = test_training.batch(), {"aux": True}
    plain, compiled = (
        test_training.Step(options=options, jit_compile=way, momentum=0.9)
        for way in ("off", "on")
    )
    for number in range(3):
        one, two = plain(inputs, number), compiled(inputs, number)
        assert one[1] and two[1]
        assert one[0] == pytest.approx(two[0], abs=1e-5)
    for key, value in plain.weights().items():
        np.testing.assert_allclose(value, compiled.weights()[key], atol=1e-5)


def test_a_wrong_label_gives_nan_when_compiled_too():
    # Row 22: with XLA as without.
    inputs = test_training.batch()
    label = inputs["label"].numpy()
    label[1, 2, 3] = 7
    inputs["label"] = tf.constant(label)
    step = test_training.Step(jit_compile="on")
    before = step.weights()
    loss, good = step(inputs)
    assert np.isnan(loss) and not good
    changed = test_training.difference(before, step.weights())
    assert all(changed[v.path] == 0 for v in step.model.trainable_variables)
