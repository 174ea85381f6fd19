"""Tensors and files in JSON that ask for more memory than their text has."""

import asyncio
import json
import pickle
import tracemalloc

import numpy as np
import pytest

from kerasseg import images
from kerasseg.serve import segmenting, tensors
from kerasseg.serve.refusals import Refusal
from tests import served

PIXELS = {"image": (np.float32, (None, None, None, 3))}


def read(rows, inputs=PIXELS):
    body = json.dumps({"instances": rows}).encode()
    return tensors.read(tensors.parse(body), inputs)[1]


def peak_of(function):
    """Returns the bytes that a call needs at once."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_long_text_among_numbers_is_refused_at_its_own_size():
    # As texts of one length, 1000 numbers beside 100,000 letters would be 400 MB.
    rows = [1] * 1000 + ["a" * 100_000]

    def refused():
        with pytest.raises(Refusal, match="is not of expected type: float"):
            read(rows)

    assert peak_of(refused) < 5e6


@pytest.mark.parametrize(
    ("rows", "shape"),
    [
        ([[[[1, 2.5, 3]]], [[[4, 5, 6]]]], (2, 1, 1, 3)),
        ([[], []], (2, 0)),
        ([float("nan"), 2**40], (2,)),
    ],
)
def test_numbers_become_arrays(rows, shape):
    array = read(rows)["image"]
    assert (array.dtype, array.shape) == (np.float32, shape)
    assert np.array_equal(array, np.array(rows, np.float32), equal_nan=True)


@pytest.mark.parametrize("rows", [[1, True], [1, 2**80], [1, None]])
def test_what_is_no_number_is_refused(rows):
    with pytest.raises(Refusal, match="is not of expected type: float"):
        read(rows)


def test_a_request_of_many_files_takes_them_a_few_at_a_time():
    seen, most = [], 0

    class Decoder:
        async def decode(self, data, **_):
            nonlocal most
            most = max(most, len(asyncio.all_tasks()))
            seen.append(data)
            await asyncio.sleep(0)
            return np.full((1, 1, 3), data[0], np.uint8)

    class Batcher:
        async def submit(self, function, payload, **_):
            return function([payload])[0]

    class Engine:
        def masks(self, pictures):
            return [picture[..., 0] for picture in pictures]

    async def main():
        made = segmenting.Segmenting(Decoder(), Batcher(), 10)
        deadline = asyncio.get_running_loop().time() + 5
        files = [bytes([i % 256]) for i in range(1000)]
        return await made.masks(Engine(), files, deadline=deadline)

    masks = served.run(main())
    assert [images.read_label(m).item() for m in masks[254:258]] == [254, 255, 0, 1]
    assert len(seen) == 1000
    assert most < 10  # Not a task a file, of which a request may name a million.


def test_a_refusal_comes_whole_out_of_another_process():
    sent = pickle.loads(pickle.dumps(Refusal(413, "too large", retry_after=3)))
    assert (sent.status, str(sent), sent.retry_after) == (413, "too large", 3)
