"""The notebooks run from the first cell to the last, in an empty folder."""

import json
import pathlib
import resource

import pytest

from kerasseg.system import packaged

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
MAX_CPU_SECONDS = 2 * 180  # Three minutes on two cores.


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert cells[0]["source"][0].startswith("# ") and len(code) > 4
    assert all(not c["outputs"] and c["execution_count"] is None for c in code)
    assert path.stat().st_size < 20_000


def test_each_notebook_is_on_the_page():
    page = (packaged.pages()["notebooks"]).read_text("utf-8")
    assert all(f"](../notebooks/{path.name})" in page for path in NOTEBOOKS)
    assert len(NOTEBOOKS) == 3


def cpu_seconds():
    """Returns the processor time of the kernels that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    before = cpu_seconds()
    client.NotebookClient(
        notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert cpu_seconds() - before < MAX_CPU_SECONDS
    errors = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "error"
    ]
    assert errors == []
