"""Row 20 of facts/reliability.md: a disk or network that stalls."""

import os
import threading
import time

import pytest

from kerasseg import records
from kerasseg.records import watch
from tests import tiny


@pytest.fixture(autouse=True)
def short_patience(monkeypatch):
    monkeypatch.setattr(watch, "SECONDS", 0.2)
    monkeypatch.setattr(watch, "_watch", watch._Watch())


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def test_a_read_that_stalls_names_its_file_again_and_again(
    tmp_path, monkeypatch, caplog
):
    split = records.open_split(tiny.write_records(tmp_path), "val")
    real, goes_on = os.pread, threading.Event()

    def stall(*arguments):
        goes_on.wait(60)
        return real(*arguments)

    monkeypatch.setattr(os, "pread", stall)
    reader = threading.Thread(target=split.read, args=(3,))
    reader.start()
    wait_for(lambda: len(caplog.messages) >= 2)
    goes_on.set()
    reader.join()
    # Record 3 of 0, 2, 4 | 1, 3 is in the second file.
    text = "Nothing has come of val-00001-of-00002.tfrecord for "
    assert all(message.startswith(text) for message in caplog.messages)
    assert "is its disk or network there?" in caplog.text


def test_opening_a_file_that_never_answers_is_told(tmp_path, caplog):
    tiny.write_records(tmp_path)
    path = tmp_path / records.shard_name("train", 1, 2)
    path.unlink()
    os.mkfifo(path)  # Whoever opens it waits for somebody who writes.
    opener = threading.Thread(target=records.scan_shard, args=(path,))
    opener.start()
    wait_for(lambda: caplog.messages)
    os.close(os.open(path, os.O_WRONLY))
    opener.join()
    assert f"Nothing has come of {path} for " in caplog.text


def test_reading_on_time_says_nothing_and_leaves_no_thread(tmp_path, caplog):
    split = records.open_split(tiny.write_records(tmp_path), "train")
    for i in range(len(split)):
        split.read(i)
    assert watch._watch.thread is not None
    wait_for(lambda: watch._watch.thread is None)
    split.read(0)  # And it starts again.
    assert watch._watch.thread is not None
    assert not caplog.messages


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_watches_for_itself(tmp_path):
    split = records.open_split(tiny.write_records(tmp_path), "train")
    child = os.fork()
    if not child:
        split.read(0)
        alive = watch._watch.thread is not None and watch._watch.thread.is_alive()
        os._exit(0 if alive else 1)
    assert os.waitpid(child, 0)[1] == 0
