"""The parts of the server, without HTTP."""

import asyncio
import gc
import threading
import weakref

import numpy as np
import pytest

from kerasseg.serve import admission, batching, decoding, engine, versions
from kerasseg.serve.request_errors import RequestError
from tests.support import levels, serve_fake, served, tiny


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return engine.Engine(served.export(tmp_path_factory.mktemp("exported")))


def test_an_engine_predicts_images_of_one_size(loaded):
    masks = loaded.masks([levels.IMAGE, levels.IMAGE[:, ::-1]])
    assert [mask.tolist() for mask in masks] == [
        levels.CLASSES,
        [row[::-1] for row in levels.CLASSES],
    ]
    assert masks[0].dtype == np.uint8


def test_an_engine_knows_its_classes_and_signatures(loaded):
    assert loaded.number == 1
    assert loaded.class_names == tiny.SPEC.class_names
    assert loaded.palette.tolist() == tiny.SPEC.palette.tolist()
    assert loaded.inputs == {
        "serving_default": {"image_bytes": (object, (None,))},
        "tensor": {"image": (np.float32, (None, None, None, 3))},
    }
    image = loaded.metadata["tensor"]["inputs"]["image"]
    assert image["dtype"] == "DT_FLOAT"
    sides = [side["size"] for side in image["tensor_shape"]["dim"]]
    assert sides == ["-1", "-1", "-1", "3"]


def test_an_engine_calls_any_signature(loaded):
    outputs = loaded.call("tensor", {"image": levels.IMAGE[None].astype(np.float32)})
    assert list(outputs) == ["classes", "logits", "probabilities"]
    assert outputs["classes"][0].tolist() == levels.CLASSES
    files = np.array([served.FILE], np.object_)
    outputs = loaded.call("serving_default", {"image_bytes": files})
    assert outputs["mask_png_bytes"].tolist()[0].startswith(b"\x89PNG")


def test_errors_of_tensorflow_have_the_status_of_tensorflow_serving(loaded):
    with pytest.raises(RequestError, match="not a JPEG or PNG") as caught:
        loaded.call("serving_default", {"image_bytes": np.array([b"?"], np.object_)})
    assert caught.value.status == 400


def test_the_number_of_requests_is_limited():
    gate = admission.Admission(max_requests=2, max_bytes=10)
    with gate.enter(), gate.enter():
        with pytest.raises(RequestError, match="busy with 2 requests") as caught:
            gate.check()
        assert (caught.value.status, caught.value.retry_after) == (503, 1)
    with gate.enter():
        assert gate.num_inside == 1


def test_the_number_of_bytes_is_limited():
    gate = admission.Admission(max_requests=2, max_bytes=10)
    with gate.holding() as hold, gate.holding() as hold_too:
        hold(6)
        hold_too(4)
        with pytest.raises(
            RequestError, match="limit for the size of all requests"
        ) as caught:
            hold(1)
        assert caught.value.status == 503
    assert gate.num_bytes == 0


def soon(seconds=5.0):
    return asyncio.get_running_loop().time() + seconds


def test_only_equal_keys_share_a_batch():
    calls = []

    def double(payloads):
        calls.append(list(payloads))
        return [2 * payload for payload in payloads]

    async def main():
        batcher = batching.Batcher(max_size=3, max_weight=100, max_wait=0.05)
        keys = {1: "a", 2: "b", 3: "a", 4: "a", 5: "a"}
        submitted = [
            batcher.submit(double, x, key=key, weight=1, deadline=soon())
            for x, key in keys.items()
        ]
        results = await asyncio.gather(*submitted)
        await batcher.close()
        return results

    assert served.run(main()) == [2, 4, 6, 8, 10]
    assert calls == [[1, 3, 4], [2], [5]]  # Three at most, the oldest first.


