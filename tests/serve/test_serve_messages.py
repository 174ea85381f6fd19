"""Messages of gRPC whose parsing or checking would take the memory or the time."""

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg.serve.request_errors import RequestError
from tests.support.server_process import serving

grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving.apis", reason="needs kerasseg[grpc]")

from kerasseg.serve import grpc_api, wire  # noqa: E402
from tests.serve.test_serve_grpc import predict_pb2, request  # noqa: E402


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    with serving(folder, grpc_port=0) as running_server:
        match = re.search(r"gRPC at port (\d+)", running_server.line)
        running_server.grpc_port = int(match[1])
        yield running_server


pytestmark = pytest.mark.usefixtures("logs_no_traceback", "stays_alive")


def field(number, data):
    """Returns a length-delimited field."""
    length, size = b"", len(data)
    while size > 127:
        length, size = length + bytes([size % 128 + 128]), size // 128
    return bytes([8 * number + 2]) + length + bytes([size]) + data


def tensor(data):
    """Returns a request with further fields of its tensor."""
    message = request("tensor", image=np.zeros((1, 2, 2, 3), np.float32))
    content = message.inputs["image"].SerializeToString() + data
    message.inputs.clear()
    entry = field(1, b"image") + field(2, content)
    return message.SerializeToString() + field(2, entry)


# In PredictRequest: 2 inputs, 3 output_filter. In TensorProto: 2 tensor_shape, 8
# string_val, 14 resource_handle_val, 15 variant_val. In TensorShapeProto: 2 dim.
SIDE = field(2, b"\x08" + b"\xff" * 8 + b"\x7f")  # Of 2**63 - 1.
HUGE = {
    "sides": tensor(field(2, 300_000 * SIDE)),
    "empty sides": tensor(field(2, 2_000_000 * field(2, b""))),
    "shapes": tensor(2_000_000 * field(2, b"")),
    "strings": tensor(2_000_000 * field(8, b"")),
    "handles": tensor(1_000_000 * field(14, b"")),
    "variants": tensor(1_000_000 * field(15, b"")),
    "inputs": tensor(b"") + 1_000_000 * field(2, b""),
    "filters": tensor(b"") + 2_000_000 * field(3, b""),
}


@pytest.mark.parametrize("kind", HUGE)
def test_messages_of_many_fields_are_refused_before_they_are_parsed(server, kind):
    before = server.memory()
    began = time.monotonic()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        with pytest.raises(grpc.RpcError) as caught:
            predict(HUGE[kind], timeout=10)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "more than 10,000 fields" in caught.value.details()
    assert time.monotonic() - began < 3
    assert server.memory() - before < 60 * 2**20


def test_a_shape_of_many_sides_is_refused():
    given_tensor = request("tensor", image=np.zeros(1, np.float32)).inputs["image"]
    for _ in range(9000):
        given_tensor.tensor_shape.dim.add(size=2**62)
    began = time.monotonic()
    with pytest.raises(RequestError, match="has 9,001 axes, the limit is 64"):
        grpc_api._checked_size("image", given_tensor, np.float32, 10**9)
    assert time.monotonic() - began < 0.05


@given(st.integers(1, 300), st.integers(0, 40), st.integers(0, 40))
@settings(deadline=None)
def test_the_fields_of_a_message_are_counted(num_values, num_files, num_filters):
    message = request(image_bytes=[b"x" * (7 * i) for i in range(num_files)] or [b""])
    message.inputs["more"].float_val[:] = [0.0] * num_values  # Packed: one field.
    message.output_filter[:] = ["x"] * num_filters
    data = message.SerializeToString()
    # The specification and its name; the two entries and their keys and values; the
    # type, the shape, its side and the size of the side, unless that is 0, which
    # is not written; the values; the field of packed values; and the filters.
    expected = 2 + 2 * 3 + 4 + max(1, num_files) + 1 + num_filters
    limit = wire.MAX_FIELDS
    try:
        for wire.MAX_FIELDS, small in ((expected, True), (expected - 1, False)):
            assert wire.is_small(data, predict_pb2.PredictRequest.DESCRIPTOR) == small
    finally:
        wire.MAX_FIELDS = limit


@given(st.binary(max_size=60), st.integers(0, 60))
def test_damaged_messages_are_counted_without_an_error(damage, at):
    data = bytearray(request(image_bytes=[b"abc"]).SerializeToString())
    data[at : at + len(damage)] = damage
    wire.is_small(bytes(data), predict_pb2.PredictRequest.DESCRIPTOR)


def test_a_number_of_many_bytes_is_malformed():
    kind = predict_pb2.PredictRequest.DESCRIPTOR
    assert not wire.is_small(b"\xff" * 10**6, kind)
    assert not wire.is_small(b"\x0b\x0c", kind)  # Groups.
