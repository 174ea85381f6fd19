"""Real training processes: killed and resumed, stopped by signals, on two devices."""

import os
import re
import signal

import numpy as np
import pytest
import tensorflow as tf

from tests.support import tiny, training_process
from tests.support.training_process import digest, finish, written


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_records(tmp_path_factory.mktemp("records"))


def start(folder, workdir, steps=20, devices=1, dropout=0.2):
    options = (folder, workdir, steps, devices, dropout)
    return training_process.start("train_tiny", *options)


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    return digest(finish(start(folder, workdir))), written(workdir)


def interrupt(folder, workdir, number, step, **options):
    return training_process.interrupt(start(folder, workdir, **options), number, step)


def test_a_killed_run_resumes_and_ends_bit_equal(folder, tmp_path, undisturbed):
    # Saved at 5, 10 and 15: killed after 8 and then after 13 it starts at 5 and at 10.
    assert interrupt(folder, tmp_path, signal.SIGKILL, 8) == -signal.SIGKILL
    assert interrupt(folder, tmp_path, signal.SIGKILL, 13) == -signal.SIGKILL
    output = finish(start(folder, tmp_path))
    assert re.findall(r"step (\d+) loss", output) == [str(s) for s in range(11, 21)]
    # Also the mean losses, although the run was killed between two validations.
    assert (digest(output), written(tmp_path)) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
)
def test_a_signal_saves_and_nothing_is_lost(
    folder, tmp_path, undisturbed, number, status
):
    assert interrupt(folder, tmp_path, number, 8) == status
    (newest,) = re.findall(
        r"ckpt-(8|9|10)\.index", " ".join(os.listdir(tmp_path / "checkpoints"))
    )[-1:]
    output = finish(start(folder, tmp_path))
    assert re.findall(r"step (\d+) loss", output)[0] == str(int(newest) + 1)
    assert (digest(output), written(tmp_path)) == undisturbed


@pytest.mark.slow
def test_two_devices_equal_one(folder, tmp_path):
    """Row 47: loss, weights and scores to 1e-5, batch norm synchronized."""
    values, losses, scores = [], [], []
    images = [tiny.image_and_label(seed)[0] for seed in range(12)]
    colors = np.mean(images, axis=(0, 1, 2)) / 127.5 - 1
    for devices in (1, 2):
        workdir = tmp_path / str(devices)
        output = finish(start(folder, workdir, 10, devices, dropout=0))
        losses.append([float(x) for x in re.findall(r"loss ([\d.]+)$", output, re.M)])
        reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / "ckpt-10"))
        names = sorted(
            name
            for name in reader.get_variable_to_shape_map()
            if re.search("model|average", name)
        )
        values.append([np.asarray(reader.get_tensor(name)) for name in names])
        means = [name for name in names if re.search("features.*mean", name)]
        assert len(means) == 2  # Of the model and of its moving average.
        for name in means:
            np.testing.assert_allclose(reader.get_tensor(name), colors, rtol=1e-4)
        scores.append((workdir / "scores.csv").read_text().splitlines()[-1].split(","))
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)
    assert len(losses[0]) == 10
    for one, two in zip(*values, strict=True):
        if one.dtype == np.float32:
            np.testing.assert_allclose(one, two, atol=1e-5)
    np.testing.assert_allclose(
        [float(x) for x in scores[0]], [float(x) for x in scores[1]], atol=1e-5
    )


@pytest.mark.slow
def test_a_run_of_two_devices_resumes_on_one(folder, tmp_path):
    """Row 35: the global batch is the same, and so are the weights."""
    losses = []
    for devices in (1, 2):
        workdir = tmp_path / str(devices)
        options = {"devices": devices, "dropout": 0}
        assert interrupt(folder, workdir, signal.SIGKILL, 8, **options) < 0
        output = finish(start(folder, workdir, 10, dropout=0))
        found = re.findall(r"step (\d+) loss ([\d.]+)", output)
        assert [step for step, _ in found] == ["6", "7", "8", "9", "10"]
        losses.append([float(loss) for _, loss in found])
    np.testing.assert_allclose(*losses, atol=1e-5)
