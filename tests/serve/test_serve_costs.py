"""Admission by cost, tiles, and the order of small and large images."""

import asyncio
import contextlib
import io
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kerasseg import images, inference
from kerasseg.images.class_rules import DEFAULT_RULE
from kerasseg.serve import (
    admission,
    batching,
    costs,
    decoding,
    engine,
    file_headers,
    image_pipeline,
)
from kerasseg.serve.request_errors import RequestError
from tests.support import clients, served
from tests.support.server_process import IMAGE_FILE, Fake, Server, at_once, running

TILE = 128


def saved(kind, height, width, **options):
    file = io.BytesIO()
    mode = options.pop("mode", "L")
    Image.new(mode, (width, height)).save(file, kind, **options)
    return file.getvalue()


def bilevel(height, width):
    """Returns a PNG of 1-bit pixels: a few bytes per row."""
    return saved("PNG", height, width, mode="1")


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["PNG", "JPEG"]))
@settings(max_examples=30, deadline=None)
def test_the_size_in_the_header_is_that_of_the_image(height, width, kind):
    file = saved(kind, height, width, **({"progressive": True} if width % 2 else {}))
    assert file_headers.claimed_size(file) == (height, width)


@given(
    st.binary(max_size=60), st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"])
)
@settings(deadline=None)
def test_the_header_of_random_bytes_is_read_without_an_error(data, start):
    size = file_headers.claimed_size(start + data)
    assert size is None or len(size) == 2


def test_the_cost_counts_the_pixels_that_tiles_share():
    # Tiles of 128 share 32: 300 is 0-128, 96-224, 192-300, so 128 + 128 + 108 = 364;
    # 200 is 0-128 and 96-200, so 128 + 104 = 232.
    plan = costs.plan(300, 200, TILE)
    assert plan == costs.Plan(True, 364 * 232, TILE**2, True)
    assert costs.plan(128, 128, TILE) == costs.Plan(False, TILE**2, TILE**2, True)
    assert costs.plan(64, 64, TILE).large is False  # A quarter of a tile.
    # One row is padded to 32: 3 tiles of 128, 128 and 108 columns.
    assert costs.plan(1, 300, TILE).num_pixels == 32 * 364


def test_a_cost_follows_the_calls_that_it_observes():
    cost = costs.Cost(seconds_per_pixel=1e-6)
    cost.observe(10**6, 6.0)  # 0.8 * 1 + 0.2 * 6 = 2 seconds per megapixel.
    assert cost.seconds(10**6) == pytest.approx(2)
    cost.observe(100, 1.0)  # A small call is slow per pixel.
    assert cost.seconds(10**6) == pytest.approx(2)
    cost.observe(1000, 1e-3 * 0.5)  # 0.8 * 2 + 0.2 * 0.5.
    assert cost.seconds(10**6) == pytest.approx(1.7)


def test_a_call_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr(costs.memory, "available", lambda: 2**30)
    cost = costs.Cost(bytes_per_pixel=2**20)
    cost.check_memory(2**10)
    with pytest.raises(RequestError, match=r"about 2.00 GiB .* 1.00 GiB are") as caught:
        cost.check_memory(2**11)
    assert caught.value.status == 413
    cost.observe(2**10, 1)  # The process has kept 1 GiB, which the next call uses.
    cost.check_memory(2**11)


def gate(**options):
    return admission.Admission(4, 10, **options)


def test_requests_of_one_client_are_limited():
    limited = gate(max_per_client=1)
    with limited.enter("a"):
        limited.check("b")
        with pytest.raises(RequestError, match="Your address has 1 requests") as caught:
            limited.check("a")
        assert caught.value.status == 503
    limited.check("a")


def test_computation_is_limited_by_its_seconds():
    limited = gate(max_seconds=10)
    with limited.computing("a", 6, large=True):
        with limited.computing("a", 9, large=False):  # Counted separately.
            pass
        for client, seconds, status, text in (
            ("a", 11, 413, "would take about 11.0 s, the limit is 10 s"),
            ("b", 5, 503, "accepted large images that take about 6 s"),
            ("a", 4, 503, "Your address has large images in progress"),
        ):
            with (
                pytest.raises(RequestError, match=text) as caught,
                limited.computing(client, seconds, large=True),
            ):
                pass
            assert caught.value.status == status
        with limited.computing("b", 4, large=True):
            pass
    assert limited.seconds == {False: 0, True: 0}


def test_the_bytes_of_images_are_limited():
    limited = gate(max_image_bytes=10)
    with limited.holding_image(20):  # Alone.
        with (
            pytest.raises(RequestError, match="limit for the size") as caught,
            limited.holding_image(1),
        ):
            pass
        assert caught.value.status == 503
    assert limited.num_image_bytes == 0


