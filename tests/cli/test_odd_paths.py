"""Workdirs and exports whose paths are not UTF-8, have line breaks or wildcards."""

import os

import pytest

from kerasseg import export, train
from kerasseg.inference import segmenter
from kerasseg.system import path_checks
from tests.cli import test_remedies
from tests.cli.test_remedies import run, train_flags
from tests.support import commands, levels, tiny

root, copy = test_remedies.root, test_remedies.copy
NOT_UTF8 = os.fsdecode(b"caf\xe9")
LINES = ["two\nlines", "two\r", "\u2028x", "end\n"]
WILDCARDS = ["set [1]", "what?", "*", "back\\slash"]


@pytest.mark.parametrize("name", [NOT_UTF8, *LINES, *WILDCARDS])
def test_a_run_is_refused_before_anything_is_written(name, copy, capsys):
    workdir = copy / name
    for flag in ("workdir", "records_dir"):
        if flag == "records_dir":
            if name in WILDCARDS:
                continue  # Records are not read by TensorFlow.
            (copy / "records").rename(workdir)
        status = commands.run(train.main, *train_flags(copy), f"--{flag}={workdir}")
        captured = capsys.readouterr()
        assert status == 2 and captured.err.startswith(f"Error: --{flag} is ")
        assert captured.err.count("\n") == 1 and "Rename the folder" in captured.err
        assert not captured.out and not (copy / "new").exists()


@pytest.mark.parametrize("name", [NOT_UTF8, *WILDCARDS])
def test_an_export_that_cannot_be_read_is_refused(name, copy, capsys):
    given = [f"--workdir={copy}/run", f"--export_dir={copy}/{name}"]
    assert commands.run(export.main, *given) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: --export_dir is ") and error.count("\n") == 1
    with pytest.raises(ValueError, match="`export_dir` is "):
        segmenter.load_export(str(copy / name))


@pytest.mark.slow
def test_a_finished_run_is_used_where_it_is(copy, capsys):
    workdir = levels.make_workdir(copy / f"{NOT_UTF8} [1]\nline")
    (workdir / "flags.txt").write_text(f"--records_dir={copy}/records\n")
    (copy / "a.png").write_bytes(tiny.png(levels.IMAGE))
    run_of = [f"--workdir={workdir}"]
    more = {
        "kerasseg.evaluate": [],
        "kerasseg.predict": [f"--input={copy}/a.png", f"--output_dir={workdir}/out"],
        "kerasseg.export": [f"--export_dir={copy}/export", "--check_images=0"],
    }
    for module, flags in more.items():
        status, text = run(capsys, module, [*run_of, *flags])
        assert status == 0, text


def test_usual_paths_are_accepted():
    for path in ("/a b/c", "a\tb", "it's", "é{x}", "~/x", "."):
        path_checks.check_text(path, "workdir")
        path_checks.check_model(path, "workdir")
