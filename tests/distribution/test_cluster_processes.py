"""Two real workers on this machine: equal to one process, stopped, killed, failing."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.support import faults, tiny

ROOT = faults.ROOT
STEPS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_records(tmp_path_factory.mktemp("records"))


def addresses():
    with socket.socket() as one, socket.socket() as two:
        one.bind(("localhost", 0))
        two.bind(("localhost", 0))
        return [f"localhost:{s.getsockname()[1]}" for s in (one, two)]


def start(folder, workdir, steps=STEPS, fault="", workers=(0, 1)):
    """Starts two workers, in one workdir or one each; returns their processes."""
    jobs = {"worker": addresses()}
    workdirs = workdir if isinstance(workdir, tuple) else (workdir, workdir)
    processes = []
    for index in workers:
        arguments = [sys.executable, "-m", "tests.support.cluster_tiny"]
        arguments += [folder, workdirs[index], steps]
        task = {"cluster": jobs, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [str(part) for part in (*arguments, fault)],
                cwd=ROOT,
                env={**os.environ, "TF_CONFIG": json.dumps(task)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def finish(processes):
    """Returns exit statuses and texts."""
    texts = [process.communicate(timeout=300) for process in processes]
    return [process.returncode for process in processes], texts


def wait_for(process, step):
    for line in process.stdout:
        if line.startswith(f"step {step} "):
            return
    raise AssertionError(f"the worker ended before step {step}")


def values(workdir, steps=STEPS):
    reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / f"ckpt-{steps}"))
    names = sorted(n for n in reader.get_variable_to_shape_map() if "OBJECT" not in n)
    return {name: np.asarray(reader.get_tensor(name)) for name in names}


@pytest.fixture(scope="module")
def together(folder, tmp_path_factory):
    """The workdir of an undisturbed run of two workers, and their output."""
    workdir = tmp_path_factory.mktemp("together")
    statuses, texts = finish(start(folder, workdir))
    assert statuses == [0, 0], texts
    return workdir, [output for output, _ in texts]


@pytest.mark.slow
def test_two_workers_equal_one_process(folder, tmp_path, together):
    """Rows 39 and 44: losses, weights and scores to 1e-5; only the chief writes."""
    workdir, outputs = together
    done = faults.run(
        ["-m", "tests.support.train_tiny", folder, tmp_path, STEPS, 1, 0.0]
    )
    assert done.returncode == 0, done.stderr
    losses = [
        [float(x) for x in re.findall(r"^step \d+ loss (.*)$", output, re.M)]
        for output in (done.stdout, *outputs)
    ]
    assert len(losses[0]) == STEPS
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)
    assert losses[1] == losses[2]
    one, two = values(tmp_path), values(workdir)
    assert one.keys() == two.keys()
    for name, value in one.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, two[name], atol=1e-5, err_msg=name)
    rows = [
        (each / "scores.csv").read_text().splitlines()[-1].split(",")
        for each in (tmp_path, workdir)
    ]
    found = [[float(x) for x in row] for row in rows]
    np.testing.assert_allclose(*found, atol=1e-5)
    names = [sorted(p.name for p in each.iterdir()) for each in (tmp_path, workdir)]
    assert names[0] == names[1]
    assert len(list((workdir / "events").iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize("worker", [0, 1])
def test_a_signal_to_one_stops_all_at_the_same_step(folder, tmp_path, together, worker):
    """Row 40; the run then ends with the weights of the undisturbed one."""
    processes = start(folder, tmp_path, fault="slow")
    wait_for(processes[worker], 7)
    processes[worker].send_signal(signal.SIGTERM)
    # `srun --kill-on-bad-exit` kills all workers when one has ended: all must be saved.
    assert processes[1].wait(300) == 143
    saved = os.listdir(tmp_path / "checkpoints")
    statuses, texts = finish(processes)
    assert statuses == [143, 143], texts
    steps = {re.search(r"after step (\d+); its", output)[1] for output, _ in texts}
    assert len(steps) == 1
    assert f"ckpt-{next(iter(steps))}.index" in saved
    statuses, texts = finish(start(folder, tmp_path))
    assert statuses == [0, 0], texts
    first = re.search(r"^step (\d+) ", texts[0][0], re.M)[1]
    assert int(first) == int(steps.pop()) + 1
    whole = values(together[0])
    for name, value in values(tmp_path).items():
        np.testing.assert_array_equal(value, whole[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("worker", [0, 1])
def test_a_lost_worker_soon_ends_the_other_one(folder, tmp_path, worker):
    """Row 41."""
    processes = start(folder, tmp_path, steps=10_000)
    wait_for(processes[worker], 3)
    processes[worker].kill()
    began = time.monotonic()
    other = processes[1 - worker]
    output, errors = other.communicate(timeout=60)
    assert time.monotonic() - began < 30
    processes[worker].communicate()
    assert other.returncode == 1, errors
    assert f"Worker {1 - worker} of 2 cannot continue without the others" in output


@pytest.mark.slow
def test_a_launch_completes_a_run_with_a_killed_worker(folder, tmp_path, together):
    """Row 41: all are restarted and end with the same weights as an undisturbed run."""
    command = [sys.executable, "-m", "kerasseg.launch", "--workers=2", "--"]
    command += [
        sys.executable,
        "-m",
        "tests.support.cluster_tiny",
        folder,
        tmp_path,
        STEPS,
    ]
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("[1] step 8 "):
            break
    found = subprocess.run(
        ["pgrep", "-f", f"tests.support.cluster_tiny {folder} {tmp_path}"],
        capture_output=True,
        text=True,
        check=True,
    )
    workers = [pid for pid in map(int, found.stdout.split()) if pid != process.pid]
    os.kill(workers[-1], signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "10 of 10 restarts are left" in errors
    whole = values(together[0])
    for name, value in values(tmp_path).items():
        np.testing.assert_array_equal(value, whole[name], err_msg=name)


@pytest.mark.slow
def test_the_error_of_one_worker_is_reported_by_all(folder, tmp_path):
    """Row 42."""
    statuses, texts = finish(start(folder, tmp_path, fault="raise:3"))
    assert statuses == [1, 1]
    (output, _), (_, errors) = texts
    assert "worker 1: ValueError: Image 7 of this worker is odd." in output
    assert "Image 7 of this worker is odd." in errors


@pytest.mark.slow
def test_workers_with_different_workdirs_do_not_start(folder, tmp_path):
    workdirs = tmp_path / "one", tmp_path / "two"
    statuses, texts = finish(start(folder, workdirs))
    assert statuses == [1, 1]
    for output, errors in texts:
        assert "Give the same folder as `workdir` on all machines" in output + errors
    assert not (workdirs[0] / "checkpoints").exists()


@pytest.mark.slow
def test_a_worker_that_never_starts_is_named(folder, tmp_path):
    """Row 43."""
    (process,) = start(folder, tmp_path, workers=[0])
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert re.search(r"After 20 s .* do not answer: localhost:\d+\. Start", output)
