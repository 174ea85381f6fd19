"""A tiny training run with parameter servers, each task in its own process.

python -m tests.support.asynchronous_tiny RECORDS WORKDIR STEPS

TF_CONFIG tells which task this is. The chief prints the lines of `train_tiny`.
"""

import sys

from kerasseg import distribution
from tests.support import train_tiny


def main(records_dir, workdir, steps):
    """Trains, or serves."""
    try:
        if distribution.serve_if_assigned(cluster_timeout=20):
            return
        strategy = distribution.strategy(cluster_timeout=20)
    except distribution.WorkerLostError as lost:
        print(lost, flush=True)
        sys.exit(1)
    train_tiny.train(records_dir, workdir, int(steps), strategy, dropout=0.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
