"""Tensors and files in JSON that would need much more memory than their text."""

import asyncio
import json
import pickle
import tracemalloc

import numpy as np
import pytest

from kerasseg import images
from kerasseg.images.class_rules import DEFAULT_RULE
from kerasseg.serve import admission, costs, image_pipeline, tensor_inputs
from kerasseg.serve.request_errors import RequestError
from tests.support import served

PIXELS = {"image": (np.float32, (None, None, None, 3))}


def read(rows, inputs=PIXELS):
    body = json.dumps({"instances": rows}).encode()
    return tensor_inputs.read(tensor_inputs.parse(body), inputs)[1]


def peak_of(function):
    """Returns the peak memory of a call in bytes."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_long_string_among_numbers_is_an_error_without_copies():
    # As strings of one length, 1000 numbers beside 100,000 letters would be 400 MB.
    rows = [1] * 1000 + ["a" * 100_000]

    def fail():
        with pytest.raises(RequestError, match="is not of expected type: float"):
            read(rows)

    assert peak_of(fail) < 5e6


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
def test_values_that_are_not_numbers_are_errors(rows):
    with pytest.raises(RequestError, match="is not of expected type: float"):
        read(rows)


FILES = {"image_bytes": (object, (None,))}


@pytest.mark.parametrize(
    "text", ["AAEC/w==", "AAEC/w", "AAEC\r\n/w==\n", " AAEC/w = ="]
)
def test_base64_is_decoded_like_in_tensorflow_serving(text):
    array = read([{"b64": text}], FILES)["image_bytes"]
    assert array.tolist() == [b"\0\1\2\xff"]


@pytest.mark.parametrize("text", ["A", "AAEC/w=", "AAEC_w==", "=", "AA==AA=="])
def test_other_base64_is_an_error(text):
    with pytest.raises(RequestError, match="Unable to base64 decode"):
        read([{"b64": text}], FILES)


class Batcher:
    """Calls without waiting, and records the weights."""

    def __init__(self):
        self.weights = []

    async def submit(self, function, payload, *, weight, **_):
        self.weights.append(weight)
        return function([payload])[0]


def budget():
    gate = admission.Admission(max_requests=1, max_bytes=1)
    return admission.Budget(gate, "", asyncio.get_running_loop().time() + 5)


class Engine:
    detects_objects = False
    image_kind = images.RGB
    rule = DEFAULT_RULE

    def __init__(self):
        self.inputs = {"tensor": PIXELS}
        self.cost = costs.Cost()

    def masks(self, images):
        return [image[..., 0] for image in images]

    def call(self, signature, inputs):
        return {signature: inputs["image"].shape}


def test_the_files_of_one_request_are_processed_a_few_at_a_time():
    decoded, most = [], 0

    class Decoder:
        async def decode(self, data, **_):
            nonlocal most
            most = max(most, len(asyncio.all_tasks()))
            decoded.append(data)
            await asyncio.sleep(0)
            return np.full((1, 1, 3), data[0], np.uint8)

    async def main():
        pipeline = image_pipeline.ImagePipeline(Decoder(), Batcher(), 10)
        files = [bytes([i % 256]) for i in range(1000)]
        return await pipeline.masks(Engine(), files, budget=budget())

    masks = served.run(main())
    assert [images.read_label(m).item() for m in masks[254:258]] == [254, 255, 0, 1]
    assert len(decoded) == 1000
    assert most < 10  # Not one task per file: a request may have a million files.


def build_pipeline(shape=None, max_pixels=16_000_000):
    """Returns a pipeline whose decoder returns images of one size, and its batcher."""

    class Decoder:
        async def decode(self, data, **_):
            return np.zeros((*shape, 3), np.uint8) if shape else data

    batcher = Batcher()
    pipeline = image_pipeline.ImagePipeline(Decoder(), batcher, max_pixels, 2**15)
    return pipeline, batcher


def test_many_tiny_images_are_counted_with_their_padding():
    # Padded to 32 x 32, 20,000 are 20.48 megapixels and 15,000 are 15.36.
    pipeline, _ = build_pipeline()

    def call(number):
        image = {"image": np.zeros((number, 1, 1, 3), np.float32)}

        async def main():
            return await pipeline.call(Engine(), "tensor", image, budget=budget())

        return served.run(main())

    with pytest.raises(
        RequestError, match=r"20000 x 1 x 1 pixels counts as 20,480,000"
    ):
        call(20_000)
    assert call(15_000) == {"tensor": (15_000, 1, 1, 3)}


def test_a_row_of_pixels_is_weighted_with_its_padding():
    def weights(shape):
        pipeline, batcher = build_pipeline(shape, 1_000_000)

        async def main():
            await pipeline.mask(Engine(), b"", upright=True, budget=budget())

        served.run(main())
        return batcher.weights

    assert weights((1, 30_000)) == [960_000]  # 32 times as many.
    assert weights((100, 200)) == [20_000]
    with pytest.raises(
        RequestError, match=r"x 1 x 40000 pixels counts as 1,280,000, bec"
    ):
        weights((1, 40_000))


def test_a_request_error_can_be_pickled():
    sent = pickle.loads(pickle.dumps(RequestError(413, "too large", retry_after=3)))
    assert (sent.status, str(sent), sent.retry_after) == (413, "too large", 3)
