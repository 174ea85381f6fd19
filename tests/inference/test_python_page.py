"""The code of docs/python.md runs, in the order of the page."""

import pathlib
import re

import numpy as np
import pytest

from kerasseg import images
from tests.evaluation import test_evaluate as runs
from tests.support import levels, tiny

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
STARTS_A_PROCESS = "segmenter.export("


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run and the images of the page, in the current folder."""
    records_dir = runs.write_records(tmp_path / "records", runs.IMAGES)
    workdir = levels.make_workdir(tmp_path / "run")
    (workdir / "flags.txt").write_text(f"--records_dir={records_dir}\n")
    (tmp_path / "street.png").write_bytes(tiny.png(levels.IMAGE))
    label = np.array(levels.CLASSES, np.uint8)
    (tmp_path / "street_label.png").write_bytes(images.encode_label(label))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(tiny.png(levels.IMAGE))
    (tmp_path / "photos" / "b.png").write_bytes(b"damaged")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(blocks):
    names: dict = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    return names


def test_the_code_of_the_page_runs(folder, capsys):
    blocks = [block for block in BLOCKS if STARTS_A_PROCESS not in block]
    assert len(blocks) == len(BLOCKS) - 1
    run(blocks)
    output = capsys.readouterr().out
    assert "<Segmenter levels, 3 classes: left, middle, right>\n<Segmentation" in output
    assert "skipped: photos/b.png" in output and "1 predicted, 1 failed" in output
    assert (folder / "photos" / "a.png.mask.png").exists()
    assert (folder / "report.html").exists()
    assert "\n1.0\n" in output  # All pixels of street.png are correct.
    assert output.endswith("\nlayers/conv2d/vars/1 (3,) float32\n")


@pytest.mark.slow  # Starts a process that loads the export.
def test_the_export_of_the_page_runs(folder, capsys):
    run([BLOCKS[0], next(block for block in BLOCKS if STARTS_A_PROCESS in block)])
    assert (folder / "export" / "1" / "model.keras").exists()
    assert "export/1 <Segmenter levels" in capsys.readouterr().out
