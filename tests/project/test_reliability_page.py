"""docs/reliability.md has a row for every failure, and the tests it names exist."""

import ast
import pathlib
import re

import pytest

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "reliability.md"
ROWS = dict(re.findall(r"^\| (\d+) \| (.*) \|$", PAGE.read_text(), re.M))


def slow_by_name(path):
    """Returns the tests of a file by name, and whether all cases of each are slow."""
    tree = ast.parse(path.read_text())
    file_is_slow = any("mark.slow" in ast.unparse(n) for n in tree.body if is_mark(n))
    return {
        node.name: file_is_slow or "pytest.mark.slow" in marks(node)
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def marks(node):
    return [ast.unparse(decorator) for decorator in node.decorator_list]


def is_mark(node):
    return isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node)


def test_every_failure_has_a_row():
    assert list(map(int, ROWS)) == [*range(1, 48), *range(87, 168)]


@pytest.mark.parametrize("row", ROWS)
def test_every_row_names_tests_that_exist(row):
    failure, behavior, cell = ROWS[row].split(" | ")
    assert failure and behavior
    links = re.findall(r"\[(test_\w+)\]\((\.\./tests/[\w/]+/test_\w+\.py)\)", cell)
    assert links, "no test checks this row"
    assert cell.count("](") == len(links)
    slow = cell.split("*slow*: ")[1].partition(";")[0] if "*slow*" in cell else ""
    for name, path in links:
        tests = slow_by_name((PAGE.parent / path).resolve())
        assert name in tests, f"{path} has no {name}"
        assert tests[name] == (f"[{name}]" in slow), f"{name}: is it slow?"
