"""A disk or network that stalls (docs/reliability.md)."""

import os
import threading
import time

import pytest

from kerasseg import records
from kerasseg.records import shards, watch
from tests.support import tiny


@pytest.fixture(autouse=True)
def short_timeout(monkeypatch):
    monkeypatch.setattr(watch, "SECONDS", 0.2)
    monkeypatch.setattr(watch, "_watch", watch._Watch())


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def test_a_read_that_stalls_is_reported_repeatedly(tmp_path, monkeypatch, caplog):
    split = records.open_split(tiny.write_records(tmp_path), "val")
    pread, resume = os.pread, threading.Event()

    def stall(*arguments):
        resume.wait(60)
        return pread(*arguments)

    monkeypatch.setattr(os, "pread", stall)
    reader = threading.Thread(target=split.read, args=(3,))
    reader.start()
    wait_for(lambda: len(caplog.messages) >= 2)
    resume.set()
    reader.join()
    # Record 3 of 0, 2, 4 | 1, 3 is in the second file.
    text = "Reading val-00001-of-00002.tfrecord has returned nothing for "
    assert all(message.startswith(text) for message in caplog.messages)
    assert "Check that its disk or network is available." in caplog.text


def test_opening_a_file_that_stalls_is_reported(tmp_path, monkeypatch, caplog):
    tiny.write_records(tmp_path)
    path = tmp_path / records.shard_name("train", 1, 2)
    resume = threading.Event()

    def stall(*arguments):
        resume.wait(60)
        return open(*arguments)

    monkeypatch.setattr(shards, "open", stall, raising=False)
    opener = threading.Thread(target=records.scan_shard, args=(path,))
    opener.start()
    wait_for(lambda: caplog.messages)
    resume.set()
    opener.join()
    assert f"Reading {path} has returned nothing for " in caplog.text


def test_reading_in_time_logs_nothing_and_leaves_no_thread(tmp_path, caplog):
    split = records.open_split(tiny.write_records(tmp_path), "train")
    for i in range(len(split)):
        split.read(i)
    assert watch._watch.thread is not None
    wait_for(lambda: watch._watch.thread is None)
    split.read(0)  # Starts it again.
    assert watch._watch.thread is not None
    assert not caplog.messages


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_has_its_own_watch(tmp_path):
    split = records.open_split(tiny.write_records(tmp_path), "train")
    child = os.fork()
    if not child:
        split.read(0)
        alive = watch._watch.thread is not None and watch._watch.thread.is_alive()
        os._exit(0 if alive else 1)
    assert os.waitpid(child, 0)[1] == 0
