"""A tiny training of several workers, each a process of its own.

python -m tests.cluster_tiny RECORDS WORKDIR STEPS [FAULT]

TF_CONFIG says which worker this is. FAULT makes worker 1 fail, "raise:STEP", or the
chief save for seconds, "slow".
"""

import sys
import time

from kerasseg import distribution
from kerasseg.training import loop
from kerasseg.workdir import checkpoints
from tests import train_tiny


def main(records_dir, workdir, steps, fault=""):
    """Trains; prints what `train_tiny` does."""
    try:
        strategy = distribution.strategy("multi_worker", cluster_timeout=20)
    except distribution.WorkerLostError as lost:
        print(lost, flush=True)
        sys.exit(1)
    chief = distribution.WorkerGroup(strategy).is_chief
    if fault == "slow" and chief:
        save_slowly()
    elif fault.startswith("raise") and not chief:
        fail_at(int(fault.partition(":")[2]))
    train_tiny.train(records_dir, workdir, int(steps), strategy, dropout=0.0)


def fail_at(step):
    """Makes the run raise an error of its own after a step."""
    check = loop.Loop._check

    def fail(self, number, *others):
        check(self, number, *others)
        if number == step:
            raise ValueError("Picture 7 of this worker is odd.")

    loop.Loop._check = fail


def save_slowly():
    """Makes each checkpoint take seconds."""
    save = checkpoints.Checkpoints.save

    def wait(self, step):
        time.sleep(5)
        save(self, step)

    checkpoints.Checkpoints.save = wait


if __name__ == "__main__":
    main(*sys.argv[1:])
