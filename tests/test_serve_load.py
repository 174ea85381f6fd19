"""The command under load: overload, new versions, stops, and hours of it."""

import collections
import shutil
import signal
import time

import numpy as np
import pytest

from kerasseg import images
from tests import clients, served
from tests.server_process import PICTURE, Server, png, running, until

RED = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
BUSY = png(RED)
SEEN = np.minimum(RED // 64, 2)  # 2 - SEEN by the network that is backwards.
LARGE = png(np.tile(RED, (2, 2)))  # As slow as a small real network.
MIB = 2**20
PATIENT = {"header_seconds": 5.0, "body_seconds": 15.0}  # The clients are slow, too.


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Two versions: the second one sees everything backwards."""
    folder = tmp_path_factory.mktemp("exported")
    served.export(folder, 1, served.build_busy_model())
    served.export(folder, 2, served.build_busy_model(backwards=True))
    return folder


def put(exported, folder, number, of):
    """Moves a copy of a version in whole, as an export does."""
    aside = folder / f".aside-{number}"
    shutil.copytree(exported / str(of), aside)
    aside.rename(folder / str(number))


def overload(server, seconds):
    """Sends ten times what it can do; returns the answers."""
    warm = clients.closed_loop(server.port, [LARGE], num_clients=16, seconds=1)
    rate = 10 * len(warm)
    assert {answer.status for _, answer in warm} == {200}
    answers = clients.open_loop(server.port, [LARGE], rate=rate, seconds=seconds)
    return [answer for _, answer in answers]


def check_overload(server, seconds):
    overload(server, max(1, seconds / 6))  # Memory that it keeps for good.
    before = server.memory()
    answers = overload(server, seconds)
    ended = time.monotonic()
    server.check_alive()
    assert time.monotonic() - ended < 2
    seen = np.tile(SEEN, (2, 2))
    counts = collections.Counter(answer.status for answer in answers)
    print(counts)
    assert set(counts) <= {200, 429, 503, 504}  # 0 would be a lost one.
    assert counts[200] and counts[503]
    for answer in answers:
        if answer.status == 200:
            assert answer.seconds < 30
            assert np.array_equal(images.read_label(answer.body), seen)
        elif answer.status == 503:
            assert int(answer.headers["retry-after"]) > 0
    assert server.memory() - before < 50 * MIB


def alone(exported, folder, **settings):
    folder.mkdir(exist_ok=True)
    put(exported, folder, 1, 1)
    return running(Server(folder, **settings))


def test_ten_times_its_capacity_leaves_it_well(exported, tmp_path):
    with alone(exported, tmp_path, **PATIENT, max_batch_size=2) as server:
        check_overload(server, 3)


@pytest.mark.slow
def test_a_minute_of_ten_times_its_capacity_leaves_it_well(exported, tmp_path):
    with alone(exported, tmp_path, **PATIENT) as server:
        check_overload(server, 60)


def check_versions(answers):
    """Every answer is from one version, and as that version would give it."""
    for answer in answers:
        assert answer.status == 200, answer
        found = images.read_label(answer.body)
        backwards = int(answer.headers["x-model-version"]) % 2 == 0
        assert np.array_equal(found, 2 - SEEN if backwards else SEEN)


def version(server):
    return server.json("GET", "/readyz")[1]["version"]


def test_new_broken_and_vanishing_versions_and_the_end_fail_no_request(
    exported, tmp_path
):
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
    answered = [answer for _, answer in load.answers if answer.status]
    check_versions(answered)
    numbers = {answer.headers["x-model-version"] for answer in answered}
    assert numbers == {"1", "2", "7"}
    lost = [answer for _, answer in load.answers if not answer.status]
    assert not any(answer.headers or answer.body for answer in lost)  # None was cut.


@pytest.mark.slow
def test_thirty_new_versions_under_load_give_their_memory_back(exported, tmp_path):
    with alone(exported, tmp_path) as server:
        measured = []
        with clients.Load(server.port, [BUSY]) as load:
            for number in range(2, 32):
                put(exported, tmp_path, number, 2 - number % 2)
                until(lambda number=number: version(server) == str(number))
                shutil.rmtree(tmp_path / str(number - 1))
                measured.append(server.memory())
        check_versions([answer for _, answer in load.answers])
        print([round(each / MIB) for each in measured])
        a_version = np.polyfit(range(15), measured[-15:], 1)[0]
        assert a_version < MIB


def slope(server, seconds, step):
    """Returns by how many bytes a minute its memory grows, by least squares."""
    times, sizes = [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        times.append(time.monotonic() / 60)
        sizes.append(server.memory())
        time.sleep(step)
    return np.polyfit(times, sizes, 1)[0]


def mixed():
    """Pictures of many sizes, and some that are broken."""
    rng = np.random.default_rng(1)
    sides = rng.integers(20, 200, (30, 2))
    good = [png(rng.integers(0, 256, (h, w), np.uint8)) for h, w in sides]
    return [*good, PICTURE, good[0][:-20], b"", b"<html>"]


def soak(exported, folder, seconds):
    with alone(exported, folder, **PATIENT) as server:
        with clients.Load(server.port, mixed(), 4) as load:
            time.sleep(seconds / 4)
            found = slope(server, seconds * 3 / 4, 1)
        assert set(load.statuses()) == {200, 400}
        print(f"{sum(load.statuses().values())} requests, {found / MIB:.2f} MiB/min")
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_minutes_of_work_leave_its_memory_as_it_was(exported, tmp_path):
    assert soak(exported, tmp_path, 600) < MIB


@pytest.mark.slow
def test_the_soak_would_find_a_leak(exported, tmp_path, monkeypatch):
    """Its control: a server that keeps 4 kB of each request, for two minutes."""
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
