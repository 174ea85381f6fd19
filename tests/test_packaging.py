"""The package as pip installs it, in its own environment."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
ENTRY_POINTS = (
    *("kerasseg.train", "kerasseg.evaluate", "kerasseg.predict", "kerasseg.export"),
    *("tfrecords_tools.build", "tfrecords_tools.inspect", "tfrecords_tools.extract"),
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def call(*command, folder):
    """Runs a command away from the sources; returns what it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("packaging")


@pytest.fixture(scope="module")
def python(folder):
    """Installs the wheel with its extras into a new environment."""
    pip = sys.executable, "-m", "pip"
    reach = subprocess.run(
        [*pip, "download", "--no-deps", "--dest", folder / "reach", "absl-py"],
        capture_output=True,
        check=False,
    )
    if reach.returncode:
        pytest.skip("pip reaches no package index")
    call(*pip, "wheel", "--no-deps", "--wheel-dir", folder / "wheels", ROOT, folder=".")
    (wheel,) = (folder / "wheels").glob("kerasseg-*.whl")
    call(sys.executable, "-m", "venv", folder / "venv", folder=folder)
    python = folder / "venv/bin/python"
    call(python, "-m", "pip", "install", f"{wheel}[crf,lite0,datasets]", folder=folder)
    return python


def test_its_requirements_agree_with_each_other(python, folder):
    assert "No broken requirements" in call(python, "-m", "pip", "check", folder=folder)


def test_it_is_imported_from_where_it_was_installed(python, folder):
    code = "import kerasseg, tfrecords_tools; print(kerasseg.__file__)"
    assert "site-packages" in call(python, "-c", code, folder=folder)


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_every_command_tells_its_flags(python, folder, name):
    assert "--" in call(python, "-m", name, "--help", folder=folder)


def test_it_lists_architectures_and_draws_records(python, folder):
    assert "deeplab_v3_plus" in call(python, "-m", "kerasseg.models", folder=folder)
    command = "tfrecords_tools.build", "--dataset=shapes", "--records_dir=records"
    call(python, "-m", *command, folder=folder)
    assert (folder / "records/dataset.json").exists()


def test_it_builds_an_encoder_with_its_packaged_weights(python, folder):
    code = (
        "import kerasseg; m = kerasseg.build_model('deeplab_v3_plus', 3, "
        "backbone='efficientnet_lite0', backbone_weights='imagenet'); print(m.name)"
    )
    assert "deeplab_v3_plus" in call(python, "-c", code, folder=folder)