@pytest.mark.parametrize(
    ("host", "client"),
    [
        (None, ""),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("unix:path", "unix:path"),
    ],
)
def test_the_addresses_of_one_client_are_counted_together(host, client):
    assert admission.client_of(host) == client


def order_of(payloads):
    """Submits (name, large) while a call runs; returns the names in their order.

    Large calls take 0.05 s and small ones 0.03 s.
    """
    calls, go_on = [], threading.Event()

    def call(names):
        calls.extend(names)
        if names == ["first"]:
            go_on.wait(5)
        time.sleep(0.05 if names[0].startswith("L") else 0.03)
        return names

    async def main():
        batcher = batching.Batcher(1, 1, 0)
        deadline = asyncio.get_running_loop().time() + 5
        submitted = [
            asyncio.ensure_future(
                batcher.submit(
                    call, name, key=0, weight=1, deadline=deadline, large=large
                )
            )
            for name, large in [("first", True), *payloads]
        ]
        await asyncio.sleep(0.05)
        go_on.set()
        await asyncio.gather(*submitted)
        await batcher.close()

    served.run(main())
    return calls[1:]


def test_small_payloads_go_first_but_leave_large_ones_half_of_the_time():
    large = [("L1", True), ("L2", True)]
    assert order_of([*large, ("s1", False)]) == ["s1", "L1", "L2"]
    # After a large call of 0.05 s, two small ones of 0.03 s are as long. Those before
    # the first large one follow a call of 0.1 s: four.
    small = [(f"s{i}", False) for i in range(8)]
    order = order_of([*large, *small])
    assert order.index("L1") in (3, 4)
    assert order.index("L2") - order.index("L1") == 3
    assert [name for name in order if name[0] == "s"] == [name for name, _ in small]


def budget(limits=None):
    deadline = asyncio.get_running_loop().time() + 60
    return admission.Budget(limits or gate(), "", deadline)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    served.export(folder, model=served.build_busy_model())
    return folder


async def with_pipeline(use):
    """Calls a coroutine with a pipeline of tiles of 128."""
    decoder = decoding.Decoder(1, 10**6)
    batcher = batching.Batcher(8, 10**6, 0)
    pipeline = image_pipeline.ImagePipeline(decoder, batcher, 10**6, TILE)
    try:
        return await use(pipeline)
    finally:
        decoder.close()
        await batcher.close()


def test_tiles_equal_those_of_predict(exported):
    loaded = engine.Engine(exported / "1")
    loaded.warm_up()
    assert loaded.cost.seconds_per_pixel > 0
    predict = inference.load_export(exported, tile_size=TILE).predict
    rng = np.random.default_rng(0)
    inputs = [rng.integers(0, 256, (*s, 3), np.uint8) for s in ((300, 200), (90, 129))]

    async def use(pipeline):
        masks = []
        for image in inputs:
            used = budget()
            file = images.encode_image(image)
            _, mask = await pipeline.mask(loaded, file, upright=True, budget=used)
            assert used.tiled
            masks.append(mask)
        return masks

    for image, mask in zip(inputs, served.run(with_pipeline(use)), strict=True):
        np.testing.assert_array_equal(mask, np.asarray(predict(image)))


class SlowEngine:
    """Counts its calls, each of which takes 0.05 s."""

    detects_objects = False
    image_kind = images.RGB
    rule = DEFAULT_RULE

    def __init__(self):
        self.cost, self.calls = costs.Cost(), 0

    def probabilities(self, image):
        self.calls += 1
        time.sleep(0.05)
        return np.zeros((*image.shape[:2], 2), np.float32)


def test_abandoned_tiles_are_not_computed():
    slow = SlowEngine()

    async def use(pipeline):
        work = pipeline.mask(slow, bilevel(600, 600), upright=True, budget=budget())
        task = asyncio.ensure_future(work)
        while not slow.calls:
            await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.2)

    served.run(with_pipeline(use))
    assert slow.calls <= 2  # Of 36.


def test_a_header_with_another_size_than_the_image_is_refused(monkeypatch):
    monkeypatch.setattr(file_headers, "claimed_size", lambda _: (10, 10))

    async def use(pipeline):
        await pipeline.mask(
            SlowEngine(), bilevel(20, 20), upright=True, budget=budget()
        )

    with pytest.raises(RequestError, match="is 20 x 20 pixels, but its header states"):
        served.run(with_pipeline(use))


