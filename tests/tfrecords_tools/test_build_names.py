"""One odd file or name does not end a build, and no name is lost."""

import json
import os

import pytest

from kerasseg import records
from tests.support import commands, faults, trees
from tfrecords_tools import build

ODD_NAMES = [
    b"caf\xe9",
    "café".encode(),
    b"a" * 247,
    b"line\nfeed",
    b'it\'s "quoted"',
    b"100% {x}",
    b"-dash",
]
FLAGS = ["--dataset=folder", "--images=images", "--masks=masks", "--val_fraction=0"]
FLAGS += ["--classes=a,b,c", "--records_dir=r"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ODD_NAMES:
        name = os.fsdecode(name) + ".png"
        trees.save(tmp_path / "plain.png", trees.image(1))
        for kind, pixels in (("images", trees.image(1)), ("masks", trees.label(1, 3))):
            (tmp_path / kind).mkdir(exist_ok=True)
            trees.save(tmp_path / "plain.png", pixels)
            os.replace(tmp_path / "plain.png", tmp_path / kind / name)
    return tmp_path


def test_odd_names_are_built_and_kept(here, capsys):
    assert commands.run(build.main, *FLAGS) == 0, capsys.readouterr().err
    assert f"train: {len(ODD_NAMES)} records" in capsys.readouterr().out
    split = records.open_split(here / "r", "train", deep=True)
    names = {records.parse_example(split.read(i))["name"] for i in range(len(split))}
    expected = {name.decode("utf-8", "backslashreplace") for name in ODD_NAMES}
    assert names == expected


@pytest.mark.parametrize("skip", [True, False])
def test_bad_images_with_odd_names_are_named(here, skip):
    bad = os.fsdecode(b"caf\xe9")
    (here / "images" / f"{bad}.png").write_bytes(b"no image")
    more = ["--on_error=skip"] if skip else []
    done = faults.run(["-m", "tfrecords_tools.build", *FLAGS, *more], cwd=here)
    assert done.returncode == (0 if skip else 2), done.stderr
    assert "Traceback" not in done.stderr
    if skip:
        (line,) = (here / "r/rejected.jsonl").read_text().splitlines()
        assert os.fsencode(json.loads(line)["image"]) == b"images/caf\xe9.png"
        assert f"train: {len(ODD_NAMES) - 1} records" in done.stdout
        assert "1 bad pair was skipped" in done.stdout
    else:
        assert r"pair 'caf\udce9' is bad" in done.stderr


def test_a_folder_whose_name_is_not_utf_8_is_printed(here):
    flags = [*FLAGS[:-1], os.fsdecode(b"--records_dir=r\xe9")]
    done = faults.run(["-m", "tfrecords_tools.build", *flags], cwd=here)
    assert done.returncode == 0, done.stderr
    assert r"--records_dir='r\udce9'" in done.stdout


@pytest.mark.parametrize("kind", ["fifo", "zero", "folder", "gone"])
@pytest.mark.parametrize("part", ["train", "trainannot"])
def test_files_that_are_not_regular_are_bad_pairs(tmp_path, capsys, kind, part):
    root = trees.camvid(tmp_path / "CamVid", splits=[("train", 3)])
    path = root / part / "train_01.png"
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    flags = ["--dataset=camvid", f"--source_dir={root}", "--splits=train"]
    flags += [f"--records_dir={tmp_path / 'r'}", "--on_error=skip"]
    assert commands.run(build.main, *flags) == 0, capsys.readouterr().err
    assert "train: 2 records" in capsys.readouterr().out
    (line,) = (tmp_path / "r/rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["name"] == "train_01"
    expected = {"fifo": "named pipe", "zero": "a device", "folder": "a folder"}
    assert expected.get(kind, "No such file") in json.loads(line)["reason"]
