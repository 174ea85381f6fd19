"""Threads and worker processes: order of results, errors, and how they end."""

import functools
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from kerasseg.system import processes


def double(x):
    return 2 * x


def shifted(x, *, by):
    return x + by


def process_number(_):
    time.sleep(0.05)
    return os.getpid()


def refuse(x):
    raise ValueError(f"{x} is refused")


class NotPicklableError(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def refuse_badly(x):
    raise NotPicklableError(x, x)


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def loaded_modules(_):
    return sorted(sys.modules)


def test_results_are_in_the_order_of_the_items():
    def slow_first(i):
        time.sleep(0.1 if i == 0 else 0)
        return 2 * i

    assert list(processes.in_order(slow_first, range(7), num_threads=3)) == [
        0, 2, 4, 6, 8, 10, 12
    ]  # fmt: skip


def test_items_are_taken_in_the_thread_of_the_caller_when_needed():
    taken = []

    def items():
        for i in range(10):
            taken.append(threading.current_thread())
            yield i

    results = processes.in_order(double, items(), num_threads=2)
    assert next(results) == 0
    assert (
        taken == [threading.main_thread()] * 3
    )  # One result, and one for each thread.
    results.close()


def test_an_error_in_a_thread_reaches_the_caller():
    with pytest.raises(ValueError, match="1 is refused"):
        list(processes.in_order(refuse, [1, 2], num_threads=2))


def test_processes_return_arrays():
    with processes.Processes(functools.partial(shifted, by=3), 1) as call:
        np.testing.assert_array_equal(call(np.arange(3)), [3, 4, 5])
        np.testing.assert_array_equal(call(np.zeros(2)), [3.0, 3.0])


def test_processes_start_only_when_they_are_needed():
    with processes.Processes(process_number, 4) as call:
        assert len({call(None) for _ in range(3)}) == 1
        pids = set(processes.in_order(call, range(8), num_threads=2))
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_processes_do_not_load_tensorflow():
    with processes.Processes(np.zeros, 1) as call:
        call(3)
    with processes.Processes(loaded_modules, 1) as call:
        modules = call(None)
    assert "kerasseg.system.processes" in modules
    assert "tensorflow" not in modules


def test_an_error_in_a_process_reaches_the_caller_and_the_process_continues():
    with processes.Processes(refuse, 1) as call:
        for x in (1, 2):
            with pytest.raises(ValueError, match=f"{x} is refused"):
                call(x)


def test_an_error_that_cannot_be_pickled_is_sent_as_text():
    with (
        processes.Processes(refuse_badly, 1) as call,
        pytest.raises(RuntimeError, match="NotPicklableError: 5 and 5"),
    ):
        call(5)


def test_a_process_that_dies_is_an_error_and_is_replaced():
    with processes.Processes(die, 1) as call:
        for _ in range(2):
            with pytest.raises(ChildProcessError, match="died with status -9"):
                call(None)


def test_a_process_that_takes_too_long_is_an_error_and_is_replaced():
    with processes.Processes(time.sleep, 1, seconds=3) as call:
        with pytest.raises(TimeoutError, match="more than 3 seconds"):
            call(100)
        assert call(0) is None


def test_a_busy_process_ends_with_the_others():
    ended = []

    def call(pool):
        with pytest.raises(ChildProcessError, match="died with status -9"):
            pool(60)
        ended.append(time.monotonic())

    with processes.Processes(time.sleep, 2) as pool:
        pool(0)
        thread = threading.Thread(target=call, args=[pool])
        thread.start()
        time.sleep(0.3)
    thread.join(10)
    assert ended


def test_processes_end_with_the_program_that_started_them():
    code = (
        "import os; from kerasseg.system import processes;"
        "from tests.system import test_workers as t;"
        "call = processes.Processes(t.process_number, 1);"
        "print(call(None), flush=True); os.kill(os.getpid(), 9)"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    pid = int(child.stdout)
    deadline = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def is_running(pid):
    try:
        return "Z (zombie)" not in pathlib.Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_there_is_at_least_one_core():
    assert 1 <= processes.num_cores() <= os.cpu_count()


def children():
    """Returns the child processes of this one, zombies included."""
    lists = pathlib.Path("/proc/self/task").glob("*/children")
    return {int(pid) for each in lists for pid in each.read_text().split()}


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("at_once", [True, False])
def test_an_idle_worker_that_is_killed_fails_no_call_and_leaves_no_zombie(at_once):
    with processes.Processes(process_number, 1) as call:
        for _ in range(3):
            pid = call(None)
            os.kill(pid, signal.SIGKILL)
            if not at_once:
                wait_until(lambda pid=pid: pid not in children())
            assert call(None) != pid
            wait_until(lambda pid=pid: pid not in children())


def test_spare_workers_replace_those_that_die():
    with processes.Processes(process_number, 2, num_spares=1) as call:
        call.start()
        assert call.num_workers == 3
        for _ in range(3):
            pid = call(None)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: pid not in children() and call.num_workers == 3)
        call(None)
    assert call.num_workers == 0


def test_workers_that_cannot_start_are_not_replaced_forever(monkeypatch):
    monkeypatch.setattr(processes, "_PROGRAM", "raise SystemExit(3)")
    with processes.Processes(double, 1, num_spares=1) as call:
        call.start()
        for _ in range(2):
            with pytest.raises(processes.WorkerDiedError, match=r"status -?[39]"):
                call(1)
        time.sleep(0.5)
        assert call.num_workers == 0


def stop(_):
    os.kill(os.getpid(), signal.SIGSTOP)


# Large arguments fill the pipe.
@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 10**7])
def test_a_worker_that_is_stopped_blocks_no_call_for_longer_than_its_time(size):
    with processes.Processes(process_number, 1, seconds=3) as call:
        pid = call(None)
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="more than 3 seconds"):
            call(bytes(size))
        assert time.monotonic() - began < 6
        assert call(None) != pid


def test_a_worker_that_stops_during_a_call_is_replaced():
    with processes.Processes(stop, 1, seconds=2) as call:
        for _ in range(2):
            with pytest.raises(TimeoutError, match="more than 2 seconds"):
                call(None)


def complain(x):
    os.write(2, b"libpng warning\n" * x)
    return x


def test_the_output_of_workers_can_be_counted_instead_of_copied(capfd):
    parts = []
    with processes.Processes(complain, 1, on_output=parts.append) as call:
        assert call(20_000) == 20_000
        wait_until(lambda: b"".join(parts).count(b"\n") == 20_000)
    assert not capfd.readouterr().err
