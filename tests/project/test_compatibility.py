"""docs/compatibility.md lists the frozen names, and the code has them."""

import importlib
import json
import os
import pathlib
import re

import pytest
from absl import flags

from kerasseg.exporting.formats import saved_model
from kerasseg.records import schema
from kerasseg.serve import metrics as server_metrics
from kerasseg.training import state
from kerasseg.workdir import layout

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "compatibility.md").read_text("utf-8")
NAMES = json.loads((ROOT / "tests" / "golden" / "names.json").read_text("utf-8"))


def section(title):
    return re.split(r"^## ", PAGE.partition(f"\n## {title}\n")[2], flags=re.M)[0]


def rows(title):
    """The first cell of each row of a section's table, without backticks."""
    cells = re.findall(r"^\| `([^`]+)` \|", section(title), re.M)
    assert cells
    return set(cells)


def constants(module):
    return {
        value
        for name, value in vars(module).items()
        if name.lstrip("_").isupper() and isinstance(value, str)
    }


def test_the_files_of_a_workdir_are_those_of_the_page():
    assert rows("Files of a workdir") == constants(layout)


def test_the_keys_of_records_are_those_of_the_page():
    keys = {value for value in constants(schema) if value.startswith("image/")}
    assert rows("Records") == keys


def test_the_variables_of_a_checkpoint_are_those_of_the_page():
    names = {*state.History().variables, *state.LossScale(enabled=False).variables}
    text = section("Checkpoints and model files")
    assert names <= set(re.findall(r"`([^`]+)`", text))


def test_the_metrics_of_the_server_are_those_of_the_page():
    admission = type("Admission", (), {"num_inside": 0})()
    metrics = server_metrics.Metrics(admission)
    metrics.watch_decoders(list)
    metrics.watch_log(int)
    found = {metric.name for metric in metrics._registry.collect()}
    assert found == rows("Server")


def test_the_files_of_an_export_are_those_of_the_page():
    assert os.path.join("assets", saved_model._CLASSES_FILE) in section("Exports")


def program(name):
    path = ROOT.joinpath(*name.split("."))
    return importlib.import_module(f"{name}.__main__" if path.is_dir() else name)


@pytest.mark.parametrize("name", sorted(NAMES["flags"]))
def test_every_flag_of_the_last_release_is_accepted(name):
    program(name)
    missing = [flag for flag in NAMES["flags"][name] if flag not in flags.FLAGS]
    assert not missing


@pytest.mark.parametrize("name", sorted(NAMES["flags"]))
def test_renamed_flags_are_those_of_the_page(name):
    module = program(name)
    known = flags.FLAGS
    table = re.findall(r"^\| `([^`]+)` \| `--(\w+)` \| `--(\w+)` \|", PAGE, re.M)
    renamed = {old: new for command, old, new in table if command == name}
    aliases = {
        old
        for old in NAMES["flags"][name]
        if type(known[old]).__name__ == "_FlagAlias"
        or known[old].help.startswith("Alias for --")
    }
    assert set(renamed) == aliases, module.__name__
    for old, new in renamed.items():
        assert known[old].help == f"Alias for --{new}."
