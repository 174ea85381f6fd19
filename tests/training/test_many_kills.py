"""The training command, killed at random moments again and again, ends bit-equal.

With KERASSEG_CAMVID=DIR it trains on CamVid for about half an hour, undisturbed and
then killed ten times; without it for a minute on drawn images, killed three times.
"""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.distribution import test_cluster_processes
from tests.support import faults

CAMVID = os.environ.get("KERASSEG_CAMVID")
# Scale both together: kills are spread over the steps.
KILLS, STEPS = (10, 1800) if CAMVID else (3, 40)
HOURS = 3
FLAGS = (
    *("--model=enet", "--optimizer=adam", "--base_learning_rate=0.0005"),
    *(
        "--train_batch_size=4",
        f"--train_crop_size={'360,480' if CAMVID else '120,160'}",
    ),
    *("--ema_decay=0.99", "--early_stopping_validations=100", "--eval_limit=20"),
    *(f"--training_number_of_steps={STEPS}", f"--save_interval_steps={STEPS // 20}"),
    f"--eval_interval_steps={STEPS // 6}",
)
# With one thread, sums are always computed in the same order.
ENVIRONMENT = {
    **faults.ENVIRONMENT,
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(HOURS * 3600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    records = tmp_path_factory.mktemp("records")
    command = ["-m", "tfrecords_tools.build", f"--records_dir={records}"]
    command += [f"--dataset={'camvid' if CAMVID else 'shapes'}", "--workers=1"]
    done = faults.run(command + ([f"--source_dir={CAMVID}"] if CAMVID else []))
    assert done.returncode == 0, done.stderr
    return records


def train(folder, workdir, kill_after=None, delay=0.0):
    """Trains; is killed `delay` seconds after a step, if one is given.

    Returns the steps that were taken, and whether the run was completed.
    """
    command = [sys.executable, "-m", "tests.support.print_steps", *FLAGS]
    command += [f"--records_dir={folder}", f"--workdir={workdir}"]
    with open(workdir.parent / "errors", "ab+") as errors:
        process = subprocess.Popen(
            command,
            cwd=faults.ROOT,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        steps = []
        for line in process.stdout:
            steps += map(int, re.findall(r"^step (\d+)$", line))
            if kill_after is not None and steps and steps[-1] >= kill_after:
                time.sleep(delay)
                process.send_signal(signal.SIGKILL)
                break
        steps += map(int, re.findall(r"^step (\d+)$", process.communicate()[0], re.M))
        status = process.returncode
        assert status in (0, -signal.SIGKILL), (workdir.parent / "errors").read_text()
    return steps, status == 0


def test_a_run_that_is_killed_again_and_again_ends_bit_equal(folder, tmp_path):
    began = time.monotonic()
    steps, _ = train(folder, tmp_path / "whole")
    pace = (time.monotonic() - began) / STEPS
    assert steps == list(range(1, STEPS + 1))
    rng = np.random.default_rng(2026)
    moments = sorted(rng.choice(np.arange(1, STEPS - 1), KILLS, replace=False))
    last, lost = 0, []
    for moment in moments:
        # At a random time within two steps: in a step, a save or a validation.
        steps, ended = train(
            folder, tmp_path / "killed", moment, 2 * pace * rng.random()
        )
        assert not ended
        lost.append(last + 1 - steps[0])
        last = steps[-1]
    steps, ended = train(folder, tmp_path / "killed")
    assert ended
    lost.append(last + 1 - steps[0])
    print(f"{KILLS} kills of {STEPS} steps at {pace:.2f} s took back {lost[1:]} steps")
    assert max(lost) <= STEPS // 20  # One save interval.
    whole, killed = (
        test_cluster_processes.values(tmp_path / name, STEPS)
        for name in ("whole", "killed")
    )
    assert whole.keys() == killed.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(value, killed[name], err_msg=name)
    for name in ("scores.csv", "best/model.json"):
        texts = [(tmp_path / run / name).read_text() for run in ("whole", "killed")]
        assert texts[0] == texts[1], name
