"""Which results of an earlier prediction are kept: the journal of a folder."""

import json
import os
import threading

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from kerasseg import inference
from kerasseg.inference import outputs, resuming
from kerasseg.system import files, lock
from tests.support import levels, tiny

KINDS = ("index", "overlay")
SETTINGS = {"scales": (1.0,)}


@pytest.fixture
def folder(tmp_path):
    """An image, and its results in a claimed folder."""
    (tmp_path / "a.png").write_bytes(tiny.png(levels.IMAGE))
    resuming.claim(tmp_path / "out", SETTINGS, overwrite=False)
    for kind in KINDS:
        path = tmp_path / "out" / kind / "a.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(kind.encode())
    return tmp_path


def journal(folder, *, done=True):
    """Opens the journal; with an entry for the image if it is done."""
    opened = resuming.Journal(folder / "out")
    if done:
        path = folder / "a.png"
        opened.add("a", path, resuming.source(path), KINDS)
    return opened


def is_done(folder, kinds=KINDS):
    return resuming.Journal(folder / "out").is_done("a", folder / "a.png", kinds)


def test_results_in_the_journal_are_done(folder):
    assert not is_done(folder)
    journal(folder)
    assert is_done(folder)
    assert not is_done(folder, ("index", "color"))


@pytest.mark.parametrize("data", [b"", b"inde", b"indexx"])
def test_an_empty_or_changed_result_is_not_done(folder, data):
    journal(folder)
    (folder / "out/index/a.png").write_bytes(data)
    assert not is_done(folder)


def test_an_empty_result_never_counts_as_done(folder):
    (folder / "out/index/a.png").write_bytes(b"")
    journal(folder)
    assert not is_done(folder)
    (folder / "out/index/a.png").unlink()
    journal(folder)
    assert not is_done(folder)


def test_a_source_that_was_replaced_is_not_done(folder):
    journal(folder)
    # An older file of the same size, as `cp -p` makes it.
    os.utime(folder / "a.png", (1, 1))
    assert not is_done(folder)


def test_results_of_another_network_are_not_done(folder):
    journal(folder)
    resuming.claim(folder / "out", {"scales": (0.5,)}, overwrite=True)
    assert not is_done(folder)
    # Also where another program writes its settings between two images.
    opened = resuming.Journal(folder / "out")
    resuming.claim(folder / "out", SETTINGS, overwrite=True)
    opened.add("a", folder / "a.png", resuming.source(folder / "a.png"), KINDS)
    assert not is_done(folder)


def test_kinds_are_added(folder):
    journal(folder)
    (folder / "out/color").mkdir()
    (folder / "out/color/a.png").write_bytes(b"color")
    path = folder / "a.png"
    journal(folder, done=False).add("a", path, resuming.source(path), ("color",))
    assert is_done(folder, (*KINDS, "color"))


def test_a_folder_without_a_journal_is_adopted_once(folder):
    opened = journal(folder, done=False)
    opened.adopt({"a": folder / "a.png"}, ("index",))
    assert is_done(folder, ("index",))
    assert not is_done(folder, ("overlay",))
    journal(folder, done=False).adopt({"a": folder / "a.png"}, KINDS)
    assert not is_done(folder, ("overlay",))


def test_an_empty_result_is_not_adopted(folder):
    (folder / "out/index/a.png").write_bytes(b"")
    assert not resuming.is_done(folder / "out", "a", folder / "a.png", KINDS)
    journal(folder, done=False).adopt({"a": folder / "a.png"}, KINDS)
    assert not is_done(folder)


LINES = st.one_of(
    st.binary(max_size=30),
    st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5).map(
        lambda value: json.dumps(value).encode()
    ),
    st.fixed_dictionaries(
        {"name": st.just("a") | st.lists(st.none()), "results": st.none() | st.text()}
    ).map(lambda entry: json.dumps(entry).encode()),
    st.just(b"[" * 100_000),
)


