"""The code of docs/python_training.md runs, from its first line to its last."""

import pathlib
import re

import numpy as np
import pytest

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "python_training.md"
SHORTER = {
    "num_drawn=40": "num_drawn=6",
    "training_number_of_steps=500": "training_number_of_steps=1",
    "training_number_of_steps=100": "training_number_of_steps=2, warmup_steps=0",
    "eval_interval_steps=50": "eval_interval_steps=1",
    "num_steps=100": "num_steps=10",
}


@pytest.mark.slow
def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(
        re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    )
    for long, short in SHORTER.items():
        assert long in code
        code = code.replace(long, short)
    known: dict = {}
    exec(compile(code, str(PAGE), "exec"), known)
    assert np.asarray(known["mask"]).shape == known["data"][0][1].shape
    assert known["masks"].shape == (4, 96, 96)
    assert 0 < known["result"].suggestion < 1
    for name in ("run", "quickstart", "own_network"):
        assert (tmp_path / name / "best" / "model.keras").exists()
    assert (tmp_path / "learning_rate.png").exists()
