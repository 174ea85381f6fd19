"""Both sides of a comparison, run in turn, each in a process of its own.

A side prints what it measured as one line of JSON, its last; medians are kept.
"""

import json
import statistics
import subprocess
import sys

from absl import flags

_PEER = flags.DEFINE_string("peer", None, "The peer's script.")
_PEER_PYTHON = flags.DEFINE_string("peer_python", sys.executable, "Runs the peer.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Runs of each side.")


def measure(script, ours, peer) -> dict[str, float]:
    """Runs both sides as often as `--rounds` says.

    Args:
        script: Our side's script.
        ours: Its arguments.
        peer: The arguments of `--peer`.

    Returns:
        Medians by "ours_<what>" and, with `--peer`, "peer_<what>".
    """
    commands = {"ours": [sys.executable, script, *ours]}
    if _PEER.value:
        commands["peer"] = [_PEER_PYTHON.value, _PEER.value, *peer]
    results = {side: [] for side in commands}
    for _ in range(_ROUNDS.value):
        for side, command in commands.items():
            results[side].append(_run(command))
    return {
        f"{side}_{what}": statistics.median(result[what] for result in found)
        for side, found in results.items()
        for what, value in found[0].items()
        if isinstance(value, float)
    }


def _run(command):
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(output.stdout.strip().splitlines()[-1])
