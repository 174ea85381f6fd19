"""Asynchronous workers: when each starts, and the jobs of a cluster."""

import contextlib
import re
import socket
import sys
import time

import pytest
import tensorflow as tf

from kerasseg import distribution
from kerasseg.distribution import choice, worker_group
from kerasseg.training import asynchronous
from kerasseg.training.step import StepResult
from tests.distribution import test_cluster
from tests.support import faults

WHOLE = {"chief": ["zero:1"], "worker": ["one:1", "two:1"], "ps": ["three:1"]}


def test_workers_start_one_after_the_other():
    # With 15 steps between them: one at 0, two at 15, three at 30, all four at 45; then
    # two batches for each, so that no worker waits for its next batch.
    found = {
        n: asynchronous.max_scheduled(n, 4, 15) for n in (0, 14, 15, 30, 44, 45, 1000)
    }
    assert found == {0: 1, 14: 1, 15: 2, 30: 3, 44: 3, 45: 8, 1000: 8}
    assert asynchronous.max_scheduled(0, 4, 0) == 8
    assert asynchronous.max_scheduled(0, 1, 15) == 2


def test_the_result_of_a_local_step_is_fetched():
    parts = {"boxes": tf.constant(0.25)}
    result = StepResult(tf.constant(0.5), tf.constant(True), tf.constant(3.0), parts)
    assert asynchronous.fetch(result) == StepResult(0.5, True, 3.0, {"boxes": 0.25})


def test_servers_in_the_cluster_make_it_asynchronous(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", test_cluster.config(WHOLE, "chief"))
    assert choice._choose("auto")[0] == "parameter_server"
    assert not distribution.serve_if_assigned()
    assert not distribution.serve_if_assigned("one")
    monkeypatch.setenv("TF_CONFIG", test_cluster.config(test_cluster.TWO))
    assert choice._choose("auto")[0] == "multi_worker"
    assert not distribution.serve_if_assigned()
    monkeypatch.delenv("TF_CONFIG")
    assert not distribution.serve_if_assigned()


@pytest.mark.parametrize("job", ["chief", "worker", "ps"])
def test_a_cluster_without_one_of_its_jobs_is_refused(monkeypatch, job):
    jobs = {name: tasks for name, tasks in WHOLE.items() if name != job}
    here = next(iter(jobs))
    monkeypatch.setenv("TF_CONFIG", test_cluster.config(jobs, here))
    act = distribution.strategy if here == "chief" else distribution.serve_if_assigned
    message = rf"jobs chief, worker and ps in TF_CONFIG, which lacks {job}\. See docs"
    with pytest.raises(ValueError, match=message):
        act("parameter_server")


def test_missing_tasks_are_named(monkeypatch):
    chief, *others = test_cluster.free_addresses(4)
    jobs = {"chief": [chief], "worker": others[:2], "ps": others[2:]}
    monkeypatch.setenv("TF_CONFIG", test_cluster.config(jobs, "chief"))
    with contextlib.ExitStack() as stack:
        there = stack.enter_context(socket.socket())
        there.bind(("localhost", int(others[0].rpartition(":")[2])))
        there.listen()
        with pytest.raises(
            distribution.WorkerLostError,
            match=rf"After 1 s .* do not answer: {others[1]}, {others[2]}\. Start",
        ):
            distribution.strategy("parameter_server", cluster_timeout=1)


SERVER = "from kerasseg import distribution; distribution.serve_if_assigned(**{})"


def serving(jobs, job, seconds):
    return faults.run(
        ["-c", SERVER.format({"cluster_timeout": seconds})],
        env={**faults.ENVIRONMENT, "TF_CONFIG": test_cluster.config(jobs, job)},
    )


def test_a_server_waits_for_its_chief_with_a_timeout():
    chief, worker, server = test_cluster.free_addresses(3)
    jobs = {"chief": [chief], "worker": [worker], "ps": [server]}
    done = serving(jobs, "ps", 1)
    assert done.returncode == 1
    assert f"After 1 s these tasks of TF_CONFIG do not answer: {chief}" in done.stderr


@pytest.mark.slow
def test_a_server_whose_port_is_taken_reports_it():
    chief, worker = test_cluster.free_addresses(2)
    with socket.socket() as other:
        other.bind(("localhost", 0))
        other.listen()
        taken = f"localhost:{other.getsockname()[1]}"
        done = serving({"chief": [chief], "worker": [worker], "ps": [taken]}, "ps", 1)
    assert done.returncode == 1
    assert f"assigns {taken} to this ps, which cannot listen there" in done.stderr


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            tf.errors.UnavailableError(
                None, None, "failed to connect, /job:ps/replica:0/task:3:"
            ),
            r"Parameter server 3 is lost, .*: failed to connect.* checkpoint is whole",
        ),
        (tf.errors.AbortedError(None, None, "gone"), "A parameter server is lost"),
        (tf.errors.InvalidArgumentError(None, None, "shapes"), None),
    ],
)
def test_a_lost_server_is_distinguished_from_other_errors(error, message):
    found = worker_group._lost_server(error)
    assert (found is None) == (message is None)
    assert message is None or re.search(message, str(found))


