"""Flags of kerasseg.serve from environment variables."""

import ast
import subprocess
import sys

import pytest

from kerasseg.cli import flagfiles
from tests.support import faults

PREFIX = "KERASSEG_"

# Starts the command with another `main`, which prints the values of all its flags.
PROGRAM = """
import runpy, sys
from absl import flags
from kerasseg import cli

def main(argv):
    own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    print({flag.name: (flag.value, flag.default) for flag in own})

def run(_, **options):
    real(main, **options)

real, cli.run = cli.run, run
runpy.run_module("kerasseg.serve", run_name="__main__", alter_sys=True)
"""


def serve(*arguments, program=("-c", PROGRAM), **variables):
    """Runs the command with variables; returns status, output and errors."""
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=faults.ROOT,
        env=variables,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def values(*arguments, **variables):
    status, output, errors = serve(*arguments, **variables)
    assert (status, errors) == (0, "")
    return {name: value for name, (value, _) in ast.literal_eval(output).items()}


def other(value):
    """Returns another value of the same type; None is the default of a text."""
    if isinstance(value, bool):
        return not value
    return "text" if value is None or value == "" else value * 3


def test_every_flag_is_set_by_its_variable_and_by_the_command_line_before_it():
    defaults = values()
    assert len(defaults) > 20
    # A variable that is set but empty, as in compose files, is not used.
    assert values(**{f"{PREFIX}{name.upper()}": "" for name in defaults}) == defaults
    given = {name: other(value) for name, value in defaults.items()}
    given |= {name: "json" for name in ("log_format", "access_log") if name in given}
    assert not set(given.items()) & set(defaults.items())
    variables = {f"{PREFIX}{name.upper()}": str(given[name]) for name in given}
    assert values(**variables) == given
    # The command line takes precedence, even over variables that are wrong.
    flags = [f"--{name}={value}" for name, value in given.items()]
    wrong = {variable: "wrong" for variable in variables}
    assert values(*flags, **wrong) == given


def test_the_command_line_goes_before_flag_files_and_these_before_variables(tmp_path):
    path = tmp_path / "flags"
    path.write_text("--port=2\n--grpc_port=2\n")
    for arguments in ["--port=3", f"--flagfile={path}"], [f"--flagfile={path}"]:
        found = values(
            *arguments,
            KERASSEG_PORT="1",
            KERASSEG_GRPC_PORT="1",
            KERASSEG_DECODERS="1",
        )
        assert found["port"] == (3 if "--port=3" in arguments else 2)
        assert (found["grpc_port"], found["decoders"]) == (2, 1)
    flags = ["--port=3", f"--flagfile={path}"]
    assert flagfiles.expand(flags)[-2:] == ["--port=2", "--grpc_port=2"]
    assert flagfiles.expand(flags, files_first=True)[-1] == "--port=3"


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"PORT": "many"}, "KERASSEG_PORT=many: invalid literal for int()"),
        ({"PORT": "70000"}, "KERASSEG_PORT=70000: expected a port up to 65535."),
        ({"TRACEBACK": "maybe"}, "KERASSEG_TRACEBACK=maybe: Non-boolean argument"),
        ({"EXPORT_DIR": "/nowhere"}, "KERASSEG_EXPORT_DIR=/nowhere is not a folder."),
        ({"MAX_REQUEST": "3"}, "KERASSEG_MAX_REQUEST sets no flag: write KERASSEG_MAX"),
        ({"Port": "3"}, "KERASSEG_Port sets no flag: write KERASSEG_PORT, or unset"),
        ({"PORT": "tcp://10.0.0.1:8501"}, "enableServiceLinks: false"),
    ],
)
def test_wrong_variables_are_errors_of_one_line_that_name_them(variables, text):
    given = {"MODEL_NAME": "m", "EXPORT_DIR": ".", **variables}
    status, _, errors = serve(
        program=("-m", "kerasseg.serve"),
        **{f"{PREFIX}{name}": value for name, value in given.items()},
    )
    assert status == 2
    assert text in errors
    assert errors.count("\n") == 1


def test_variables_that_resemble_no_flag_are_a_warning_without_their_values():
    status, output, errors = serve(
        KERASSEG_SERVICE_HOST="10.0.0.1", KERASSEG_TOKEN="secret", PATH="/usr/bin"
    )
    assert status == 0 and output
    assert errors == (
        "Warning: these environment variables set no flag: KERASSEG_SERVICE_HOST, "
        "KERASSEG_TOKEN. Unset them if they are meant for this program.\n"
    )
