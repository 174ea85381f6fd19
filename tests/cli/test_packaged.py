"""Recipes and pages of the installed package: found, listed, copied, printed."""

import pathlib

import pytest
from absl import app

from kerasseg import errors
from kerasseg.cli import docs, flagfiles, recipes
from kerasseg.system import packaged
from tests.support import commands, faults

QUICKSTART = faults.ROOT / "experiments/shapes/quickstart.flags"
NAMES = ["camvid/unet", "camvid/segnet", "shapes/unet"]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines_of(path):
    lines = map(str.strip, path.read_text("utf-8").splitlines())
    return [line for line in lines if line.startswith("--")]


@pytest.mark.parametrize(
    "given",
    [
        ["--flagfile=experiments/shapes/quickstart.flags"],
        ["--flagfile", "experiments/shapes/quickstart.flags"],
        ["--recipe=shapes/quickstart"],
        ["--recipe", "shapes/quickstart"],
        ["--recipe=experiments/shapes/quickstart.flags"],
    ],
)
def test_a_recipe_is_found_in_any_folder(elsewhere, given):
    del elsewhere
    assert flagfiles.expand(given) == lines_of(QUICKSTART)


def test_an_existing_file_wins(elsewhere):
    path = elsewhere / "experiments/shapes/quickstart.flags"
    path.parent.mkdir(parents=True)
    path.write_text("--seed=7\n")
    assert flagfiles.expand(["--recipe=shapes/quickstart"]) == ["--seed=7"]
    given = ["--flagfile=experiments/shapes/quickstart.flags"]
    assert flagfiles.expand(given) == ["--seed=7"]


def test_a_flag_file_can_name_a_recipe(elsewhere):
    (elsewhere / "own.flags").write_text("--recipe=shapes/quickstart\n--seed=7\n")
    expected = [*lines_of(QUICKSTART), "--seed=7"]
    assert flagfiles.expand(["--flagfile=own.flags"]) == expected


@pytest.mark.parametrize(
    ("given", "proposed"),
    [
        ("--recipe=shapes/quickstrat", "Did you mean shapes/quickstart"),
        ("--recipe=quickstart", "Did you mean shapes/quickstart?"),
        ("--flagfile=experiments/shapes/quickstrat.flags", "mean shapes/quickstart"),
        ("--recipe=?", "experiments/?.flags. kerasseg recipes lists all names."),
    ],
)
def test_a_wrong_name_has_a_suggestion(elsewhere, given, proposed):
    del elsewhere
    with pytest.raises(app.UsageError) as caught:
        flagfiles.expand([given])
    assert proposed in str(caught.value)


def test_the_name_of_a_recipe_is_needed():
    with pytest.raises(app.UsageError, match="--recipe needs the name of a recipe"):
        flagfiles.expand(["--recipe"])


def test_files_in_other_folders_are_no_recipes(elsewhere):
    del elsewhere
    with pytest.raises(app.UsageError, match=r"/experiments/x\.flags.*[Nn]o"):
        flagfiles.expand(["--flagfile=/experiments/x.flags"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("segnet", " Did you mean camvid/segnet?"),
        ("unet", " Did you mean camvid/unet or shapes/unet?"),  # Both end in it.
        ("camvid/sgnet", " Did you mean camvid/segnet"),
        ("?", ""),
    ],
)
def test_similar_names_are_suggested(name, expected):
    assert packaged.suggestion(name, NAMES).startswith(expected)
    assert bool(packaged.suggestion(name, NAMES)) == bool(expected)


def test_installed_files_come_first(tmp_path, monkeypatch):
    package = tmp_path / "kerasseg"
    for folder in (tmp_path / "docs", package / "packaged/docs"):
        folder.mkdir(parents=True)
        (folder / "page.md").write_text(f"# {folder}\n")
    monkeypatch.setattr(packaged, "_PACKAGE", package)
    assert packaged.folder("docs") == package / "packaged/docs"
    assert packaged.folder("experiments") == tmp_path / "experiments"  # A checkout.
    assert docs.listing() == f"page  {package}/packaged/docs"


def test_every_recipe_is_listed_with_its_first_sentence(capfd):
    assert commands.run(recipes.main) == 0
    lines = dict(line.split(maxsplit=1) for line in capfd.readouterr().out.splitlines())
    paths = sorted((faults.ROOT / "experiments").rglob("*.flags"))
    assert list(lines) == [f"{path.parent.name}/{path.stem}" for path in paths]
    assert lines["shapes/quickstart"] == (
        "DeepLab v3+ on EfficientNet-Lite0 on the drawn data set shapes"
    )
    assert lines["camvid/fcn_32s_googlenet"] == (
        "FCN-32s on GoogLeNet (https://arxiv.org/abs/1411.4038, table 1) on CamVid "
        "(480x360, 11 classes)"
    )
    assert all(len(line) > 20 for line in lines.values())


def test_a_recipe_is_copied_and_then_used(elsewhere, capfd):
    assert commands.run(recipes.main, "--copy=shapes/quickstart") == 0
    assert capfd.readouterr().out == "Wrote experiments/shapes/quickstart.flags.\n"
    copy = elsewhere / "experiments/shapes/quickstart.flags"
    assert copy.read_bytes() == QUICKSTART.read_bytes()
    copy.write_text("--seed=7\n")
    assert flagfiles.expand(["--recipe=shapes/quickstart"]) == ["--seed=7"]
    assert commands.run(recipes.main, "--copy=shapes/quickstart") == 2
    message = "Error: experiments/shapes/quickstart.flags exists and is not overwritten"
    assert message in capfd.readouterr().err
    assert copy.read_text() == "--seed=7\n"
    given = ["--copy=shapes/quickstart", "--output_dir=new"]
    assert commands.run(recipes.main, *given) == 0
    assert pathlib.Path("new/experiments/shapes/quickstart.flags").exists()


def test_an_unknown_recipe_is_not_copied(elsewhere):
    with pytest.raises(
        errors.UserError, match=r"no recipe 'x'\. kerasseg recipes lists"
    ):
        recipes.copy("x", elsewhere)
    assert not list(elsewhere.iterdir())


def test_every_page_is_listed_with_its_title(capfd):
    assert commands.run(docs.main) == 0
    lines = dict(line.split(maxsplit=1) for line in capfd.readouterr().out.splitlines())
    assert list(lines) == sorted(p.stem for p in (faults.ROOT / "docs").glob("*.md"))
    assert lines["data"] == "Training on your own images"


@pytest.mark.parametrize("name", ["crf", "crf.md", "docs/crf.md"])
def test_a_page_is_printed(capfd, name):
    assert commands.run(docs.main, name, accepts_arguments=True) == 0
    text = (faults.ROOT / "docs/crf.md").read_text("utf-8")
    assert capfd.readouterr().out == text


def test_a_wrong_page_has_a_suggestion(capfd):
    assert commands.run(docs.main, "trainig", accepts_arguments=True) == 2
    expected = "Error: There is no page 'trainig'. Did you mean training or python_"
    assert expected in capfd.readouterr().err
    assert commands.run(docs.main, "crf", "data", accepts_arguments=True) == 2
    assert "One page at a time" in capfd.readouterr().err
