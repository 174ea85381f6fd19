"""The program `kerasseg`: its commands, suggestions and completion."""

import os
import subprocess
import sys

import pytest

import kerasseg
from kerasseg import __main__ as program
from tests.support import faults

NAMES = (
    *("build", "docs", "evaluate", "export", "extract", "fit", "inspect"),
    "import-weights",
    *(
        "label-next",
        "launch",
        "models",
        "predict",
        "pseudo",
        "recipes",
        "seeds",
        "serve",
    ),
    *("train", "tune-crf"),
)


def run(*arguments, **options):
    return faults.run(["-m", "kerasseg", *arguments], **options)


def main(capsys, monkeypatch, *arguments):
    """Runs the program in this process; returns status, output and errors."""
    monkeypatch.setattr(sys, "argv", ["kerasseg", *arguments])
    try:
        program.main()
        status = 0
    except SystemExit as end:
        status = end.code
    return status, *capsys.readouterr()


def test_every_module_that_can_be_started_is_a_command():
    started = {
        path
        for package in ("kerasseg", "tfrecords_tools")
        for path in (faults.ROOT / package).rglob("*.py")
        if "    cli.run(" in path.read_text("utf-8") and path.name != "running.py"
    }
    modules = [command.module for command in program.commands().values()]
    files = {faults.ROOT.joinpath(*module.split(".")) for module in modules}
    paths = {p / "__main__.py" if p.is_dir() else p.with_suffix(".py") for p in files}
    assert paths == started
    assert {*NAMES} <= {*program.commands()}
    assert len(modules) == len(started)  # No two commands have the same name.


def test_a_new_module_appears_by_itself(tmp_path, monkeypatch):
    (tmp_path / "new_one.py").write_text(
        'r"""Does something new.\n\nMore."""\n\nif __name__ == "__main__":\n    pass\n'
    )
    (tmp_path / "library.py").write_text('"""No command."""\n')
    monkeypatch.setattr(program, "_PACKAGES", ("kerasseg",))
    monkeypatch.setattr(kerasseg.__spec__, "submodule_search_locations", [tmp_path])
    expected = {"new-one": ("kerasseg.new_one", "Does something new")}
    assert program.commands() == expected


def test_help_lists_every_command(capsys, monkeypatch):
    status, output, _ = main(capsys, monkeypatch, "--help")
    assert status == 0
    for name, command in program.commands().items():
        assert f"  {name} " in output
        assert command.summary in output and command.summary
    assert main(capsys, monkeypatch)[:2] == (0, output)


def test_the_version_is_the_one_of_the_package(capsys, monkeypatch):
    expected = f"kerasseg {kerasseg.__version__}\n"
    assert main(capsys, monkeypatch, "--version") == (0, expected, "")


@pytest.mark.parametrize(
    ("given", "proposed"),
    [
        ("trian", " Did you mean kerasseg train?"),
        ("tune_crv", " Did you mean kerasseg tune-crf?"),
        ("zzz", ""),
    ],
)
def test_an_unknown_command_has_a_suggestion(capsys, monkeypatch, given, proposed):
    assert main(capsys, monkeypatch, given) == (
        2,
        "",
        f"kerasseg {given}: there is no such command.{proposed} kerasseg --help lists "
        f"the commands.\n",
    )


# A package with status 0, and a module of the other package with status 2.
EQUAL = [("serve", "--help"), ("inspect", "--records_dir=/nowhere")]


@pytest.mark.parametrize("arguments", EQUAL, ids=" ".join)
def test_a_command_is_the_same_as_its_module(arguments):
    name, *rest = arguments
    short = run(*arguments)
    package = "tfrecords_tools" if name == "inspect" else "kerasseg"
    module = faults.run(["-m", f"{package}.{name}", *rest])
    assert short.stdout == module.stdout
    assert short.stderr == module.stderr
    assert short.returncode == module.returncode


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("kerasseg tr", ["train"]),
        ("kerasseg e", ["evaluate", "export", "extract"]),
        ("kerasseg docs tra", ["training"]),
        ("kerasseg train --recipe=shapes/q", ["shapes/quickstart"]),
        ("kerasseg nothing --x", []),
        ("kerasseg train DIR", []),
    ],
)
def test_words_are_completed(line, expected):
    assert program.completions(line) == expected


def test_flags_are_completed_up_to_the_cursor():
    variables = {"COMP_LINE": "kerasseg serve --por x", "COMP_POINT": "20"}
    assert len("kerasseg serve --por") == 20
    process = run("--complete", env={**os.environ, **variables})
    assert (process.returncode, process.stdout) == (0, "--port=\n")


def test_bash_accepts_the_line_of_the_help():
    lines = [x for x in program.usage().splitlines() if x.startswith("complete ")]
    (line,) = lines
    process = subprocess.run(
        ["bash", "-c", f"{line} && complete -p kerasseg"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.strip() == line
