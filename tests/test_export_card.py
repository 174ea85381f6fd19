"""What is told of an export: metadata.json for programs, README.md for people."""

import json
import re
import shutil
import subprocess

import pytest

from kerasseg import exporting
from kerasseg.exporting import provenance
from kerasseg.workdir import layout, metadata
from tests import levels, served

EVALUATION = {
    **{"mean_iou": 0.625, "split": "v", "step": 7, "superpixels": None},
    **{"scales": [0.5, 1.0], "flip": True, "crf": {"iterations": 3}},
}


@pytest.fixture
def workdir(tmp_path):
    """A finished run that was evaluated too."""
    folder = levels.make_workdir(tmp_path / "run", output_stride=16)
    facts = metadata.read_metadata(folder) | {"scores": {"mean_iou": 0.51}}
    facts["options"]["backbone_weights"] = "imagenet"
    (folder / layout.BEST_METADATA).write_text(json.dumps(facts))
    (folder / "flags.txt").write_text("--model=levels\n--seed=3\n")
    (folder / "metrics.json").write_text(json.dumps(EVALUATION))
    return folder


def test_metadata_tell_all_that_is_known(workdir, tmp_path):
    facts = exporting.describe(workdir, weights_license="CC-BY-4.0")
    found = exporting.read_metadata(served.export(tmp_path / "out", facts=facts))
    assert found["classes"][1] == {"name": "middle", "color": [255, 0, 0]}
    assert found["ignore_label"] == 255
    assert found["dataset"]["name"] == "stripes"
    assert found["dataset"]["source"] == "tests.tiny"
    assert found["scores"]["mean_iou"] == 0.51
    assert found["evaluation"] == EVALUATION
    assert found["flagfile"] == ["--model=levels", "--seed=3"]
    assert found["options"]["output_stride"] == 16
    assert found["license"] == "CC-BY-4.0"
    assert {"tensorflow", "keras", "commit"} <= set(found)


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_the_commit_is_that_of_the_code(tmp_path, monkeypatch):
    def git(*arguments):
        name = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *name, *arguments], check=True)

    code = tmp_path / "installed" / "provenance.py"
    code.parent.mkdir()
    code.touch()
    monkeypatch.setattr(provenance, "__file__", str(code))
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "of another project")
    assert provenance.commit() is None  # It only lies below that one.
    git("add", "installed")
    git("commit", "-q", "-m", "of this code")
    assert re.fullmatch("[0-9a-f]{40}", provenance.commit())

    def no_git(*_, **options):  # noqa: ARG001 - as subprocess.run.
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert provenance.commit() is None


def test_a_run_that_was_only_trained_can_be_described(tmp_path):
    found = exporting.describe(levels.make_workdir(tmp_path / "run"))
    assert found["evaluation"] is found["flagfile"] is found["license"] is None


def test_scores_that_cannot_be_read_are_told(workdir):
    (workdir / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"metrics\.json is damaged .* Remove it, or"):
        exporting.describe(workdir)


def test_the_card_tells_it_in_words(workdir, tmp_path):
    facts = exporting.describe(workdir, weights_license="CC-BY-4.0")
    folder = served.export(tmp_path / "out", facts=facts)
    with open(f"{folder}/README.md", encoding="utf-8") as file:
        text = file.read()
    assert "- Trained on stripes" in text and "Source: tests.tiny" in text
    assert "Best validation: mean IoU 0.5100" in text
    how = "split v, step 7, scales [0.5, 1.0], flip, crf"  # Not how the export looks.
    assert f"- Evaluation ({how}): mean IoU 0.6250." in text
    assert "      --seed=3\n" in text
    assert "Licence of the weights: CC-BY-4.0." in text
    assert "started from pretrained weights\n(imagenet)" in text


def test_the_card_says_where_nobody_stated_a_licence(tmp_path):
    folder = served.export(tmp_path / "out")
    with open(f"{folder}/README.md", encoding="utf-8") as file:
        assert "Nobody stated a licence of the weights" in file.read()
