"""The matrix of docs/export.md: each cell is measured on an export."""

import pathlib
import re

import pytest

from tests.support import export_matrix

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "export.md"
ROWS = {
    name: cells.split(" | ")
    for name, cells in re.findall(
        r"^\| `(\w+)` \| (.* ms .*) \|$", PAGE.read_text(), re.M
    )
}
CELL = re.compile(r"(\de-\d\d|0e\+00), ([\d.]+) MB, (\d+) ms \(([\d.]+)\)")


def test_the_networks_of_the_page_have_a_flag_file():
    assert ROWS and set(ROWS) <= set(export_matrix.FLAGFILES)
    for cells in ROWS.values():
        assert len(cells) == 6
        assert all(cell == "no" or CELL.fullmatch(cell) for cell in cells)
        assert CELL.fullmatch(cells[0])[4] == "1.00"  # The Keras model itself.


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_row_is_as_on_the_page(name):
    row = export_matrix.row(name)
    print(export_matrix.text(name, row))  # Run with -s to replace the row.
    for shown, (form, cell) in zip(ROWS[name], row.items(), strict=True):
        assert cell["works"] == (shown != "no"), (form, cell)
        if cell["works"]:
            difference, megabytes = map(float, CELL.fullmatch(shown).groups()[:2])
            assert cell["difference"] <= max(10 * difference, 1e-5)
            assert cell["bytes"] / 1e6 == pytest.approx(megabytes, rel=0.02, abs=0.1)
            assert cell["seconds"] > 0
