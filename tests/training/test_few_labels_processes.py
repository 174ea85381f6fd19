"""Real processes that train on two streams: killed, stopped, and on two devices."""

import re
import signal

import numpy as np
import pytest
import tensorflow as tf

from kerasseg.training.few_labels import METHODS
from tests.support import tiny, training_process
from tests.support.training_process import digest, finish, written
from tests.training.test_few_labels import label_some

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tiny.write_records(
        tmp_path_factory.mktemp("records"), size=(44, 48), tags=True
    )
    return label_some(folder)


def start(folder, workdir, method, devices=1):
    options = folder, workdir, method, devices
    return training_process.start("train_few_labels", *options)


@pytest.mark.parametrize("method", list(METHODS))
def test_a_killed_and_stopped_run_resumes_to_the_same_bits(folder, tmp_path, method):
    whole, part = tmp_path / "whole", tmp_path / "part"
    expected = digest(finish(start(folder, whole, method)))
    for number, step, status in ((signal.SIGKILL, 7, -9), (signal.SIGTERM, 8, 143)):
        process = start(folder, part, method)
        assert training_process.interrupt(process, number, step) == status
    output = finish(start(folder, part, method))
    # Nothing is repeated after SIGTERM, and the kill at 7 cost the steps since 5.
    assert int(re.findall(r"step (\d+) loss", output)[0]) in (9, 10, 11)
    assert digest(output) == expected
    assert written(part) == written(whole)


def test_two_devices_equal_one(folder, tmp_path):
    """Up to rounding. Noise of the GAN is drawn for each device, so its runs differ."""
    for method in ("consistency", "adversarial"):
        values = []
        for devices in (1, 2):
            workdir = tmp_path / method / str(devices)
            finish(start(folder, workdir, method, devices))
            reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / "ckpt-12"))
            names = sorted(reader.get_variable_to_shape_map())
            values.append(
                [reader.get_tensor(n) for n in names if re.search("model|average", n)]
            )
        for one, two in zip(*values, strict=True):
            if one.dtype == np.float32:
                np.testing.assert_allclose(one, two, atol=2e-4)