def test_files_that_take_too_long_together_are_refused():
    slow = SlowEngine()
    slow.cost = costs.Cost(1e-4)  # 300 x 300 in tiles: 364 x 364 pixels, 13.2 s.

    async def use(pipeline):
        files = [bilevel(300, 300)] * 3
        await pipeline.masks(slow, files, budget=budget(gate(max_seconds=30)))

    with pytest.raises(RequestError, match=r"about 39\.7 s, the limit is 30 s"):
        served.run(with_pipeline(use))
    assert slow.calls == 0


def slow_server(folder, seconds_per_tile, **settings):
    """Returns a server whose network takes `seconds_per_tile` for 128 x 128 pixels."""
    version = folder / "1"
    version.mkdir()
    (version / "seconds_per_pixel").write_text(str(seconds_per_tile / TILE**2))
    (version / "saved_model.pb").write_text("x")
    return running(Fake(folder, tile_side=TILE, **settings))


def test_large_images_do_not_delay_small_ones(tmp_path):
    """An attack by images of 36 tiles, 3.6 s; small ones wait for two at most."""
    with slow_server(tmp_path, 0.1) as server:
        server.check_alive()
        stop = threading.Event()

        def attack():
            responses = []
            while not stop.is_set():
                responses.append(server.request("POST", "/segment", bilevel(600, 600)))
            return responses

        def honest():
            try:
                return clients.open_loop(server.port, [IMAGE_FILE], rate=10, seconds=6)
            finally:
                stop.set()

        attacks, responses = at_once(attack, honest)
    assert {response.status for _, response in responses} == {200}
    seconds = sorted(response.seconds for _, response in responses)
    assert seconds[-2] < 0.2 + 0.3  # And a margin for a loaded machine.
    for status, headers, _ in attacks:
        assert (status, headers["x-tile-size"]) == (200, str(TILE))


def test_what_cannot_be_computed_in_time_is_refused_at_once(tmp_path):
    with slow_server(tmp_path, 0.5, request_seconds=4) as server:
        server.check_alive()
        began = time.monotonic()
        status, error = server.json("POST", "/segment", bilevel(600, 600))
        # 600 is 6 tiles, 128 * 6 - 8 = 760 pixels: 760**2 / 128**2 * 0.5 = 17.6 s.
        assert (status, "about 17.6 s, the limit is 4 s" in error["error"]) == (
            413,
            True,
        ), error
        assert time.monotonic() - began < 1
        image = np.zeros((1, 370, 370, 3), np.uint8).tolist()  # 4.2 s.
        body = {"signature_name": "tensor", "instances": image}
        status, error = server.json("POST", "/v1/models/levels:predict", body)
        assert (status, "would take about 4.2 s" in error["error"]) == (413, True)


def test_an_overloaded_server_is_not_ready(tmp_path):
    with slow_server(tmp_path, 2, request_seconds=2.5) as server:
        server.check_alive()

        def poll():
            statuses = set()
            for _ in range(20):
                statuses.add(server.request("GET", "/readyz")[0])
                time.sleep(0.1)
            return statuses

        image = bilevel(TILE, TILE)
        (status, *_), statuses = at_once(
            lambda: server.request("POST", "/segment", image), poll
        )
        assert (status, statuses) == (200, {200, 503})
        assert server.request("GET", "/readyz")[0] == 200


@pytest.mark.slow
def test_an_attack_by_compressed_images_delays_no_honest_client(tmp_path):
    """One PNG of 4000 x 4000 bits per half minute, against the command."""
    served.export(tmp_path, model=served.build_busy_model())
    attack = bilevel(4000, 4000)
    assert len(attack) < 3000
    with running(Server(tmp_path)) as server:
        server.check_alive()
        idle = clients.open_loop(server.port, [IMAGE_FILE], rate=10, seconds=10)
        tile = saved("PNG", 1024, 1024)
        began = time.monotonic()
        assert server.request("POST", "/segment", tile)[0] == 200
        seconds_per_tile = time.monotonic() - began
        before = server.memory()
        stop = threading.Event()

        def send():
            statuses = []
            while not stop.is_set():
                statuses.append(server.request("POST", "/segment", attack)[0])
                stop.wait(15)
            return statuses

        def honest():
            try:
                return clients.open_loop(server.port, [IMAGE_FILE], rate=10, seconds=70)
            finally:
                stop.set()

        statuses, responses = at_once(send, honest)
        growth = server.memory() - before
    assert {response.status for _, response in responses} == {200}
    assert set(statuses) <= {200, 413}

    def p99(measured):
        return np.percentile([response.seconds for _, response in measured], 99)

    print(statuses, p99(idle), p99(responses), seconds_per_tile, growth / 2**20)
    assert p99(responses) < p99(idle) + 2 * seconds_per_tile + 0.1
    assert growth < 600 * 2**20
