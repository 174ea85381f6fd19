"""Odd folders, lists and class files: a report or one line, and nothing is lost.

`-m slow` draws for minutes.
"""

import json
import os
import pathlib
import re
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerasseg import errors, records
from kerasseg.inference import inputs
from tests.fuzz import folders
from tests.support import commands, remedies
from tfrecords_tools import build, inspect
from tfrecords_tools.converters import class_lists, list_files, matching

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[*HealthCheck])
MANY = settings(FEW, max_examples=1500)


@pytest.fixture(autouse=True)
def back(monkeypatch):
    """Runs in a folder of the example; returns to the folder of the tests."""
    monkeypatch.chdir(os.getcwd())


def in_new_folder(function):
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            function(pathlib.Path("."))
        finally:
            os.chdir("/")


def run(capsys, main, arguments):
    capsys.readouterr()
    status = commands.run(main, *arguments)
    texts = capsys.readouterr()
    assert status in (0, 2), (arguments, texts.err)
    assert "Traceback" not in texts.err
    return status, texts.out + texts.err


def visible(folder):
    """Real paths of the files of a folder and those linked to it, without hidden."""
    found, todo = set(), [os.path.realpath(folder)]
    visited = set()
    while todo:
        parent = todo.pop()
        if parent in visited:
            continue
        visited.add(parent)
        for entry in os.scandir(parent):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                todo.append(os.path.realpath(entry.path))
            else:
                found.add(entry.path)
    return found


def real(paths):
    """Returns the paths of files without links to folders, sorted."""
    folders_, names = zip(*map(os.path.split, paths), strict=True)
    return sorted(map(os.path.join, map(os.path.realpath, folders_), names))


def check_folder(capsys, files, linked):
    def check(root):
        folders.write(root, files, linked)
        check_counts()
        given = ["--images=i", "--masks=m", "--classes=a,b"]
        status, text = run(capsys, inspect.main, given)
        for _, words in remedies.commands(text):
            built, output = run(capsys, build.main, [*words, "--workers=1"])
            assert built == 0, (words, output)
            check_records(text)
        if status == 0:
            assert "Build with" in text

    in_new_folder(check)


def check_counts():
    """All files are found, named as passed over, or have the name of another."""
    for folder in ("i", "m"):
        try:
            found = matching.find(folder, "images")
        except errors.MissingFileError:
            continue
        paths = [*found.paths.values(), *found.duplicates, *found.passed_over]
        assert len(paths) == len({*map(os.path.abspath, paths)})
        assert real(paths) == sorted(visible(folder))


def check_records(text):
    """The records hold the pairs that the doctor counted and did not leave out."""
    info = json.loads(pathlib.Path("DIR/dataset.json").read_text())
    built = sum(len(records.open_split("DIR", split)) for split in info["splits"])
    (counted,) = re.findall(r"^([\d,]+) pairs?", text, re.M)
    assert built <= int(counted)
    left_out = sum(map(len, re.findall(r"--leave_out: (.*)", text)))
    assert built == int(counted) or left_out
    shutil.rmtree("DIR")


@FEW
@given(files=folders.trees(), linked=folders.links())
def test_odd_folders_give_a_report_and_lose_nothing(capsys, files, linked):
    check_folder(capsys, files, linked)


@pytest.mark.slow
@MANY
@given(files=folders.trees(), linked=folders.links())
def test_many_odd_folders_give_a_report_and_lose_nothing(capsys, files, linked):
    check_folder(capsys, files, linked)


@settings(FEW, max_examples=200)
@given(files=folders.trees(), linked=folders.links())
def test_predict_finds_or_names_every_file_of_an_odd_folder(files, linked):
    def check(root):
        folders.write(root, files, linked)
        try:
            found = [str(path) for path in inputs.find_images("i", "out").values()]
        except errors.UserError:
            return
        passed_over = inputs.find_passed_over("i", "out")
        assert real([*found, *passed_over]) == sorted(visible("i"))

    in_new_folder(check)


def check_classes(text, suffix):
    """Every name of a class that is read is in the text; all others are errors."""

    def check(root):
        path = root / f"classes{suffix}"
        path.write_text(text, newline="")
        for read in (
            lambda: class_lists.read_classes(str(path)),
            lambda: class_lists.read_colormap(str(path), None, {})[1],
        ):
            try:
                classes = read()
            except errors.UserError as error:
                assert str(path) in str(error)
                continue
            lines = [line for line in text.splitlines() if line.strip()]
            assert 2 <= len(classes.names) <= len(lines)
            for name in classes.names:
                assert name in text
                # No part of a color or a header became a part of a name.
                assert not re.search(r"\d+\W+\d+\W+\d+", name), (name, text)
            assert len({*classes.names}) == len(classes.names)

    in_new_folder(check)


@settings(FEW, max_examples=300)
@given(text=folders.class_files(), suffix=st.sampled_from([".txt", ".csv"]))
def test_class_files_are_read_or_refused(text, suffix):
    check_classes(text, suffix)


@settings(FEW, max_examples=200)
@given(text=st.text("ab1,:#\n\t []{}\"'-", max_size=40))
def test_any_text_as_a_class_file_is_read_or_refused(text):
    check_classes(text, ".txt")


@pytest.mark.slow
@settings(MANY, max_examples=20_000)
@given(text=folders.class_files(), suffix=st.sampled_from([".txt", ".csv", ".json"]))
def test_many_class_files_are_read_or_refused(text, suffix):
    check_classes(text, suffix)


NAMES = st.lists(folders.STEMS, min_size=1, max_size=5, unique=True)


@settings(FEW, max_examples=300)
@given(names=NAMES, data=st.data())
def test_lists_of_images_are_read_or_refused(names, data):
    keys = [("", name) for name in names]
    match = matching.Match(
        {key: f"/d/i/{key[1]}.jpg" for key in keys},
        {key: f"/d/m/{key[1]}.png" for key in keys},
    )
    text = data.draw(folders.list_files(names))

    def check(root):
        (root / "train.txt").write_text(text)
        try:
            listed = list_files.read("train.txt", match)
        except errors.UserError as error:
            assert "train.txt" in str(error)
            return
        lines = [line for line in text.splitlines() if line.strip()]
        assert {*listed} <= {*keys} and 1 <= len(listed) <= len(lines)

    in_new_folder(check)
