"""docs/datasets.md: every data set with its numbers, every fault with its tests."""

import pathlib
import re

import pytest

from kerasseg import datasets

ROOT = pathlib.Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "datasets.md").read_text()
SETS = re.findall(r"^\| `(\w+)` \| (\d+) \| (.*) \|$", TEXT, re.M)
ROWS = re.findall(r"^\| (\d+) \| (.*) \|$", TEXT, re.M)


def test_every_data_set_is_on_the_page_with_its_numbers():
    listed = [f"| `{name}` | {count} | {splits} |" for name, count, splits in SETS]
    expected = []
    for name in datasets.list_datasets():
        spec = datasets.get(name)
        counts = [f"{split} {count:,}" for split, count in spec.num_images.items()]
        expected.append(f"| `{name}` | {spec.num_classes} | {', '.join(counts)} |")
        assert f"--dataset={name} " in TEXT or name == "shapes", name
    assert listed == expected  # The rows to write in docs/datasets.md.


def test_every_fault_of_building_and_reading_has_a_row():
    assert [int(row) for row, _ in ROWS] == list(range(1, 21))


@pytest.mark.parametrize(("row", "text"), ROWS)
def test_every_row_names_tests_that_exist(row, text):
    links = re.findall(r"\[(test_\w+)\]\(\.\./(tests/test_\w+\.py)\)", text)
    assert links and text.count("](") == len(links), row
    for name, path in links:
        assert f"\ndef {name}(" in (ROOT / path).read_text(), name