def test_heavy_payloads_are_batches_of_their_own():
    calls = []

    def record(payloads):
        calls.append(list(payloads))
        return payloads

    async def main():
        batcher = batching.Batcher(max_size=9, max_weight=10, max_wait=0.01)
        submitted = [
            batcher.submit(record, x, key=0, weight=x, deadline=soon())
            for x in (30, 6, 5, 4)
        ]
        await asyncio.gather(*submitted)
        await batcher.close()

    served.run(main())
    assert calls == [[30], [6, 4], [5]]  # 6 + 5 would be more than 10.


def test_a_payload_that_fails_does_not_fail_others():
    def invert(payloads):
        return [1 / payload for payload in payloads]

    async def main():
        batcher = batching.Batcher(max_size=9, max_weight=10, max_wait=0.05)
        submitted = [
            batcher.submit(invert, x, key=0, weight=1, deadline=soon())
            for x in (1, 0, 2)
        ]
        results = await asyncio.gather(*submitted, return_exceptions=True)
        await batcher.close()
        return results

    good, bad, too = served.run(main())
    assert (good, type(bad), too) == (1.0, ZeroDivisionError, 0.5)


def test_the_status_after_a_deadline_depends_on_the_start():
    begun, go_on = threading.Event(), threading.Event()
    calls = []

    def block(payloads):
        calls.append(list(payloads))
        begun.set()
        go_on.wait(10)
        return payloads

    async def main():
        batcher = batching.Batcher(max_size=1, max_weight=10, max_wait=0)
        first = asyncio.ensure_future(
            batcher.submit(block, "first", key=0, weight=1, deadline=soon(0.5))
        )
        await asyncio.to_thread(begun.wait, 10)
        second = batcher.submit(block, "second", key=0, weight=1, deadline=soon(0.1))
        results = await asyncio.gather(first, second, return_exceptions=True)
        go_on.set()
        await batcher.submit(block, "third", key=0, weight=1, deadline=soon())
        await batcher.close()
        return [error.status for error in results]

    assert served.run(main()) == [504, 429]
    assert calls == [["first"], ["third"]]  # The second was cancelled before.


def decoded(data, **options):
    async def main():
        decoder = decoding.Decoder(1, 20, **options)
        try:
            return await decoder.decode(data, upright=True)
        finally:
            decoder.close()

    return served.run(main())


def test_images_are_decoded_in_other_processes():
    assert decoded(served.FILE).tolist() == levels.IMAGE.tolist()


@pytest.mark.parametrize(
    ("data", "status", "text"),
    [
        (b"", 400, "not a JPEG or PNG file but empty"),
        (b"GIF89a", 400, "not a JPEG or PNG file but gif"),
        (b"<svg/>", 400, "text, such as HTML or SVG"),
        (served.FILE[:-20], 400, "damaged or truncated"),
        (
            tiny.png(levels.red([[1] * 7] * 3)),
            413,
            "7 x 3 = 21 pixels, the limit is 20",
        ),
    ],
)
def test_invalid_images_are_errors(data, status, text):
    with pytest.raises(RequestError, match=text) as caught:
        decoded(data)
    assert caught.value.status == status


def test_memory_is_limited_in_decoding_processes():
    async def main():
        decoder = decoding.Decoder(1, 1000, function=serve_fake.memory_limit)
        limits = [await decoder.decode(served.FILE, upright=True) for _ in range(2)]
        decoder.close()
        return limits

    first, second = served.run(main())
    assert first == second  # Set once, however often it is called.
    assert 2**28 < first < 2**36


@pytest.mark.parametrize(
    ("function", "seconds", "status", "text"),
    [
        (serve_fake.crash, 100, 500, "could not be decoded"),
        (serve_fake.hang, 1, 504, "took too long"),
    ],
)
def test_a_decoder_that_crashes_or_hangs_fails_only_its_image(
    function, seconds, status, text
):
    with pytest.raises(RequestError, match=text) as caught:
        decoded(served.FILE, function=function, seconds=seconds)
    assert caught.value.status == status


@pytest.fixture
def watched(tmp_path):
    watcher = versions.Versions(tmp_path, "m", serve_fake.Engine, retry_seconds=1000)
    watcher.folder = tmp_path
    return watcher


