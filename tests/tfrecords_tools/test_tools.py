"""What holds for all commands of tfrecords_tools: start-up, imports, bad text files."""

import ast
import os
import pathlib
import pkgutil

import pytest

import tfrecords_tools
from tests.support import commands, corrupt, faults, tiny
from tfrecords_tools import build, extract, inspect

ROOT = pathlib.Path(tfrecords_tools.__file__).parent
COMMANDS = {"build": build.main, "inspect": inspect.main, "extract": extract.main}
# A package imports from itself and from those before it.
LAYERS = ["annotations", "converters", "writing", "doctor", "cli"]
MAX_SECONDS = 1.5  # Of CPU time.


def modules():
    found = pkgutil.walk_packages([str(ROOT)], "tfrecords_tools.")
    return [module.name for module in found]


# Start-up.


def start(command, *arguments):
    """Runs a command; returns its status, output, errors, modules and CPU seconds."""
    code = (
        "import sys, atexit, runpy\n"
        "atexit.register(lambda: print('MODULES', *sys.modules))\n"
        f"name = 'tfrecords_tools.{command}'\n"
        "runpy.run_module(name, run_name='__main__', alter_sys=True)\n"
    )
    before = os.times()
    done = faults.run(["-c", code, *arguments])
    after = os.times()
    seconds = after.children_user - before.children_user
    seconds += after.children_system - before.children_system
    output, _, loaded = done.stdout.rpartition("MODULES")
    return done.returncode, output, done.stderr, loaded.split(), seconds


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--help"], 0, "--records_dir"),
        (["--bogus=1"], 2, "Unknown command line flag 'bogus'"),
        (["--seed=x", "--count=x", "--max_pixels=x"], 2, ""),
        ([], 2, ""),
        (["--dataset=camvid", "--source_dir=/nowhere", "--records_dir="], 2, ""),
        (["--records_dir=/nowhere", "--output_dir=x", "--dataset=camvid"], 2, ""),
    ],
    ids=["help", "unknown", "type", "nothing", "source", "records"],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_flags_are_reported_without_tensorflow(command, arguments, status, text):
    returned, output, errors, loaded, seconds = start(command, *arguments)
    assert returned == status
    assert text in output + errors and "Traceback" not in errors
    assert len(errors.splitlines()) == (status != 0)
    assert "tensorflow" not in loaded and "keras" not in loaded
    assert seconds <= MAX_SECONDS


def test_building_and_extracting_need_no_tensorflow(tmp_path):
    flags = ["--dataset=shapes", "--num_drawn=2", f"--records_dir={tmp_path / 'r'}"]
    returned, _, errors, loaded, _ = start("build", *flags, "--workers=1")
    assert returned == 0, errors
    assert "tensorflow" not in loaded
    flags = [f"--records_dir={tmp_path / 'r'}", f"--output_dir={tmp_path / 'files'}"]
    returned, _, errors, loaded, _ = start("extract", *flags)
    assert returned == 0, errors
    assert "tensorflow" not in loaded
    assert len(list((tmp_path / "files").iterdir())) == 2


# Imports.


