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


FILES = {"image_bytes": (object, (None,))}


@pytest.mark.parametrize(
    "text", ["AAEC/w==", "AAEC/w", "AAEC\r\n/w==\n", " AAEC/w = ="]
)
def test_base64_may_be_written_as_tensorflow_serving_reads_it(text):
    array = read([{"b64": text}], FILES)["image_bytes"]
    assert array.tolist() == [b"\0\1\2\xff"]


@pytest.mark.parametrize("text", ["A", "AAEC/w=", "AAEC_w==", "=", "AA==AA=="])
def test_other_base64_is_refused(text):
    with pytest.raises(Refusal, match="Unable to base64 decode"):
        read([{"b64": text}], FILES)


class Batcher:
    """Calls at once, and notes the weights."""

    def __init__(self):
        self.weights = []

    async def submit(self, function, payload, *, weight, **_):
        self.weights.append(weight)
        return function([payload])[0]


class Engine:
    def __init__(self):
        self.inputs = {"tensor": PIXELS}

    def masks(self, pictures):
        return [picture[..., 0] for picture in pictures]

    def call(self, signature, inputs):
        return {signature: inputs["image"].shape}


def test_a_request_of_many_files_takes_them_a_few_at_a_time():
    seen, most = [], 0

    class Decoder:
        async def decode(self, data, **_):
            nonlocal most
            most = max(most, len(asyncio.all_tasks()))
            seen.append(data)
            await asyncio.sleep(0)
            return np.full((1, 1, 3), data[0], np.uint8)

    async def main():
        made = segmenting.Segmenting(Decoder(), Batcher(), 10)
        deadline = asyncio.get_running_loop().time() + 5
        files = [bytes([i % 256]) for i in range(1000)]
        return await made.masks(Engine(), files, deadline=deadline)

    masks = served.run(main())
    assert [images.read_label(m).item() for m in masks[254:258]] == [254, 255, 0, 1]
    assert len(seen) == 1000
    assert most < 10  # Not a task a file, of which a request may name a million.


def segmenting_of(shape=None, max_pixels=16_000_000):
    """Segments with a decoder that gives a picture of one size."""

    class Decoder:
        async def decode(self, data, **_):
            return np.zeros((*shape, 3), np.uint8) if shape else data

    batcher = Batcher()
    return segmenting.Segmenting(Decoder(), batcher, max_pixels), batcher


def test_many_tiny_pictures_count_as_what_a_network_makes_of_them():
    # Padded to 32 x 32, 20,000 are 20.48 megapixels and 15,000 are 15.36.
    made, _ = segmenting_of()

    def call(number):
        image = {"image": np.zeros((number, 1, 1, 3), np.float32)}
        return served.run(made.call(Engine(), "tensor", image, deadline=0))

    with pytest.raises(Refusal, match=r"20000 x 1 x 1 pixels counts as 20,480,000"):
        call(20_000)
    assert call(15_000) == {"tensor": (15_000, 1, 1, 3)}


def test_a_line_of_pixels_weighs_what_a_network_makes_of_it():
    def classes(shape):
        made, batcher = segmenting_of(shape, 1_000_000)

        async def main():
            deadline = asyncio.get_running_loop().time() + 5
            await made.classes(Engine(), b"", upright=True, deadline=deadline)

        served.run(main())
        return batcher.weights

    assert classes((1, 30_000)) == [960_000]  # 32 times as many.
    assert classes((100, 200)) == [20_000]
    with pytest.raises(Refusal, match=r"x 1 x 40000 pixels counts as 1,280,000, as"):
        classes((1, 40_000))


def test_a_refusal_comes_whole_out_of_another_process():
    sent = pickle.loads(pickle.dumps(Refusal(413, "too large", retry_after=3)))
    assert (sent.status, str(sent), sent.retry_after) == (413, "too large", 3)