def put(folder, number, *names):
    path = folder / str(number)
    path.mkdir(exist_ok=True)
    for name in ("saved_model.pb", *names):
        (path / name).write_text("x")
    return path


def test_a_version_is_loaded_when_it_stops_changing(watched):
    with pytest.raises(RequestError, match="No version of m is loaded yet") as caught:
        watched.get()
    assert caught.value.status == 503
    path = put(watched.folder, 1)
    watched.poll()
    (path / "more").write_text("still copying")
    watched.poll()
    assert watched.current is None
    watched.poll()
    assert watched.get().number == watched.get(1).number == 1
    assert watched.get().warm
    (status,) = watched.status()
    assert status == {
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }


def test_a_newer_version_takes_over_and_can_be_rolled_back(watched):
    put(watched.folder, 1)
    put(watched.folder, "notes")
    for _ in range(2):
        watched.poll()
    newer = put(watched.folder, 12)
    for _ in range(2):
        watched.poll()
    assert watched.get().number == 12
    assert [status["state"] for status in watched.status()] == ["AVAILABLE", "END"]
    with pytest.raises(RequestError, match=r"not found for request: Specific\(m, 1\)"):
        watched.get(1)
    (newer / "saved_model.pb").unlink()
    for _ in range(2):
        watched.poll()
    assert watched.get().number == 1


def test_an_unused_version_is_freed(watched):
    put(watched.folder, 1)
    for _ in range(2):
        watched.poll()
    in_use = watched.current
    in_use.itself = in_use  # TensorFlow's objects are reference cycles, too.
    alive = weakref.ref(in_use)
    put(watched.folder, 2)
    for _ in range(2):
        watched.poll()
    assert watched.current.number == 2
    assert alive() is in_use
    del in_use
    watched.poll()
    assert alive() is None


def test_what_an_unused_version_leaves_is_freed(watched):
    put(watched.folder, 1)
    for _ in range(2):
        watched.poll()
    loaded = type("Loaded", (), {})()  # Like what TensorFlow loads: a cycle that does
    loaded.itself = loaded  # not contain the engine, which is freed at once.
    watched.current.loaded, alive = loaded, weakref.ref(loaded)
    del loaded
    put(watched.folder, 2)
    gc.disable()  # Only a collection that the server starts.
    try:
        for _ in range(3):
            watched.poll()
    finally:
        gc.enable()
    assert watched.current.number == 2
    assert alive() is None


def test_a_broken_version_is_retried_when_it_changes(
    watched,
):
    put(watched.folder, 1)
    path = put(watched.folder, 2, "broken")
    for _ in range(3):
        watched.poll()
    assert watched.get().number == 1
    (status,) = watched.status(2)
    assert status["state"] == "END"
    assert status["status"] == {
        "error_code": "UNKNOWN",
        "error_message": "ValueError: it is broken",
    }
    (path / "broken").unlink()
    for _ in range(2):
        watched.poll()
    assert watched.get().number == 2


def test_the_last_version_is_kept_when_all_folders_are_removed(watched):
    path = put(watched.folder, 3)
    for _ in range(2):
        watched.poll()
    (path / "saved_model.pb").unlink()
    for _ in range(2):
        watched.poll()
    assert watched.get().number == 3
    with pytest.raises(RequestError, match="Could not find version 4 of model m"):
        watched.status(4)


def test_watching_survives_the_removal_of_the_folder(watched, tmp_path):
    put(watched.folder, 1)
    watched._poll_seconds = 0.01
    watched.start()
    while watched.current is None:
        threading.Event().wait(0.01)
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    threading.Event().wait(0.05)
    assert watched._thread.is_alive()
    assert watched.get().number == 1
    watched.stop()


def test_an_export_is_found_loaded_and_warmed_up(tmp_path):
    served.export(tmp_path, version=7)
    watcher = versions.Versions(tmp_path, "m", engine.Engine)
    for _ in range(2):
        watcher.poll()
    assert watcher.get(7).number == 7
