"""The package as pip installs it, in a separate environment."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
ENTRY_POINTS = (
    *("kerasseg.train", "kerasseg.evaluate", "kerasseg.predict", "kerasseg.export"),
    "kerasseg.label_next",
    *("tfrecords_tools.build", "tfrecords_tools.inspect", "tfrecords_tools.extract"),
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def call(*command, folder):
    """Runs a command outside the sources and returns its output."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    process = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, f"{command}\n{process.stdout}\n{process.stderr}"
    return process.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("packaging")


@pytest.fixture(scope="module")
def python(folder):
    """Installs the wheel with extras into a new environment and returns its Python."""
    pip = sys.executable, "-m", "pip"
    download = subprocess.run(
        [*pip, "download", "--no-deps", "--dest", folder / "download", "absl-py"],
        capture_output=True,
        check=False,
    )
    if download.returncode:
        pytest.skip("pip cannot reach a package index")
    call(*pip, "wheel", "--no-deps", "--wheel-dir", folder / "wheels", ROOT, folder=".")
    (wheel,) = (folder / "wheels").glob("kerasseg-*.whl")
    call(sys.executable, "-m", "venv", folder / "venv", folder=folder)
    python = folder / "venv/bin/python"
    call(python, "-m", "pip", "install", f"{wheel}[crf,lite0,datasets]", folder=folder)
    return python


def test_its_requirements_are_consistent(python, folder):
    assert "No broken requirements" in call(python, "-m", "pip", "check", folder=folder)


def test_it_is_imported_from_the_installation(python, folder):
    code = "import kerasseg, tfrecords_tools; print(kerasseg.__file__)"
    assert "site-packages" in call(python, "-c", code, folder=folder)


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_the_help_of_every_command_lists_its_flags(python, folder, name):
    assert "--" in call(python, "-m", name, "--help", folder=folder)


def test_it_lists_architectures_and_builds_drawn_records(python, folder):
    assert "deeplab_v3_plus" in call(python, "-m", "kerasseg.models", folder=folder)
    command = "tfrecords_tools.build", "--dataset=shapes", "--records_dir=records"
    call(python, "-m", *command, folder=folder)
    assert (folder / "records/dataset.json").exists()


def test_it_builds_an_encoder_with_packaged_weights(python, folder):
    code = (
        "import kerasseg; m = kerasseg.build_model('deeplab_v3_plus', 3, "
        "backbone='efficientnet_lite0', backbone_weights='imagenet'); print(m.name)"
    )
    assert "deeplab_v3_plus" in call(python, "-c", code, folder=folder)
