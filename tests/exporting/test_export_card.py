"""The metadata of an export: metadata.json for programs, README.md for people."""

import json
import re
import shutil
import subprocess

import pytest

from kerasseg import exporting
from kerasseg.exporting import metadata
from kerasseg.workdir import layout
from kerasseg.workdir import metadata as run_metadata
from tests.support import levels, served

EVALUATION = {
    **{"mean_iou": 0.625, "split": "v", "step": 7, "superpixels": None},
    **{"scales": [0.5, 1.0], "flip": True, "crf": {"iterations": 3}},
}


@pytest.fixture
def workdir(tmp_path):
    """A finished run that was also evaluated."""
    folder = levels.make_workdir(tmp_path / "run", output_stride=16)
    facts = run_metadata.read_metadata(folder) | {"scores": {"mean_iou": 0.51}}
    facts["options"]["backbone_weights"] = "imagenet"
    (folder / layout.BEST_METADATA).write_text(json.dumps(facts))
    (folder / "flags.txt").write_text("--model=levels\n--seed=3\n")
    (folder / "metrics.json").write_text(json.dumps(EVALUATION))
    return folder


def test_the_metadata_are_complete(workdir, tmp_path):
    description = exporting.describe(workdir, weights_license="CC-BY-4.0")
    actual = exporting.read_metadata(
        served.export(tmp_path / "out", description=description)
    )
    assert actual["classes"][1] == {"name": "middle", "color": [255, 0, 0]}
    assert actual["ignore_label"] == 255
    assert actual["dataset"]["name"] == "stripes"
    assert actual["dataset"]["source"] == "tests.support.tiny"
    assert actual["scores"]["mean_iou"] == 0.51
    assert actual["evaluation"] == EVALUATION
    assert actual["flagfile"] == ["--model=levels", "--seed=3"]
    assert actual["options"]["output_stride"] == 16
    assert actual["license"] == "CC-BY-4.0"
    assert {"tensorflow", "keras", "commit"} <= set(actual)


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_the_commit_is_that_of_kerasseg(tmp_path, monkeypatch):
    def git(*arguments):
        name = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *name, *arguments], check=True)

    code = tmp_path / "installed" / "metadata.py"
    code.parent.mkdir()
    code.touch()
    monkeypatch.setattr(metadata, "__file__", str(code))
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "of another project")
    assert metadata.commit() is None  # It is only inside that repository.
    git("add", "installed")
    git("commit", "-q", "-m", "of this code")
    assert re.fullmatch("[0-9a-f]{40}", metadata.commit())

    def no_git(*_, **options):  # noqa: ARG001 - like subprocess.run.
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert metadata.commit() is None


def test_a_run_that_was_only_trained_can_be_described(tmp_path):
    actual = exporting.describe(levels.make_workdir(tmp_path / "run"))
    assert actual["evaluation"] is actual["flagfile"] is actual["license"] is None


def test_damaged_scores_are_an_error(workdir):
    (workdir / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"metrics\.json is damaged .* Remove it, or"):
        exporting.describe(workdir)


def test_the_card_describes_the_metadata(workdir, tmp_path):
    description = exporting.describe(workdir, weights_license="CC-BY-4.0")
    folder = served.export(tmp_path / "out", description=description)
    with open(f"{folder}/README.md", encoding="utf-8") as file:
        text = file.read()
    assert "- Trained on stripes" in text and "Source: tests.support.tiny" in text
    assert "Best validation: mean IoU 0.5100" in text
    # The settings of the evaluation, not of the export.
    how = "split v, step 7, scales [0.5, 1.0], flip, crf"
    assert f"- Evaluation ({how}): mean IoU 0.6250." in text
    assert "      --seed=3\n" in text
    assert "License of the weights: CC-BY-4.0." in text
    assert "initialized with pretrained weights (imagenet)" in " ".join(text.split())


def test_the_card_says_that_the_license_is_unknown(tmp_path):
    folder = served.export(tmp_path / "out")
    with open(f"{folder}/README.md", encoding="utf-8") as file:
        assert "The license of the weights is not stated" in file.read()
