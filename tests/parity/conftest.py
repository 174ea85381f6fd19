"""Runs the tests of this folder in `make parity` only."""

import importlib.util
import pathlib

import pytest

_FOLDER = pathlib.Path(__file__).parent
if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["*"]


def pytest_collection_modifyitems(items):
    """Marks the tests, which need the extra `parity`."""
    for item in items:
        if item.path.is_relative_to(_FOLDER):
            item.add_marker(pytest.mark.parity)
