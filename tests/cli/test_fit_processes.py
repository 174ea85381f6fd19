"""`kerasseg fit` from images to an export, killed once."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from kerasseg import records
from kerasseg.cli.fitting import run_file
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
    # Too few minutes: the error gives a number that is enough on this machine.
    refused = faults.run(
        ["-m", "kerasseg.cli.fit", *data, f"--workdir={tmp_path}/few", "--minutes=0.1"],
        timeout=SECONDS,
    )
    assert refused.returncode == 2
    minutes = re.search(r"Give --minutes=(\d+) or more", refused.stderr)[1]

    arguments = [*data, f"--workdir={workdir}", f"--minutes={minutes}"]
    log = tmp_path / "log"
    with open(log, "w+b") as file:
        process = start(arguments, file)
        wait_for(lambda: b"Tracing the first step" in log.read_bytes(), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    plan = (workdir / run_file.PLAN).read_text()
    assert not (workdir / run_file.EXPORT).exists()

    with open(log, "w+b") as file:
        assert start(arguments, file).wait(SECONDS) == 0, log.read_text()
    text = log.read_text()
    assert "records: complete" in text and "plan: complete" in text
    assert (workdir / run_file.PLAN).read_text() == plan
    counts = records.read_info(workdir / run_file.RECORDS).splits
    # A fifth of 40 images is held out.
    assert sum(shard.records for shard in counts["val"]) == 8
    # The drawn shapes are learned to some degree: chance is below 0.15.
    scores = json.loads((workdir / "metrics.json").read_text())
    assert scores["mean_iou"] > 0.15 and f"{scores['mean_iou']:.4f}" in text
    assert (workdir / "report.html").exists()
    assert (workdir / run_file.EXPORT / "1" / "saved_model.pb").exists()
    steps = int(re.search(r"--training_number_of_steps=(\d+)", plan)[1])
    assert (workdir / "scores.csv").read_text().splitlines()[-1].startswith(f"{steps},")
    # Complete: the same command again does nothing.
    again = faults.run(["-m", "kerasseg.cli.fit", *arguments])
    assert again.returncode == 0 and "export: complete" in again.stdout
