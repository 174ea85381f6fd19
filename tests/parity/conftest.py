"""Runs the tests of this folder in `make parity` only, and makes their table.

A test records each difference with `record_property(name, difference)`. If the
environment variable PARITY_TABLE is a Markdown file, a run in which all tests pass
replaces the table there.
"""

import importlib.util
import os
import pathlib
import re
import sys

import pytest

_FOLDER = pathlib.Path(__file__).parent
_TABLE = re.compile(r"(<!-- parity -->\n).*?(<!-- /parity -->)", re.DOTALL)
if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["*"]
# Triton, which torchvision and transformers import, crashes in a process with
# TensorFlow.
sys.modules.setdefault("triton", None)  # type: ignore[arg-type]


def pytest_collection_modifyitems(items):
    """Marks the tests, which need the extra `parity`."""
    for item in items:
        if item.path.is_relative_to(_FOLDER):
            item.add_marker(pytest.mark.parity)


def pytest_terminal_summary(terminalreporter, exitstatus):
    """Prints the largest difference of each network, or writes the table."""
    largest = {}
    for report in terminalreporter.stats.get("passed", ()):
        family = pathlib.Path(report.fspath).stem.removeprefix("test_")
        for name, difference in report.user_properties:
            key = family, name
            largest[key] = max(largest.get(key, 0.0), difference)
    if not largest:
        return
    lines = ["| library | network | largest difference |", "| --- | --- | ---: |"]
    for (family, name), difference in sorted(largest.items()):
        lines.append(f"| {family} | {name} | {difference:.0e} |")
    text = "\n".join(lines) + "\n"
    path = os.environ.get("PARITY_TABLE")
    if path is None:
        terminalreporter.write(text)
    elif exitstatus == 0:
        file = pathlib.Path(path)
        content = file.read_text("utf-8")
        new = _TABLE.sub(lambda match: match[1] + text + match[2], content)
        file.write_text(new, "utf-8")