@hypothesis.settings(
    max_examples=50,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(before=LINES, cut=st.integers(0, 400))
def test_a_damaged_journal_loses_only_its_damaged_lines(folder, before, cut):
    path = folder / "out/.predict.jsonl"
    path.write_bytes(before)
    journal(folder)
    assert is_done(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut - 1)])
    assert not is_done(folder)
    journal(folder)
    assert is_done(folder)


PARTIAL = {
    ".predict.json.tmp-1": True,
    "index/deep/.b.png.tmp-123456": True,
    "overlay/.two\nlines.png.tmp-7": True,
    "overlay/.0123456789abcdef.part.mp4": True,
    "index/deep/.0123456789abcdef.part/000001.png": True,
    # Not of this program, or of no killed process.
    "index/a.png.tmp-1": False,
    "index/.b.png.tmp-": False,
    "index/.0123.part.mp4": False,
    ".c/.d.png.tmp-5": False,
    "other/.d.png.tmp-5": False,
}


def write_partial(out):
    for name in PARTIAL:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"half")


def test_the_next_run_removes_what_a_killed_one_left(tmp_path):
    out = tmp_path / "out"
    write_partial(out)
    (tmp_path / "a.png").write_bytes(tiny.png(levels.IMAGE))
    workdir = levels.make_workdir(tmp_path / "run")
    job = inference.Job(workdir=str(workdir), output_dir=str(out))
    with lock.hold(out), pytest.raises(lock.LockedError):
        inference.run_job(job, {"a": tmp_path / "a.png"})
    assert all((out / name).exists() for name in PARTIAL)  # They may be in use.
    assert not inference.run_job(job, {"a": tmp_path / "a.png"}).failures
    for name, removed in PARTIAL.items():
        assert (out / name).exists() != removed, name
    assert not (out / "index/deep/.0123456789abcdef.part").exists()
    assert (out / "index/a.png").exists()


def test_the_names_of_partial_results_are_recognized(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "replace", lambda old, _: seen.append(old.name))
    for name in ("a.png", ".hidden.json", f"{'long' * 60}.png"):
        files.write_bytes(tmp_path / name, b"half")
    assert len(seen) == 3 and all(map(files.is_temporary, seen))
    for kind, path in outputs.video_paths(tmp_path, "v", outputs.KINDS).items():
        part = outputs.partial_path(path, "v", kind)
        part.parent.mkdir()
        part.write_bytes(b"half") if kind in outputs.MOVING else part.mkdir()
    outputs.remove_partial(tmp_path)
    kinds = sorted(tmp_path / kind for kind in outputs.KINDS)
    assert sorted(tmp_path.rglob("*")) == kinds


def test_two_predictions_never_write_into_one_folder(tmp_path):
    workdirs = [
        levels.make_workdir(
            tmp_path / f"run{i}", levels.build_model(3 + i, named=False)
        )
        for i in range(2)
    ]
    spec = json.loads((workdirs[1] / "dataset.json").read_text())
    spec["classes"].append({**spec["classes"][0], "name": "more"})
    (workdirs[1] / "dataset.json").write_text(json.dumps(spec))
    out = tmp_path / "out"
    (tmp_path / "a.png").write_bytes(tiny.png(levels.IMAGE))
    paths = {"a": tmp_path / "a.png"}
    jobs = [inference.Job(workdir=str(each), output_dir=str(out)) for each in workdirs]
    out.mkdir()
    with lock.hold(out), pytest.raises(lock.LockedError, match=f"{out} is locked by"):
        inference.run_job(jobs[0], paths)
    assert not (out / "index").exists()
    ended = []

    def run(job):
        try:
            ended.append(inference.run_job(job, paths, overwrite=False))
        except (lock.LockedError, ValueError) as error:
            ended.append(error)

    threads = [threading.Thread(target=run, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The second one meets the lock, or the settings of the first one.
    assert sum(isinstance(each, Exception) for each in ended) == 1
    assert np.unique([p.name for p in (out / "index").iterdir()]).tolist() == ["a.png"]
    first = next(job for job in jobs if not _is_refused(job, paths))
    assert inference.run_job(first, paths).resumed == 1


def _is_refused(job, paths):
    try:
        inference.run_job(job, paths)
    except ValueError:
        return True
    return False
