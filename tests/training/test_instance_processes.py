"""Real training processes of Mask R-CNN: stopped by a signal, and resumed."""

import json
import re
import signal

import numpy as np
import pytest

from tests.support import commands, train_detector, training_process
from tfrecords_tools import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
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

    output = training_process.finish(start("whole"))
    found = losses(output)
    assert len(found) == STEPS and np.isfinite(found).all() and len(set(found)) == STEPS
    assert output.count(f"equal replicas: {devices}\n") == STEPS
    assert training_process.interrupt(start("part"), signal.SIGTERM, 3) == 143
    resumed = training_process.finish(start("part"))
    rest = losses(resumed)
    assert 0 < len(rest) < STEPS and rest == found[-len(rest) :]
    assert training_process.digest(resumed) == training_process.digest(output)
    whole, part = (
        training_process.written(tmp_path / name) for name in ("whole", "part")
    )
    assert whole == part
