"""TF_CONFIG, the start of several workers, and the supervisor."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent import futures

import pytest
import tensorflow as tf

from kerasseg import distribution
from kerasseg.distribution import cluster
from kerasseg.system import signals
from tests.support import faults
from tests.support.server_process import until

TWO = {"worker": ["one:2222", "two:2222"]}


def config(jobs, job="worker", index=0):
    return json.dumps({"cluster": jobs, "task": {"type": job, "index": index}})


def test_a_cluster_is_read():
    jobs = {"chief": ["zero:1"], **TWO, "ps": ["three:3"]}
    found = distribution.read_cluster(config(jobs, "worker", 1))
    assert found.workers == ("zero:1", "one:2222", "two:2222")
    assert found.address == "two:2222"
    assert distribution.read_cluster(None) is None
    assert distribution.read_cluster("") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"cluster": {}}', r"cannot be read \(KeyError\('task'\)\)"),
        ('{"cluster": {"worker": 3}, "task": 1}', "cannot be read"),
        (config({"wrker": ["one:1"]}), r"has the jobs \['wrker'\], expected are chief"),
        (config(TWO, index=2), "has task 2 of job 'worker', which is not in its"),
        (config(TWO, index="0"), "has task '0'"),
        (config(TWO, job="chief"), "of job 'chief', which is not in its cluster"),
        (config({"worker": ["one"]}), "has the address 'one', expected is host:port"),
        (config({"worker": ["one:70000"]}), "has the address 'one:70000'"),
        (config({"worker": ["one:1", "one:1"]}), "has the same address twice"),
    ],
)
def test_an_invalid_cluster_is_reported(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        distribution.read_cluster(text)
    assert '"task": {"type": "worker", "index": 0}' in str(caught.value)


def test_several_machines_need_a_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match=r"needs the environment variable TF_CONFIG"):
        distribution.strategy("multi_worker")
    with pytest.raises(
        ValueError, match=r"Unknown strategy 'many'. Choose one of: auto, one"
    ):
        distribution.strategy("many")


@pytest.mark.parametrize(
    ("name", "job", "others"),
    [
        ("auto", "evaluator", {}),
        ("multi_worker", "ps", {}),
        ("parameter_server", "evaluator", {"chief": ["zero:1"], "ps": ["three:3"]}),
    ],
)
def test_a_task_of_an_unused_job_is_refused(monkeypatch, name, job, others):
    # As index 0 of its job it would act as the chief.
    jobs = {**TWO, **others, job: ["four:4"]}
    monkeypatch.setenv("TF_CONFIG", config(jobs, job))
    message = rf"task of the job '{job}', and the jobs of .*The chief validates"
    for act in (distribution.strategy, distribution.serve_if_assigned):
        with pytest.raises(ValueError, match=message):
            act(name)


def test_a_port_that_is_taken_is_reported(monkeypatch):
    with socket.socket() as other:
        other.bind(("localhost", 0))
        other.listen()
        port = other.getsockname()[1]
        jobs = {"worker": [f"localhost:{port}", "two:2222"]}
        monkeypatch.setenv("TF_CONFIG", config(jobs))
        with pytest.raises(
            OSError, match=rf"localhost:{port} to this worker, and port {port} can"
        ):
            distribution.strategy("auto")


def gathered(addresses, indices, seconds):
    """Gathers some of the workers at once; returns what each raised, or None."""

    def gather(index):
        here = cluster.Cluster({"worker": tuple(addresses)}, "worker", index)
        try:
            time.sleep(0.1 * index)
            cluster.gather(here, seconds)
        except Exception as error:
            return error

    with futures.ThreadPoolExecutor() as pool:
        return list(pool.map(gather, indices))


def free_addresses(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [f"localhost:{each.getsockname()[1]}" for each in sockets]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_workers_wait_for_each_other(count):
    assert gathered(free_addresses(count), range(count), 30) == [None] * count


def test_missing_workers_are_named():
    addresses = free_addresses(4)
    for error in gathered(addresses, [0, 2], 1):
        assert isinstance(error, distribution.WorkerLostError)
        assert re.search(
            rf"do not answer: {addresses[1]}, {addresses[3]}\. Start them", str(error)
        )


def test_one_worker_is_a_group():
    group = distribution.WorkerGroup(tf.distribute.get_strategy())
    assert (group.size, group.index, group.is_chief) == (1, 0, True)
    group.check_agreed(7, "step")
    group.report(ValueError("There is nobody to report it to."))


# The supervisor, with small programs.


def launch(program, *flags, **options):
    """Starts `python -c program` as workers; see `subprocess.Popen`."""
    command = [sys.executable, "-m", "kerasseg.launch", *flags, "--"]
    command += [sys.executable, "-c", program]
    return subprocess.Popen(
        command,
        cwd=faults.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finished(process):
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


WORKER = (
    "import json, os, pathlib, signal, sys, time\n"
    "task = json.loads(os.environ['TF_CONFIG'])['task']['index']\n"
)


def launch_waiting(handle, *flags):
    """Starts two workers with a signal handler; returns when both wait."""
    wait = "print('ready', flush=True)\ntime.sleep(60)\n"
    process = launch(WORKER + handle + wait, *flags)
    ready = [process.stdout.readline() for _ in range(2)]
    assert sorted(ready) == ["[0] ready\n", "[1] ready\n"]
    return process


def test_workers_are_started_and_their_output_is_forwarded():
    status, output, _ = finished(launch(WORKER + "print('task', task)", "--workers=3"))
    assert status == 0
    assert sorted(output.splitlines()) == [f"[{i}] task {i}" for i in range(3)]


def test_all_workers_are_restarted_if_one_is_lost(tmp_path):
    program = WORKER + (
        f"mark = pathlib.Path({str(tmp_path)!r}) / 'mark'\n"
        "if task == 1 and not mark.exists():\n"
        "    mark.touch()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if task == 0 and not (mark.parent / 'second').exists():\n"
        "    (mark.parent / 'second').touch()\n"
        "    time.sleep(60)\n"
        "print('done', task)\n"
    )
    status, output, errors = finished(launch(program, "--max_restarts=2"))
    assert status == 0
    assert sorted(output.splitlines()) == ["[0] done 0", "[1] done 1"]
    assert "Worker 1 ended with status -9; 2 of 2 restarts are left." in errors


def test_the_number_of_restarts_is_limited():
    program = WORKER + "sys.exit(7 if task else 0)"
    status, _, errors = finished(launch(program, "--max_restarts=1"))
    assert status == 7
    assert errors.count("Worker 1 ended with status 7") == 2
    assert "0 of 1 restarts are left" in errors


def test_wrong_input_is_not_restarted():
    # The worker with the wrong input ends last.
    program = WORKER + "time.sleep(2 * task); sys.exit(1 + task)"
    status, _, errors = finished(launch(program))
    assert status == 2
    assert "Worker 1 ended with status 2: flags or data are wrong" in errors


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_is_forwarded_and_ends_all(number, status):
    process = launch_waiting(
        "def leave(number, _):\n"
        "    print('left by', number, flush=True)\n"
        "    sys.exit(128 + number)\n"
        f"signal.signal({int(number)}, leave)\n"
    )
    os.kill(process.pid, number)
    found, output, _ = finished(process)
    assert found == status
    assert output.count(f"left by {int(number)}") == 2


@pytest.mark.slow
def test_a_worker_that_still_saves_gets_no_second_signal():
    # Worker 1 ends at once; worker 0 takes longer than the supervisor waits for the
    # last output after a failure.
    process = launch_waiting(
        "def leave(*_):\n"
        "    signal.signal(signal.SIGTERM, lambda *_: os._exit(9))\n"
        "    time.sleep(0 if task else 8)\n"
        "    print('saved', task, flush=True)\n"
        "    os._exit(143)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
    )
    os.kill(process.pid, signal.SIGTERM)
    status, output, _ = finished(process)
    assert status == 143
    assert sorted(output.splitlines()) == ["[0] saved 0", "[1] saved 1"]


def test_a_signal_that_arrives_twice_at_once_counts_once(monkeypatch):
    # `timeout` sends it to its program and to the program's group.
    now = [7.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    received = signals.ReceivedSignals()
    assert received.first is None
    assert not received.add(signal.SIGTERM)
    now[0] += 0.1
    assert not received.add(signal.SIGTERM)
    assert received.add(signal.SIGINT)
    now[0] += 0.5
    assert received.add(signal.SIGTERM)
    assert received.first == signal.SIGTERM


def test_output_that_nobody_reads_does_not_block_a_worker():
    # A pipe holds 64 KiB.
    program = WORKER + "print('x' * 10**6)"
    with launch(program) as process:
        process.stdout.close()
        assert process.wait(60) == 0, process.stderr.read()
    with open("/dev/full", "wb", buffering=0) as full:
        command = [sys.executable, "-m", "kerasseg.launch", "--max_restarts=0", "--"]
        command += [sys.executable, "-c", program + "; sys.exit(3)"]
        done = subprocess.run(
            command, cwd=faults.ROOT, stdout=full, stderr=full, timeout=60, check=False
        )
    assert done.returncode == 3


def test_workers_that_do_not_end_are_killed():
    process = launch_waiting(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n", "--kill_after_seconds=0.5"
    )
    began = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    assert finished(process)[0] == 143
    assert time.monotonic() - began < 30


def test_a_supervisor_that_is_killed_ends_its_workers(tmp_path):
    # Otherwise, after a restart, two sets of workers would write the same workdir.
    process = launch_waiting(
        "def leave(*_):\n"
        f"    pathlib.Path({str(tmp_path)!r}, str(task)).touch()\n"
        "    os._exit(143)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
    )
    process.kill()
    until(lambda: len(list(tmp_path.iterdir())) == 2, seconds=20)
    process.communicate()


def test_a_launch_without_a_command_is_refused():
    done = faults.run(["-m", "kerasseg.launch", "--workers=2"])
    assert done.returncode == 2
    assert "Give it after --, as in python -m kerasseg.launch" in done.stderr
