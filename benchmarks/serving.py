r"""Throughput and latency of the server, compared with the SavedModel in a loop.

python benchmarks/serving.py --export_dir=DIR --image=FILE [--seconds=20]

"bare" calls the signature serving_default of the newest version with the file in a
loop, in its own process. "full" is `python -m kerasseg.serve` at full load: --clients
clients that each send the next request to /segment after the last response. "half"
sends half the requests per second of "bare", evenly spaced. They are measured
alternately, --rounds times. Prints the medians as one JSON line: requests per second,
the 50th and 99th percentile of the latency in milliseconds, and two ratios.
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

_IMAGE = flags.DEFINE_string("image", None, "A JPEG or PNG file.")
flags.DEFINE_alias("picture", "image")
_SECONDS = flags.DEFINE_float("seconds", 20.0, "Duration of each measurement.")
_CLIENTS = flags.DEFINE_integer("clients", 4, "Number of clients at full load.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Number of measurements of each kind.")
_BARE = flags.DEFINE_bool(
    "bare", False, "Only run the loop; used by the benchmark itself."
)

_WARM_SECONDS = 2.0


def main(argv):
    """Measures all alternately."""
    del argv
    export_dir, image = cli.required(
        export_dir=cli.EXPORT_DIR.value, image=_IMAGE.value
    )
    data = pathlib.Path(image).read_bytes()
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
    times, begin = [], time.perf_counter()
    while time.perf_counter() < begin + _SECONDS.value:
        start = time.perf_counter()
        predict(image_bytes=files)["mask_png_bytes"].numpy()
        times.append(time.perf_counter() - start)
    return _summary(times, time.perf_counter() - begin)


def _summary(times, seconds):
    p50, p99 = np.percentile(times, [50, 99])
    return {"a_second": len(times) / seconds, "p50_ms": 1e3 * p50, "p99_ms": 1e3 * p99}


class _Server:
    """The server in a process; a context manager that returns its port."""

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
            connection = http.client.HTTPConnection("127.0.0.1", self._port)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return self._port
            time.sleep(0.1)

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait()


def _send(connection, data):
    connection.request("POST", "/segment", data)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise RuntimeError(f"The server returned {response.status}: {body[:200]!r}")


def _closed_loop(port, data, seconds):
    """Returns the seconds of each request, and the total time."""
    begin = time.perf_counter()

    def client(_):
        connection, times = http.client.HTTPConnection("127.0.0.1", port), []
        while time.perf_counter() < begin + seconds:
            start = time.perf_counter()
            _send(connection, data)
            times.append(time.perf_counter() - start)
        return times

    with concurrent.futures.ThreadPoolExecutor(_CLIENTS.value) as pool:
        results = list(pool.map(client, range(_CLIENTS.value)))
    times = [each for times in results for each in times]
    return times, time.perf_counter() - begin


def _spaced(port, data, rate):
    """Sends `rate` requests per second, evenly spaced, without waiting for responses.

    The time of a request starts when it was due.
    """
    begin = time.perf_counter()

    def send(i):
        due = begin + i / rate
        connection = http.client.HTTPConnection("127.0.0.1", port)
        time.sleep(max(0, due - time.perf_counter()))
        _send(connection, data)
        return time.perf_counter() - due

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        times = list(pool.map(send, range(int(rate * _SECONDS.value))))
    return times, time.perf_counter() - begin


if __name__ == "__main__":
    app.run(main)
