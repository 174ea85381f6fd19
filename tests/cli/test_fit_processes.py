"""`kerasseg fit` from images to an export, killed once."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from kerasseg import records
from kerasseg.workdir import layout
from tests.support import corrupt, faults

SECONDS = 900  # Most, on a slow machine.


def start(arguments, log):
    return subprocess.Popen(
        [sys.executable, "-m", "kerasseg.cli.fit", *arguments],
        cwd=faults.ROOT,
        env=faults.ENVIRONMENT,
        stdout=log,
        stderr=subprocess.STDOUT,
    )


def wait_for(condition, process):
    """Waits until a condition is true; fails if the process ends before."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.2)


def shortened(plan):
    """Returns a plan with 20 steps, and checkpoints and validations after each 10."""
    plan = re.sub(r"--(training_number_of)_steps=\d+", r"--\1_steps=20", plan)
    plan = re.sub(r"--warmup_steps=\d+", "--warmup_steps=5", plan)
    return re.sub(r"--(save|eval)_interval_steps=\d+", r"--\1_interval_steps=10", plan)


@pytest.mark.slow
def test_forty_images_become_an_export_even_if_the_command_is_killed(tmp_path):
    drawn = ((".", *each[1:]) for each in corrupt.drawn(40, 0))
    folder = corrupt.write(tmp_path / "own", drawn)
    workdir = tmp_path / "run"
    data = [
        f"--images={folder}/images/*.png",
        f"--masks={folder}/masks/*.png",
        f"--classes={','.join(corrupt.CLASSES)}",
    ]
    arguments = [*data, f"--workdir={workdir}", "--minutes=30"]
    planned = faults.run(["-m", "kerasseg.cli.fit", *arguments, "--dry_run"])
    assert planned.returncode == 0, planned.stderr
    assert not (workdir / "checkpoints").exists()
    plan = shortened((workdir / layout.PLAN).read_text())
    (workdir / layout.PLAN).write_text(plan)

    log = tmp_path / "log"
    with open(log, "w+b") as file:
        process = start(arguments, file)
        wait_for(lambda: any(workdir.glob("checkpoints/ckpt-*.index")), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (workdir / layout.FIT_EXPORT).exists()

    with open(log, "w+b") as file:
        assert start(arguments, file).wait(SECONDS) == 0, log.read_text()
    text = log.read_text()
    assert "records: complete" in text and "plan: complete" in text
    assert "resumed at step 10" in text
    assert (workdir / layout.PLAN).read_text() == plan
    counts = records.read_info(workdir / layout.FIT_RECORDS).splits
    # A fifth of 40 images is held out.
    assert sum(shard.records for shard in counts["val"]) == 8
    scores = json.loads((workdir / "metrics.json").read_text())
    assert f"Mean IoU on val: {scores['mean_iou']:.4f}" in text
    assert (workdir / "report.html").exists()
    assert (workdir / layout.FIT_EXPORT / "1" / "saved_model.pb").exists()
    assert (workdir / "scores.csv").read_text().splitlines()[-1].startswith("20,")
    # Complete: the same command again does nothing.
    again = faults.run(["-m", "kerasseg.cli.fit", *arguments])
    assert again.returncode == 0 and "export: complete" in again.stdout
