r"""Requests a second and latency of the server, beside the SavedModel in a bare loop.

python benchmarks/serving.py --export_dir=DIR --picture=FILE [--seconds=20]

"bare" calls the signature serving_default of the newest version with the file, again
and again, in a process of its own. "full" is `python -m kerasseg.serve` with --clients
clients that each ask /segment again when they have an answer; "half" sends it, evenly
spaced, half as many requests a second as bare did. All are taken in turn, --rounds
times; the medians are printed as one JSON line: requests a second, milliseconds of the
50th and 99th percentile, and the two ratios that matter.
"""

import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

import numpy as np
from absl import app, flags

from kerasseg import cli

_PICTURE = flags.DEFINE_string("picture", None, "A JPEG or PNG file.")
_SECONDS = flags.DEFINE_float("seconds", 20.0, "Length of each measurement.")
_CLIENTS = flags.DEFINE_integer("clients", 4, "Clients at full load.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Measurements of each kind.")
_BARE = flags.DEFINE_bool("bare", False, "Be the bare loop, for the benchmark itself.")

_WARM_SECONDS = 2.0


def main(argv):
    """Times each in turn."""
    del argv
    export_dir, picture = cli.required(
        export_dir=cli.EXPORT_DIR.value, picture=_PICTURE.value
    )
    data = pathlib.Path(picture).read_bytes()
    if _BARE.value:
        print(json.dumps(_bare(export_dir, data)))
        return
    sides: dict[str, list[dict]] = {"bare": [], "full": [], "half": []}
    for _ in range(_ROUNDS.value):
        sides["bare"].append(_run_bare())
        rate = sides["bare"][-1]["a_second"] / 2
        with _Server(export_dir) as port:
            _closed_loop(port, data, _WARM_SECONDS)
            sides["full"].append(_summary(*_closed_loop(port, data, _SECONDS.value)))
            sides["half"].append(_summary(*_spaced(port, data, rate)))
    report = {
        side: {
            key: round(statistics.median(r[key] for r in runs), 2) for key in runs[0]
        }
        for side, runs in sides.items()
    }
    print(
        json.dumps(
            {
                **report,
                "full_to_bare_rate": _ratio(sides, "full", "a_second"),
                "half_to_bare_p99": _ratio(sides, "half", "p99_ms"),
            }
        )
    )


def _ratio(sides, side, key):
    pairs = zip(sides[side], sides["bare"], strict=True)
    return round(statistics.median(one[key] / bare[key] for one, bare in pairs), 3)


def _run_bare():
    done = subprocess.run(
        [sys.executable, *sys.argv, "--bare"], stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _bare(export_dir, data):
    import tensorflow as tf

    newest = max(int(n) for n in os.listdir(export_dir) if n.isdecimal())
    loaded = tf.saved_model.load(os.path.join(export_dir, str(newest)))
    predict = loaded.signatures["serving_default"]
    files = tf.constant([data])
    warm = time.perf_counter() + _WARM_SECONDS
    while time.perf_counter() < warm:
        predict(image_bytes=files)
    times, began = [], time.perf_counter()
    while time.perf_counter() < began + _SECONDS.value:
        start = time.perf_counter()
        predict(image_bytes=files)["mask_png_bytes"].numpy()
        times.append(time.perf_counter() - start)
    return _summary(times, time.perf_counter() - began)


def _summary(times, seconds):
    p50, p99 = np.percentile(times, [50, 99])
    return {"a_second": len(times) / seconds, "p50_ms": 1e3 * p50, "p99_ms": 1e3 * p99}


class _Server:
    """The server as a process; gives its port."""

    def __init__(self, export_dir):
        command = [sys.executable, "-m", "kerasseg.serve", "--model_name=benchmark"]
        self._process = subprocess.Popen(
            [*command, f"--export_dir={export_dir}", "--port=0"],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._port = int(re.search(r":(\d+)/", self._process.stdout.readline())[1])

    def __enter__(self):
        while True:
            line = http.client.HTTPConnection("127.0.0.1", self._port)
            line.request("GET", "/readyz")
            if line.getresponse().status == 200:
                return self._port
            time.sleep(0.1)

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait()


def _ask(line, data):
    line.request("POST", "/segment", data)
    answer = line.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"The server answered {answer.status}: {body[:200]!r}")


def _closed_loop(port, data, seconds):
    """Returns the seconds of each request, and those that all took."""
    began = time.perf_counter()

    def client(_):
        line, times = http.client.HTTPConnection("127.0.0.1", port), []
        while time.perf_counter() < began + seconds:
            start = time.perf_counter()
            _ask(line, data)
            times.append(time.perf_counter() - start)
        return times

    with concurrent.futures.ThreadPoolExecutor(_CLIENTS.value) as pool:
        found = list(pool.map(client, range(_CLIENTS.value)))
    times = [each for times in found for each in times]
    return times, time.perf_counter() - began


def _spaced(port, data, rate):
    """Sends `rate` requests a second, evenly spaced, whatever becomes of them.

    A request's time begins when it was due.
    """
    began = time.perf_counter()

    def ask(i):
        due = began + i / rate
        line = http.client.HTTPConnection("127.0.0.1", port)
        time.sleep(max(0, due - time.perf_counter()))
        _ask(line, data)
        return time.perf_counter() - due

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        times = list(pool.map(ask, range(int(rate * _SECONDS.value))))
    return times, time.perf_counter() - began


if __name__ == "__main__":
    app.run(main)
