"""Flag files: what they hold is never repeated in an error."""

import os
import pathlib

import hypothesis
import pytest
from absl import flags
from hypothesis import strategies as st

from kerasseg import predict
from kerasseg.cli import flagfiles
from tests.support import commands


def expand(path, text):
    path.write_text(text)
    return flagfiles.expand([f"--flagfile={path}"])


def test_lines_become_flags_where_the_file_is_named(tmp_path):
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.write_text("--seed=2\n")
    outer.write_text(
        f"# A comment\n// Another\n\n  --flip \n--flagfile={inner}\n--seed\n3\n"
    )
    given = [
        "--seed=1",
        "--flagfile",
        str(outer),
        "--noflip",
        "--",
        f"--flagfile={inner}",
    ]
    assert flagfiles.expand(given) == [
        *("--seed=1", "--flip", "--seed=2", "--seed", "3", "--noflip"),
        *("--", f"--flagfile={inner}"),
    ]
    assert flagfiles.expand(["--workdir", "--flagfile=x"][:1]) == ["--workdir"]


SECRETS = [
    "root:x:0:0:SECRET:/root:/bin/bash\n",
    "-----BEGIN SECRET KEY-----\nSECRET\n",
    "--seed=1\nSECRET\n",
    "-SECRET\n",
    "--seed=1 --x\n-p SECRET\n",
    "SECRET=hunter2\n",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_file_that_is_no_flag_file_is_not_repeated(tmp_path, capfd, text):
    path = tmp_path / "file"
    path.write_text(text)
    assert commands.run(predict.main, f"--flagfile={path}") == 2
    output, errors = capfd.readouterr()
    assert "SECRET" not in output + errors
    assert f"--flagfile={path}: line " in errors
    assert "is not a flag. A flag file has one flag a line" in errors


def test_the_accounts_of_the_machine_are_not_repeated(capfd):
    path = pathlib.Path("/etc/passwd")
    if not path.exists():
        pytest.skip("there is no such file")
    assert commands.run(predict.main, f"--flagfile={path}") == 2
    output, errors = capfd.readouterr()
    for line in path.read_text().splitlines():
        assert line not in output + errors


@hypothesis.given(st.text(max_size=40).map(lambda text: f"{text}SECRET1234"))
@hypothesis.settings(
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_no_line_that_is_not_a_flag_is_repeated(tmp_path, text):
    hypothesis.assume(not text.lstrip().startswith(("--", "#", "//")))
    path = tmp_path / "file"
    path.write_bytes(text.encode("utf-8", "replace"))
    try:
        found = flagfiles.expand([f"--flagfile={path}"])
    except flags.Error as error:
        assert "SECRET1234" not in str(error)
    except Exception as error:
        assert "SECRET1234" not in str(error)
    else:
        assert not found or found[0].startswith("-")


def test_files_that_cannot_be_read_are_one_line(tmp_path, capfd):
    (tmp_path / "latin").write_bytes(b"--seed=\xe9\n")
    (tmp_path / "circle").write_text(f"--flagfile={tmp_path}/circle\n")
    for name, text in [
        ("/dev/zero", "is a device, expected a regular file"),
        (str(tmp_path), "is a folder, expected a regular file"),
        (str(tmp_path / "gone"), "gone does not exist"),
        (str(tmp_path / "latin"), "is not a UTF-8 text file"),
        (str(tmp_path / "circle"), "includes itself"),
    ]:
        assert commands.run(predict.main, f"--flagfile={name}") == 2
        errors = capfd.readouterr().err
        assert text in errors
        assert len(errors.splitlines()) == 1, errors
    assert commands.run(predict.main, "--flagfile") == 2
    assert "--flagfile needs the name of a file" in capfd.readouterr().err


def test_a_flag_file_may_be_a_pipe_of_the_shell():
    reading, writing = os.pipe()
    os.write(writing, b"--seed=5\n")
    os.close(writing)
    try:
        assert flagfiles.expand([f"--flagfile=/dev/fd/{reading}"]) == ["--seed=5"]
    finally:
        os.close(reading)