def imports(path):
    """Returns the modules of tfrecords_tools that a file imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found & {*modules(), *(f"tfrecords_tools.{name}" for name in LAYERS)}


def path_of(module):
    path = ROOT.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("layer", LAYERS)
def test_packages_import_lower_packages_only(layer):
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    for path in (ROOT / layer).rglob("*.py"):
        used = {name.split(".")[1] for name in imports(path)}
        assert used <= {*allowed}, path


def test_no_modules_import_each_other():
    graph = {name: imports(path_of(name)) - {name} for name in modules()}
    for name in graph:  # A package imports its modules, which may import the package.
        package = name.rpartition(".")[0]
        if path_of(name).name != "__init__.py":
            graph[name].discard(package)
    done, current = set(), []

    def visit(name):
        assert name not in current, " -> ".join([*current, name])
        if name in done:
            return
        current.append(name)
        for used in graph.get(name, ()):
            visit(used)
        done.add(current.pop())

    for name in graph:
        visit(name)


ENTRY_POINTS = "build", "inspect", "extract", "pseudo", "seeds", "cli"


def test_library_modules_define_no_flags():
    library = [name for name in modules() if name.split(".")[1] not in ENTRY_POINTS]
    assert len(library) > 50
    code = (
        "import importlib, sys; from absl import flags\n"
        f"[importlib.import_module(name) for name in {library}]\n"
        "own = 'kerasseg', 'tfrecords_tools', sys.argv[0]\n"
        "found = [x for x in flags.FLAGS.flags_by_module_dict() if x.startswith(own)]\n"
        "sys.exit(str(found) if found else 0)\n"
    )
    done = faults.run(["-c", code])
    assert done.returncode == 0, done.stderr


def test_only_entry_points_and_cli_import_absl():
    for name in modules():
        if name.split(".")[1] not in ENTRY_POINTS:
            assert "absl" not in path_of(name).read_text(), name


# Text files of the user.


KINDS = ["latin-1", "empty", "folder", "missing"]


def write_bad(path, kind):
    """Writes a bad text file, or what stands in its place."""
    if kind == "latin-1":
        path.write_bytes("ä\nö\n".encode("latin-1"))
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.fixture(scope="module")
def own_images(tmp_path_factory):
    return corrupt.write(tmp_path_factory.mktemp("own"), corrupt.drawn(2, 1))


@pytest.fixture(scope="module")
def camvid_copy(tmp_path_factory):
    from tests.support import trees

    return trees.camvid(tmp_path_factory.mktemp("camvid"))


def check_refused(capsys, command, *flags):
    """Checks that a command ends with status 2 and one line."""
    capsys.readouterr()
    assert commands.run(COMMANDS[command], *flags) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "flag", ["classes", "colormap", "lists", "leave_out", "annotations", "flagfile"]
)
@pytest.mark.parametrize("command", ["build", "inspect"])
def test_bad_text_files_are_one_line(
    own_images, tmp_path, capsys, monkeypatch, command, flag, kind
):
    monkeypatch.chdir(tmp_path)
    suffix = ".json" if flag == "annotations" else ".txt"
    path = write_bad(tmp_path / f"bad{suffix}", kind)
    flags = [f"--images={own_images}/images", f"--{flag}={path}"]
    if flag != "annotations":
        flags.append(f"--masks={own_images}/masks")
    if flag != "classes":
        flags.append("--classes=a,b,c,d,e,f")
    if command == "build":
        flags += ["--dataset=folder", "--records_dir=records", "--workers=1"]
    if (flag, kind) == ("flagfile", "empty"):
        pytest.skip("an empty flag file is valid")
    line = check_refused(capsys, command, *flags)
    assert "bad" in line or "--flagfile" in line
    assert not (tmp_path / "records" / "dataset.json").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_bad_files_of_records_are_one_line(tmp_path, capsys, command, kind):
    folder = tiny.write_records(tmp_path / "records")
    (folder / "dataset.json").unlink()
    write_bad(folder / "dataset.json", kind)
    flags = [f"--records_dir={folder}"]
    if command == "extract":
        flags.append(f"--output_dir={tmp_path / 'files'}")
    if command == "build":
        flags += ["--dataset=shapes", "--num_drawn=1", "--workers=1"]
    assert "records" in check_refused(capsys, command, *flags)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", ["build", "inspect"])
def test_bad_lists_of_a_data_set_are_one_line(
    camvid_copy, tmp_path, capsys, monkeypatch, command, kind
):
    monkeypatch.chdir(tmp_path)
    folder = corrupt.copy(camvid_copy, tmp_path / "camvid")
    for name in ("train.txt", "val.txt"):
        (folder / name).unlink()
        write_bad(folder / name, kind)
    flags = ["--dataset=camvid", f"--source_dir={folder}"]
    if command == "build":
        flags += ["--records_dir=records", "--workers=1"]
    check_refused(capsys, command, *flags)


@pytest.mark.parametrize("kind", ["latin-1", "not JSON", "no object"])
@pytest.mark.parametrize("name", ["shards.jsonl", "rejected.jsonl"])
def test_damaged_files_of_a_build_are_one_line(tmp_path, capsys, name, kind):
    contents = {"latin-1": b'"\xe4"\n', "not JSON": b"x\n", "no object": b"1\n"}
    (tmp_path / name).write_bytes(contents[kind])
    flags = ["--dataset=shapes", "--num_drawn=1", "--workers=1", "--splits=val"]
    line = check_refused(capsys, "build", *flags, f"--records_dir={tmp_path}")
    assert f"{name} is damaged" in line
