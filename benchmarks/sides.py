"""Runs both sides of a comparison alternately, each run in its own process.

The last line that a side prints is its result as JSON. The median of the runs counts.
"""

import json
import statistics
import subprocess
import sys

from absl import flags

_PEER = flags.DEFINE_string("peer", None, "Script of the peer to compare with.")
_PEER_PYTHON = flags.DEFINE_string(
    "peer_python", sys.executable, "Python interpreter of the peer."
)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Number of runs of each side.")


def measure(script: str, ours: list[str], peer: list[str]) -> dict[str, float]:
    """Runs both sides `--rounds` times.

    Args:
        script: Script of our side.
        ours: Arguments of `script`.
        peer: Arguments of `--peer`.

    Returns:
        Medians by name: "ours_<key>" and, with `--peer`, "peer_<key>".
    """
    commands = {"ours": [sys.executable, script, *ours]}
    if _PEER.value:
        commands["peer"] = [_PEER_PYTHON.value, _PEER.value, *peer]
    results = {side: [] for side in commands}
    for _ in range(_ROUNDS.value):
        for side, command in commands.items():
            results[side].append(_run(command))
    return {
        f"{side}_{key}": statistics.median(run[key] for run in runs)
        for side, runs in results.items()
        for key, value in runs[0].items()
        if isinstance(value, float)
    }


def _run(command):
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(output.stdout.strip().splitlines()[-1])
