"""The source distribution and the wheel, in separate environments and empty folders."""

import contextlib
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request

import numpy as np
import pytest
from PIL import Image

import kerasseg
from kerasseg import __main__ as program

ROOT = pathlib.Path(__file__).parents[2]
# Of what the repository holds, these are not distributed.
NOT_DISTRIBUTED = {".gitignore"}
# Tests of each kind: of pages, of files beside the tests, of processes, of packaging.
SDIST_TESTS = (
    *("tests/project/test_docs.py", "tests/project/test_golden.py"),
    *("tests/project/test_requirements.py", "tests/project/test_layering.py"),
    *("tests/cli/test_packaged.py", "tests/cli/test_program.py"),
)
BUILD_SDIST = (
    "import sys; from setuptools import build_meta as b; b.build_sdist(*sys.argv[1:])"
)
# What the extras install; None of an error that names the extra.
OF_EXTRAS = {
    *("None", "apache_beam", "pydensecrf", "ray", "tensorflow_datasets"),
    *("grpc", "h11", "prometheus_client", "tensorflow_serving", "uvicorn"),
}
IMPORT_ALL = """
import importlib, pkgutil, kerasseg, tfrecords_tools
from kerasseg import errors
from kerasseg.system import runtime

runtime.start_tensorflow()
for package in kerasseg, tfrecords_tools:
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            print(module.name, type(error).__name__, error.name)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def call(*command, folder, **variables):
    """Runs a command outside the sources and returns its output."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    process = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**environment, **variables},
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
def sdist(folder):
    """Builds the source distribution; returns the folder of its contents."""
    (folder / "dist").mkdir()
    call(sys.executable, "-c", BUILD_SDIST, folder / "dist", folder=ROOT)
    (path,) = (folder / "dist").glob("kerasseg-*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(folder / "sdist", filter="data")
    (contents,) = (folder / "sdist").iterdir()
    return contents


@pytest.fixture(scope="module")
def python(folder, sdist):
    """Installs the wheel, without extras; returns the Python of the environment."""
    pip = sys.executable, "-m", "pip"
    download = subprocess.run(
        [*pip, "download", "--no-deps", "--dest", folder / "download", "absl-py"],
        capture_output=True,
        check=False,
    )
    if download.returncode:
        pytest.skip("pip cannot reach a package index")
    call(
        *pip, "wheel", "--no-deps", "--wheel-dir", folder / "wheels", sdist, folder="."
    )
    call(sys.executable, "-m", "venv", folder / "venv", folder=folder)
    install(folder, "")
    return folder / "venv/bin/python"


def install(folder, extras):
    (wheel,) = (folder / "wheels").glob("kerasseg-*.whl")
    python = folder / "venv/bin/python"
    call(python, "-m", "pip", "install", f"{wheel}{extras}", folder=folder)


@pytest.fixture(scope="module")
def readme(python, folder):
    """Installs the extras of the README's commands; returns an empty folder."""
    del python
    install(folder, "[lite0,serve]")
    empty = folder / "empty"
    empty.mkdir()
    return empty


def test_the_source_distribution_has_every_file(sdist):
    listed = call("git", "ls-files", folder=ROOT) if (ROOT / ".git").exists() else ""
    if not listed:
        pytest.skip("this is no checkout")
    missing = [
        name
        for name in listed.splitlines()
        if name not in NOT_DISTRIBUTED and not (sdist / name).exists()
    ]
    assert not missing


def test_the_source_distribution_passes_its_tests(sdist):
    given = "-m", "pytest", "-q", "-p", "no:cacheprovider", *SDIST_TESTS
    call(sys.executable, *given, folder=sdist, PYTHONPATH=str(sdist))


def test_its_requirements_are_consistent(python, folder):
    assert "No broken requirements" in call(python, "-m", "pip", "check", folder=folder)


def test_every_module_but_those_of_extras_can_be_imported(python, folder):
    lines = call(python, "-c", IMPORT_ALL, folder=folder).splitlines()
    missing = {module: package for module, _, package in map(str.split, lines)}
    assert missing["kerasseg.crf.pydensecrf_engine"] == "pydensecrf"
    assert {*missing.values()} <= OF_EXTRAS, missing


def test_it_is_imported_from_the_installation(python, folder):
    code = "import kerasseg, tfrecords_tools; print(kerasseg.__file__)"
    assert "site-packages" in call(python, "-c", code, folder=folder)


def test_types_and_version_are_those_of_the_package(python, folder):
    code = (
        "import importlib.metadata as m, kerasseg, pathlib, tfrecords_tools as t; "
        "print(m.version('kerasseg'), kerasseg.__version__, *(pathlib.Path(p.__file__)"
        ".with_name('py.typed').exists() for p in (kerasseg, t)))"
    )
    version = kerasseg.__version__
    expected = [version, version, "True", "True"]
    assert call(python, "-c", code, folder=folder).split() == expected
    kerasseg_program = python.with_name("kerasseg")
    output = call(kerasseg_program, "--version", folder=folder)
    assert output == f"kerasseg {version}\n"


def test_it_holds_recipes_and_documentation(python, folder):
    command = python.with_name("kerasseg")
    listed = call(command, "recipes", folder=folder).splitlines()
    assert len(listed) == len(list(ROOT.glob("experiments/*/*.flags")))
    call(command, "recipes", "--copy=shapes/quickstart", folder=folder)
    copy = folder / "experiments/shapes/quickstart.flags"
    source = ROOT / "experiments/shapes/quickstart.flags"
    assert copy.read_bytes() == source.read_bytes()
    pages = sorted(ROOT.glob("docs/*.md"))
    assert len(call(command, "docs", folder=folder).splitlines()) == len(pages)
    for page in pages[:2]:
        assert call(command, "docs", page.stem, folder=folder) == page.read_text(
            "utf-8"
        )


@pytest.mark.parametrize("name", program.commands())
def test_the_help_of_every_command_lists_its_flags(python, folder, name):
    output = call(python.with_name("kerasseg"), name, "--help", folder=folder)
    assert "--[no]traceback" in output
    module = program.commands()[name].module
    assert call(python, "-m", module, "--help", folder=folder) == output


def commands():
    """Returns the commands of the README, joined, without their output."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "README.md").read_text("utf-8"))
    return re.findall(r"^    \$ ((?:python -m|kerasseg|curl) .*)$", text, re.M)


def of_environment(python, words):
    """Returns a command with the programs of the environment."""
    program_path = python if words[0] == "python" else python.with_name(words[0])
    return [program_path, *words[1:]]


# What follows needs a best model only, instead of 500 steps, and no second training.
MORE = {
    "train": ("--training_number_of_steps=40", "--eval_interval_steps=20"),
    "fit": ("--dry_run",),
}


def test_the_commands_of_the_readme_run_in_an_empty_folder(python, readme):
    found = list(map(shlex.split, commands()))
    names = [words[2] if words[0] == "python" else words[1] for words in found]
    done = {name.rpartition(".")[2] for name in names}
    assert done >= {"build", "train", "evaluate", "predict", "export", "serve"}
    for name, words in zip(names, found, strict=True):
        if words[0] == "curl":
            continue
        more = MORE.get(name.rpartition(".")[2], ())
        command = [*of_environment(python, words), *more]
        if name == "fit":
            write_photos(readme)
        if name.endswith("serve"):
            (curl,) = [each for each in found if each[0] == "curl"]
            serve(command, curl, readme)
        else:
            call(*command, folder=readme)
    assert (readme / "records/dataset.json").exists()
    assert list((readme / "export").glob("1/*"))
    assert (readme / "mask.png").read_bytes().startswith(b"\x89PNG")


def write_photos(folder):
    """Writes ten images of two classes as the README's example names them."""
    for i in range(10):
        mask = np.zeros((64, 80), np.uint8)
        mask[10 + i : 40 + i, 20:60] = 1
        pixels = np.repeat(mask[..., None] * 99 + 10 * i + 50, 3, axis=2).astype("u1")
        for kind, array in (("photos", pixels), ("masks", mask)):
            (folder / kind).mkdir(exist_ok=True)
            suffix = "jpg" if kind == "photos" else "png"
            Image.fromarray(array).save(folder / kind / f"{i}.{suffix}")


def serve(command, curl, folder):
    """Starts the server on a free port, and sends what the README's curl sends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*command, f"--port={port}"], cwd=folder)
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}/readyz")
        shutil.copy(next((folder / "images").rglob("*.*")), folder / "image.jpg")
        call(*(word.replace("8501", str(port)) for word in curl), folder=folder)
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) in (0, 143)


def wait_until_ready(process, url):
    for _ in range(600):
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        assert process.poll() is None
        time.sleep(0.2)
    pytest.fail("The server was not ready after two minutes.")


def test_it_refines_masks_without_a_compiler(python, readme):
    command = "-m", "kerasseg.evaluate", "--workdir=run", "--crf", "--noreport"
    assert "mean IoU" in call(python, *command, folder=readme)


def test_it_builds_an_encoder_with_packaged_weights(python, readme):
    code = (
        "import kerasseg; m = kerasseg.build_model('deeplab_v3_plus', 3, "
        "backbone='efficientnet_lite0', backbone_weights='imagenet'); print(m.name)"
    )
    assert "deeplab_v3_plus" in call(python, "-c", code, folder=readme)
