"""Real training processes of Mask R-CNN: stopped by a signal, and resumed."""

import json
import re
import signal

import numpy as np
import pytest

from tests.support import commands, train_detector, training_process
from tfrecords_tools import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
STEPS = train_detector.RECIPE["training_number_of_steps"]
KINDS = {
    "one_device": (1, {}),
    "two_devices": (2, {}),
    "bfloat16": (1, {"mixed_precision": "bfloat16"}),
    "float16": (1, {"mixed_precision": "float16"}),
    "accumulation": (1, {"gradient_accumulation_steps": 2}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    given = ["--dataset=shapes", f"--records_dir={folder}", "--num_drawn=4"]
    assert commands.run(build.main, *given) == 0
    return folder


def losses(output):
    return [float(x) for x in re.findall(r"^step \d+ loss (\S+)$", output, re.M)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_saves_and_the_run_resumes_to_the_same_bits(folder, tmp_path, kind):
    devices, changes = KINDS[kind]

    def start(name):
        given = folder, tmp_path / name, devices, json.dumps(changes)
        return training_process.start("train_detector", *given)

    # A step of two replicas takes two minutes until it is traced.
    output = training_process.finish(start("whole"), timeout=600)
    found = losses(output)
    assert len(found) == STEPS and np.isfinite(found).all() and len(set(found)) == STEPS
    lines = re.findall(r"equal replicas: (\d), changed weights: (\d+)", output)
    assert [int(replicas) for replicas, _ in lines] == [devices] * STEPS
    # A step whose float16 gradients overflow changes nothing but the loss scale.
    num_updates = sum(int(changed) > 0 for _, changed in lines)
    assert num_updates >= 1 if kind == "float16" else num_updates == STEPS
    # The signal comes during a validation, which traces the network before it ends.
    status = training_process.interrupt(start("part"), signal.SIGTERM, 3, timeout=120)
    assert status == 143
    resumed = training_process.finish(start("part"), timeout=600)
    rest = losses(resumed)
    assert 0 < len(rest) < STEPS and rest == found[-len(rest) :]
    assert training_process.digest(resumed) == training_process.digest(output)
    whole, part = (
        training_process.written(tmp_path / name) for name in ("whole", "part")
    )
    assert whole == part
