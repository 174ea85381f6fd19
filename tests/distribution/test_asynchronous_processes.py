"""Real workers and a parameter server: lost, stopped, restarted."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from kerasseg.distribution import parameter_servers
from tests.distribution import test_cluster, test_cluster_processes
from tests.support import faults, tiny

STEPS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_records(tmp_path_factory.mktemp("records"))


class Tasks:
    """A chief, workers and a parameter server, each a process."""

    def __init__(self, folder, workdir, *, steps=STEPS, workers=2):
        addresses = test_cluster.free_addresses(2 + workers)
        self.jobs = {"chief": addresses[:1], "ps": addresses[1:2]}
        self.jobs["worker"] = addresses[2:]
        arguments = ["-m", "tests.support.asynchronous_tiny", folder, workdir, steps]
        self._command = [sys.executable, *map(str, arguments)]
        self._log = workdir.parent / f"{workdir.name}.log"  # Output of the chief.
        self.processes = {}
        for job, tasks in self.jobs.items():
            for index in range(len(tasks)):
                self.start(job, index)

    def start(self, job, index):
        if (job, index) in self.processes:
            self.processes[job, index].wait(timeout=60)
        task = {"cluster": self.jobs, "task": {"type": job, "index": index}}
        with open(self._log if job == "chief" else os.devnull, "wb") as log:
            self.processes[job, index] = subprocess.Popen(
                self._command,
                cwd=faults.ROOT,
                env={**os.environ, "TF_CONFIG": json.dumps(task)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def send(self, job, index, number):
        self.processes[job, index].send_signal(number)

    def text(self):
        return self._log.read_text()

    def steps(self):
        return [int(n) for n in re.findall(r"^step (\d+) loss", self.text(), re.M)]

    def wait_for(self, step, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if step in self.steps():
                return
            assert self.processes["chief", 0].poll() is None, self.text()
            time.sleep(0.05)
        raise AssertionError(f"no step {step} in {seconds} s: {self.text()}")

    def wait_until_busy(self, job, index, seconds=240):
        """Waits until a restarted task computes; it is idle at first."""
        address = self.jobs[job][index]
        end, idle = time.monotonic() + seconds, None
        while time.monotonic() < end:
            time.sleep(0.2)
            if not parameter_servers._answers(address):
                continue
            used = computed(self.processes[job, index].pid)
            idle = used if idle is None else idle
            if used > idle + 2:
                return
        raise AssertionError(f"{job} {index} did nothing in {seconds} s: {self.text()}")

    def finish(self, seconds=200):
        """Returns the exit status of each task, after all have ended by themselves."""
        return {
            name: process.wait(timeout=seconds)
            for name, process in self.processes.items()
        }


def computed(pid):
    """Returns the seconds of CPU that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_one_asynchronous_worker_equals_one_process(folder, tmp_path):
    """With one worker no gradient is stale: losses, weights and scores to 1e-5."""
    with Tasks(folder, tmp_path / "there", steps=20, workers=1) as tasks:
        statuses = tasks.finish()
    assert set(statuses.values()) == {0}, tasks.text()
    assert tasks.steps() == list(range(1, 21))
    arguments = [folder, tmp_path / "here", 20, 1, 0.0]
    assert faults.run(["-m", "tests.support.train_tiny", *arguments]).returncode == 0
    here, there = (
        test_cluster_processes.values(tmp_path / name, 20) for name in ("here", "there")
    )
    assert here.keys() == there.keys()
    for name, value in here.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, there[name], atol=1e-5, err_msg=name)
    rows = [(tmp_path / n / "scores.csv").read_text() for n in ("here", "there")]
    found = [[float(x) for x in row.splitlines()[-1].split(",")] for row in rows]
    np.testing.assert_allclose(*found, atol=1e-5)


