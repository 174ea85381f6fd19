"""The data doctor with files that break decoders, and with odd names."""

import io
import os
import pathlib
import re
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kerasseg import datasets, images, records
from tests.support import commands, odd_scans, trees
from tfrecords_tools import build, inspect
from tfrecords_tools.converters import splitting
from tfrecords_tools.doctor import scanning, splits, survey
from tfrecords_tools.writing import tasks

FLAGS = ["--images=i", "--masks=m", "--classes=a,b,c", "--val_fraction=0"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(*names):
    """Writes an image and a mask of each name, which may have any bytes."""
    for number, name in enumerate(names):
        for folder, pixels in (
            ("i", trees.image(number)),
            ("m", trees.label(number, 3)),
        ):
            trees.save(pathlib.Path("plain.png"), pixels)
            os.makedirs(folder, exist_ok=True)
            os.replace("plain.png", os.path.join(folder, f"{name}.png"))


def examined(capsys):
    """Returns the exit status, the report, and the flags of the printed command."""
    capsys.readouterr()
    status = commands.run(inspect.main, *FLAGS)
    texts = capsys.readouterr()
    assert "Traceback" not in texts.err
    command = re.search(r"Build with\n\n((?:.+\\\n)*.+)\n", texts.out)
    words = shlex.split(command[1].replace("\\\n", "")) if command else []
    return status, " ".join(texts.out.split()), words[3:-1]


def built(words, capsys):
    """Builds; returns the names in the records."""
    status = commands.run(build.main, *words, "--records_dir=r", "--workers=1")
    assert status == 0, capsys.readouterr().err
    split = records.open_split("r", "train", deep=True)
    return {records.parse_example(split.read(i))["name"] for i in range(len(split))}


def test_files_that_break_their_process_cost_one_pair_each(monkeypatch, capsys):
    # One second of processor time and 3.6 GB; np.ones would take 8 TB.
    monkeypatch.setattr(tasks, "_BASE_SECONDS", 1.0)
    monkeypatch.setattr(tasks, "_SECONDS_PER_PIXEL", 0.0)
    monkeypatch.setattr(scanning, "scan", odd_scans.scan)
    write("a", "b", "busy", "c", "d", "deadly", "hungry")
    status, report, words = examined(capsys)
    assert status == 2 and "4 pairs: train 4." in report
    assert "Pairs that cannot be read: 3, for example: i/busy.png: it cra" in report
    assert "took more than 1 seconds of processor time" in report
    assert all(f"i/{name}.png" in report for name in ("busy", "deadly", "hungry"))
    assert built(words, capsys) == {"a", "b", "c", "d"}


def test_records_that_break_their_process_are_bad(monkeypatch):
    monkeypatch.setattr(splits, "read_label", odd_scans.read_label)
    names = ["a", "deadly", "b"]
    reader = splits.SplitReader(
        datasets.get("shapes"), "train", 3, names.__getitem__, str, names.__getitem__
    )
    found = survey.survey(reader)
    (fault,) = found.faults
    assert fault.startswith("deadly: it crashed the process that read it")
    assert found.sizes == {(4, 5): 2}


ODD_NAMES = [
    "line\nfeed",
    os.fsdecode(b"caf\xe9"),
    " space ",
    "#hash",
    "\u2028",
    "a\\n",
]


@pytest.mark.parametrize("is_bad", [False, True])
def test_odd_names_are_examined_and_left_out(capsys, is_bad):
    good = [f"good{i}" for i in range(len(ODD_NAMES) + 2)]
    write(*good, *ODD_NAMES)
    if is_bad:
        for name in ODD_NAMES:
            pathlib.Path("i", f"{name}.png").write_bytes(b"no image")
    status, report, words = examined(capsys)
    assert status == (2 if is_bad else 0), report
    expected = {*good}
    if is_bad:
        assert f"Pairs that cannot be read: {len(ODD_NAMES)}" in report
    else:
        expected |= {
            name.encode(errors="surrogateescape").decode(errors="backslashreplace")
            for name in ODD_NAMES
        }
    assert built(words, capsys) == expected


@settings(max_examples=300, deadline=None)
@given(st.text("ab #\\\n\t:\u2028\udce9\x1b", min_size=1, max_size=8))
def test_any_name_can_be_a_line_of_leave_out(name):
    path = pathlib.Path("leave_out.txt")
    path.write_text(f"{splitting.as_line(f'train:{name}')} # why\n", "utf-8")
    left_out = splitting.read_leave_out(path)
    assert splitting.is_left_out(left_out, "train", name)
    assert not splitting.is_left_out(left_out, "train", f"{name}x")
    assert not splitting.is_left_out(left_out, "val", name)


@pytest.mark.parametrize("width", [100_000, 1_000_001, 2_000_000])
@pytest.mark.parametrize("shape", ["row", "column"])
def test_sides_that_opencv_refuses_are_errors_of_the_image(width, shape):
    size = (width, 1) if shape == "row" else (1, width)
    file = io.BytesIO()
    Image.new("L", size).save(file, "PNG")
    if width <= 1_000_000:  # libpng's limit as OpenCV uses it.
        assert images.read_image(file.getvalue()).shape == (*size[::-1], 3)
        return
    with pytest.raises(images.ImageError, match=r"^long"):
        images.read_image(file.getvalue(), name="long")