# The supervisor, with small programs.

TASK = (
    "import json, os, pathlib, signal, sys, time\n"
    "task = json.loads(os.environ['TF_CONFIG'])['task']\n"
    "job, mark = task['type'], pathlib.Path(sys.argv[1])\n"
)


def launch(program, folder, *flags):
    command = [sys.executable, "-m", "kerasseg.launch", "--parameter_servers=1", *flags]
    command += ["--", sys.executable, "-c", TASK + program, folder]
    done = faults.run([str(part) for part in command[1:]])
    return done.returncode, sorted(done.stdout.splitlines()), done.stderr


def test_a_chief_with_its_workers_and_servers_is_started(tmp_path):
    status, lines, _ = launch("print(job, task['index'])", tmp_path, "--workers=2")
    assert status == 0
    assert lines == [
        *("[chief 0] chief 0", "[ps 0] ps 0"),
        *("[worker 0] worker 0", "[worker 1] worker 1"),
    ]


DIES_ONCE = (
    "(mark / f'{{job}}{{time.time()}}').touch()\n"
    "if job == '{job}' and len(list(mark.glob('{job}*'))) < 2:\n"
    "    os.kill(os.getpid(), signal.SIGKILL)\n"
    "while job != '{job}' and len(list(mark.glob('{job}*'))) < 2: time.sleep(0.1)\n"
)


def test_a_lost_worker_is_restarted_alone(tmp_path):
    program = DIES_ONCE.format(job="worker")
    status, _, errors = launch(program, tmp_path, "--workers=1")
    assert status == 0
    assert "Worker 0 ended with status -9; only this task is restarted." in errors
    assert len(list(tmp_path.glob("chief*"))) == len(list(tmp_path.glob("ps*"))) == 1


@pytest.mark.parametrize(
    ("job", "name"),
    [
        ("ps", "Parameter server 0"),
        pytest.param("chief", "The", marks=pytest.mark.slow),
    ],
)
def test_all_tasks_are_restarted_if_another_task_is_lost(tmp_path, job, name):
    program = DIES_ONCE.format(job=job) + "sys.exit(0)"
    status, _, errors = launch(program, tmp_path, "--workers=1")
    assert status == 0
    assert re.search(rf"{name}.* ended with status -9; 10 of 10 restarts are", errors)
    for each in ("chief", "ps"):
        assert len(list(tmp_path.glob(f"{each}*"))) == 2
    # On a busy machine, the worker may see the new task before it is stopped, end by
    # itself, and be restarted alone.
    assert len(list(tmp_path.glob("worker*"))) in (2, 3)


@pytest.mark.slow
def test_repeated_losses_of_workers_end_the_launch(tmp_path):
    program = "time.sleep(60 if job == 'chief' else 0); sys.exit(3 * (job == 'worker'))"
    began = time.monotonic()
    status, _, errors = launch(program, tmp_path, "--workers=1", "--max_restarts=2")
    assert status == 3
    assert errors.count("only this task is restarted") == 2
    assert time.monotonic() - began < 55