@pytest.mark.slow
def test_training_continues_without_a_worker_and_with_it_again(folder, tmp_path):
    """Row 45: the count of steps stays right, however often a worker is lost."""
    with Tasks(folder, tmp_path, steps=100_000) as tasks:
        tasks.wait_for(40)
        tasks.send("worker", 1, signal.SIGKILL)
        tasks.wait_for(max(tasks.steps()) + 30)
        tasks.start("worker", 1)
        tasks.wait_until_busy("worker", 1)
        tasks.send(
            "worker", 0, signal.SIGKILL
        )  # Now the other worker computes all steps.
        tasks.wait_for(max(tasks.steps()) + 30)
        tasks.start("worker", 0)
        tasks.wait_until_busy("worker", 0)
        tasks.send("chief", 0, signal.SIGTERM)
        statuses = tasks.finish()
    assert statuses["chief", 0] == 143, tasks.text()
    steps = max(tasks.steps())
    assert tasks.steps() == list(range(1, steps + 1))
    reader = tf.train.load_checkpoint(str(tmp_path / "checkpoints" / f"ckpt-{steps}"))
    for name in reader.get_variable_to_shape_map():
        if "model" in name:
            assert np.isfinite(reader.get_tensor(name)).all(), name


@pytest.mark.slow
def test_a_lost_parameter_server_is_reported_and_the_run_resumes(folder, tmp_path):
    """Row 46."""
    with Tasks(folder, tmp_path, steps=10_000) as tasks:
        tasks.wait_for(33)
        tasks.send("ps", 0, signal.SIGKILL)
        began = time.monotonic()
        assert tasks.processes["chief", 0].wait(timeout=60) == 1
        assert time.monotonic() - began < 60
        text = tasks.text()
        assert re.search(r"arameter server.* is lost.*Start all tasks again", text)
        statuses = {n: p.wait(timeout=30) for n, p in tasks.processes.items()}
        assert statuses["worker", 0] == statuses["worker", 1] == 0
    saved = max(tasks.steps()) // 5 * 5
    steps = saved + 20
    with Tasks(folder, tmp_path, steps=steps) as tasks:
        assert tasks.finish()["chief", 0] == 0, tasks.text()
    assert tasks.steps()[-1] == steps
    assert saved - 4 <= tasks.steps()[0] <= saved + 6


@pytest.mark.slow
def test_a_signal_to_all_saves_the_step_and_ends_all(folder, tmp_path):
    with Tasks(folder, tmp_path, steps=10_000) as tasks:
        tasks.wait_for(20)
        for job, index in tasks.processes:
            tasks.send(job, index, signal.SIGTERM)
        statuses = tasks.finish(60)
    assert statuses.pop(("chief", 0)) == 143
    assert set(statuses.values()) == {0}
    saved = re.search(r"after step (\d+); its state is saved", tasks.text())[1]
    assert (tmp_path / "checkpoints" / f"ckpt-{saved}.index").exists()
    assert int(saved) == max(tasks.steps())  # No step was lost.


@pytest.mark.slow
def test_a_launch_completes_an_asynchronous_run(folder, tmp_path):
    """Rows 45 and 46: it restarts a lost worker, and all tasks after a lost server."""
    command = [sys.executable, "-m", "kerasseg.launch", "--workers=2"]
    command += ["--parameter_servers=1", "--", sys.executable, "-m"]
    command += ["tests.support.asynchronous_tiny", str(folder), str(tmp_path), "400"]
    process = subprocess.Popen(
        command,
        cwd=faults.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killed = []
    for line in process.stdout:
        for step, job in ((30, "worker"), (100, "ps")):
            if line.startswith(f"[chief 0] step {step} ") and job not in killed:
                killed.append(job)
                os.kill(_child(process.pid, job), signal.SIGKILL)
    errors = process.communicate(timeout=300)[1]
    assert process.returncode == 0, errors
    assert killed == ["worker", "ps"]
    assert "Worker 0 ended with status -9; only this task is restarted." in errors
    assert "Parameter server 0 ended with status -9" in errors
    assert (tmp_path / "checkpoints" / "ckpt-400.index").exists()


def _child(parent, job):
    """Finds the first task of a job among the children of a process."""
    found = subprocess.run(
        ["pgrep", "-P", str(parent)], capture_output=True, text=True, check=True
    )
    for pid in found.stdout.split():
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = dict(v.partition(b"=")[::2] for v in file.read().split(b"\0"))
        task = json.loads(variables[b"TF_CONFIG"])["task"]
        if task == {"type": job, "index": 0}:
            return int(pid)
    raise AssertionError(f"no {job} among {found.stdout.split()}")
