"""The command under load: overload, new versions, stops, and endurance."""

import base64
import collections
import json
import shutil
import signal
import time

import numpy as np
import pytest

from kerasseg import images
from tests.support import clients, served
from tests.support.server_process import IMAGE_FILE, Server, png, running, until

RED = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
BUSY = png(RED)
MASK = np.minimum(RED // 64, 2)  # 2 - MASK by the network with reversed classes.
LARGE = png(np.tile(RED, (2, 2)))  # As slow as a small real network.
MIB = 2**20
PATIENT = {"header_seconds": 5.0, "body_seconds": 15.0}  # Clients are slow under load.


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Two versions: the second one has reversed classes."""
    folder = tmp_path_factory.mktemp("exported")
    served.export(folder, 1, served.build_busy_model())
    served.export(folder, 2, served.build_busy_model(backwards=True))
    return folder


def put(exported, folder, number, of):
    """Publishes a copy of a version atomically, like an export."""
    temporary = folder / f".temporary-{number}"
    shutil.copytree(exported / str(of), temporary)
    temporary.rename(folder / str(number))


def overload(server, seconds):
    """Sends requests at ten times its capacity; returns the responses."""
    warm = clients.closed_loop(server.port, [LARGE], num_clients=16, seconds=1)
    rate = 10 * len(warm)
    assert {response.status for _, response in warm} == {200}
    responses = clients.open_loop(server.port, [LARGE], rate=rate, seconds=seconds)
    return [response for _, response in responses]


def check_overload(server, seconds):
    overload(server, max(1, seconds / 6))  # Allocates caches.
    before = server.memory()
    responses = overload(server, seconds)
    ended = time.monotonic()
    server.check_alive()
    assert time.monotonic() - ended < 2
    expected = np.tile(MASK, (2, 2))
    counts = collections.Counter(response.status for response in responses)
    print(counts)
    assert set(counts) <= {200, 429, 503, 504}  # 0 would be a lost response.
    assert counts[200] and counts[503]
    for response in responses:
        if response.status == 200:
            assert response.seconds < 30
            assert np.array_equal(images.read_label(response.body), expected)
        elif response.status == 503:
            assert int(response.headers["retry-after"]) > 0
    assert server.memory() - before < 50 * MIB


def alone(exported, folder, **settings):
    folder.mkdir(exist_ok=True)
    put(exported, folder, 1, 1)
    return running(Server(folder, **settings))


@pytest.mark.slow
def test_it_survives_ten_times_its_capacity(exported, tmp_path):
    with alone(exported, tmp_path, **PATIENT, max_batch_size=2) as server:
        check_overload(server, 3)


@pytest.mark.slow
def test_it_survives_ten_times_its_capacity_for_a_minute(exported, tmp_path):
    many = {"max_connections": 4096, "max_connections_per_client": 4096}
    with alone(exported, tmp_path, **PATIENT, **many) as server:
        check_overload(server, 60)


def check_versions(responses):
    """Checks that every response is that of one version."""
    for response in responses:
        assert response.status == 200, response
        mask = images.read_label(response.body)
        reversed_classes = int(response.headers["x-model-version"]) % 2 == 0
        assert np.array_equal(mask, 2 - MASK if reversed_classes else MASK)


def version(server):
    return server.json("GET", "/readyz")[1]["version"]


@pytest.mark.slow
def test_changes_of_versions_and_stopping_fail_no_request(exported, tmp_path):
    with (
        alone(exported, tmp_path) as server,
        clients.Load(server.port, [BUSY]) as load,
    ):
        put(exported, tmp_path, 2, 2)
        until(lambda: version(server) == "2")
        half = tmp_path / "3"  # Copied slowly: a file now, the rest later.
        half.mkdir()
        whole = (exported / "1" / "saved_model.pb").read_bytes()
        for part in (whole[:1000], whole[1000:]):
            with (half / "saved_model.pb").open("ab") as file:
                file.write(part)
            time.sleep(0.3)
        broken = tmp_path / "5"
        shutil.copytree(exported / "1", broken)
        (broken / "saved_model.pb").write_bytes(whole[: len(whole) // 2])
        status = "/v1/models/levels/versions/5"
        until(lambda: server.json("GET", status)[0] == 200)
        until(
            lambda: (
                server.json("GET", status)[1]["model_version_status"][0]["state"]
                == "END"
            )
        )
        (state,) = server.json("GET", status)[1]["model_version_status"]
        assert state["status"]["error_code"] == "UNKNOWN"
        assert version(server) == "2"
        shutil.rmtree(broken)
        shutil.rmtree(half)
        put(exported, tmp_path, 7, 1)
        until(lambda: version(server) == "7")
        for number in (1, 2, 7):
            shutil.rmtree(tmp_path / str(number))
        time.sleep(0.3)
        assert version(server) == "7"  # The last one stays.
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
    complete = [response for _, response in load.responses if response.status]
    check_versions(complete)
    numbers = {response.headers["x-model-version"] for response in complete}
    assert numbers == {"1", "2", "7"}
    lost = [response for _, response in load.responses if not response.status]
    assert not any(
        response.headers or response.body for response in lost
    )  # None was truncated.


@pytest.mark.slow
def test_thirty_new_versions_under_load_do_not_leak_memory(exported, tmp_path):
    # Small tiles: the memory of warming up with large ones would vary by more.
    with alone(exported, tmp_path, tile_side=256) as server:
        measured = []
        with clients.Load(server.port, [BUSY]) as load:
            for number in range(2, 32):
                put(exported, tmp_path, number, 2 - number % 2)
                until(lambda number=number: version(server) == str(number))
                shutil.rmtree(tmp_path / str(number - 1))
                measured.append(server.memory())
        check_versions([response for _, response in load.responses])
        print([round(each / MIB) for each in measured])
        per_version = np.polyfit(range(15), measured[-15:], 1)[0]
        assert per_version < MIB


def slope(server, seconds, step):
    """Returns the growth of its memory in bytes per minute, by least squares."""
    times, sizes = [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        times.append(time.monotonic() / 60)
        sizes.append(server.memory())
        time.sleep(step)
    return np.polyfit(times, sizes, 1)[0]


def mixed():
    """Returns requests of all kinds: images of many sizes, tensors, and wrong ones."""
    rng = np.random.default_rng(1)
    sides = rng.integers(20, 200, (30, 2))
    good = [png(rng.integers(0, 256, (h, w), np.uint8)) for h, w in sides]
    predict = "/v1/models/levels:predict"
    file = {"b64": base64.b64encode(good[1]).decode()}
    tensors = [
        {"instances": [{"image_bytes": file}]},
        {"inputs": {"image_bytes": [file] * 3}},
        {"signature_name": "tensor", "instances": rng.random((2, 9, 7, 3)).tolist()},
    ]
    wrong = [
        b"{",
        100_000 * b"[",
        b'{"instances": [{"image_bytes": {"b64": "%"}}]}',
        b'{"signature_name": "tensor", "instances": [[1]]}',
    ]
    return [
        *good,
        *(clients.Request(file, accept="image/jpeg") for file in good[:5]),
        *(clients.Request(json.dumps(each).encode(), predict) for each in tensors),
        *(clients.Request(each, predict) for each in wrong),
        clients.Request(b"{}", "/v1/models/other:predict"),
        *(clients.Request(file, leaves=True) for file in good[5:8]),
        png(np.tile(RED, (4, 4))),  # In tiles.
        png(np.zeros((9000, 9000), np.uint8)),  # Too large.
        *(IMAGE_FILE, good[0][:-20], b"", b"<html>"),
    ]


def soak(exported, folder, seconds):
    with alone(exported, folder, **PATIENT, tile_side=512) as server:
        with clients.Load(server.port, mixed(), 4) as load:
            time.sleep(seconds / 4)
            growth = slope(server, seconds * 3 / 4, 1)
        counts = load.statuses()
        print(f"{counts}, {growth / MIB:.2f} MiB/min")
        assert set(counts) == {200, 400, 404, 413, 499}  # 499: the client left.
        assert counts.total() > 2000
    return growth


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_does_not_grow_in_ten_minutes(exported, tmp_path):
    assert soak(exported, tmp_path, 600) < MIB


@pytest.mark.slow
def test_the_endurance_test_detects_a_leak(exported, tmp_path, monkeypatch):
    """The control: a server that keeps 4 kB per request, for two minutes."""
    code = (
        "import runpy, sys\n"
        "from kerasseg.serve import bodies\n"
        "kept, read = [], bodies.read\n"
        "async def leak(*arguments, **named):\n"
        "    kept.append(bytearray(4096))\n"
        "    return await read(*arguments, **named)\n"
        "bodies.read = leak\n"
        "runpy.run_module('kerasseg.serve', run_name='__main__', alter_sys=True)\n"
    )
    command = Server.command

    def leaking(self, folder, settings):
        python, _, _, *flags = command(self, folder, settings)
        return [python, "-c", code, *flags]

    monkeypatch.setattr(Server, "command", leaking)
    assert soak(exported, tmp_path, 120) > MIB
