"""Building records in a pipeline of Apache Beam."""

import functools
import importlib.util
import json
import sys

import pytest

from tests.support import faults, trees
from tfrecords_tools.converters import pairs
from tfrecords_tools.writing import beam_engine, planning, quarantine, tasks, writer

needs_beam = pytest.mark.skipif(
    not importlib.util.find_spec("apache_beam"), reason="needs kerasseg[beam]"
)
PROCESSES = "--direct_running_mode=multi_processing --direct_num_workers=2"


@pytest.fixture
def source(tmp_path):
    return pairs.Source(trees.camvid(tmp_path / "CamVid", splits=[("train", 7)]))


@pytest.fixture(autouse=True)
def two_images_per_file(monkeypatch):
    monkeypatch.setattr(planning, "SHARD_IMAGES", 2)


def build(source, folder, **options):
    return writer.build_records("camvid", source, folder, splits=["train"], **options)


def contents(folder):
    names = {"shards.jsonl"}  # In the order in which files were finished.
    return {x.name: x.read_bytes() for x in folder.iterdir() if x.name not in names}


def direct(options=""):
    return functools.partial(
        beam_engine.run, options=f"--runner=DirectRunner {options}"
    )


@needs_beam
def test_the_bytes_are_those_of_one_process_and_of_two(source, tmp_path):
    build(source, tmp_path / "one")
    two = functools.partial(quarantine.run, num_workers=2)
    build(source, tmp_path / "two", engine=two)
    result = build(source, tmp_path / "beam", engine=direct())
    assert result.num_records == {"train": 7} and result.num_kept == 0
    assert len(contents(tmp_path / "one")) == 4 + 1
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "beam")
    assert build(source, tmp_path / "beam", engine=direct()).num_kept == 7


@needs_beam
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_bytes_are_those_of_beams_own_processes(source, tmp_path):
    build(source, tmp_path / "one")
    build(source, tmp_path / "beam", engine=direct(PROCESSES))
    assert contents(tmp_path / "one") == contents(tmp_path / "beam")


@needs_beam
def test_a_bad_pair_stops_it_or_is_skipped_as_without_beam(source, tmp_path):
    (source.source_dir / "train/train_03.png").write_bytes(b"")
    with pytest.raises(planning.BuildError, match=r"pair 'train_03' is bad: .*empty"):
        build(source, tmp_path / "beam", engine=direct())
    build(source, tmp_path / "beam", engine=direct(), skip_bad=True)
    build(source, tmp_path / "one", skip_bad=True)
    assert contents(tmp_path / "one") == contents(tmp_path / "beam")
    assert "train_03" in (tmp_path / "beam" / writer.REJECTED_FILE).read_text()


@needs_beam
def test_an_image_that_crashes_its_reader_is_skipped_after_two_tries(source, tmp_path):
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    done = faults.run(
        [
            *("-m", "tests.support.build_deadly", "--dataset=camvid", "--splits=train"),
            *(f"--source_dir={source.source_dir}", f"--records_dir={tmp_path}/beam"),
            *("--on_error=skip", "--engine=beam"),
            "--beam_options=--runner=DirectRunner",
        ],
        env={
            **faults.ENVIRONMENT,
            "KERASSEG_TEST_DEATHS": str(deaths),
            "KERASSEG_TEST_DEADLY": "train_01",
        },
    )
    assert done.returncode == 0, done.stderr
    assert (deaths / "train_01").read_text() == "xx"
    (line,) = (tmp_path / "beam" / writer.REJECTED_FILE).read_text().splitlines()
    assert json.loads(line)["name"] == "train_01"
    assert not [path for path in (tmp_path / "beam").iterdir() if path.name[0] == "."]


@needs_beam
def test_it_resumes_after_a_kill(source, tmp_path):
    build(source, tmp_path / "one")
    folder = tmp_path / "beam"
    build(source, folder, engine=direct())
    # As after a kill: the journal has two files, a note is left, others are missing.
    lines = (folder / "shards.jsonl").read_text().splitlines(keepends=True)
    (folder / "shards.jsonl").write_text("".join(lines[:3]))
    (folder / "dataset.json").unlink()
    (folder / ".notes-x").mkdir()
    (folder / ".notes-x/train.json").write_text("{}")
    kept = [json.loads(line)["shard"]["records"] for line in lines[1:3]]
    assert build(source, folder, engine=direct()).num_kept == sum(kept)
    assert contents(tmp_path / "one") == contents(folder)


class Ended:
    """A pipeline that ended."""

    def has_ended(self, _):
        return True


def task(tmp_path):
    path = tmp_path / "train-00000-of-00001.tfrecord"
    return tasks.Task(None, "train", path, (), {}, None, False)


def test_workers_that_do_not_see_the_folder_are_an_error(tmp_path):
    with pytest.raises(planning.BuildError, match=r"without 1 of its files.*share"):
        list(beam_engine._results(Ended(), tmp_path / "notes", [task(tmp_path)], None))


def test_without_beam_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ImportError, match=r"pip install 'kerasseg\[beam\]"):
        list(beam_engine.run([task(tmp_path)], advance=None))
