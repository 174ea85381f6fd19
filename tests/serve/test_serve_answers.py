"""Answers that are large, are not read, or repeat what a client sent."""

import asyncio
import json
import re
import socket
import time
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kerasseg.serve import admission, responses, tensor_outputs
from kerasseg.serve import app as application
from kerasseg.serve.request_errors import RequestError
from tests.support import served
from tests.support.server_process import IMAGE_FILE, serving, until


@given(
    arrays.arrays(
        st.sampled_from([np.float32, np.int32]),
        arrays.array_shapes(max_dims=4, max_side=4),
        elements=st.integers(0, 9),
    ),
    st.integers(1, 20),
    st.booleans(),
    st.booleans(),
)
@settings(deadline=None)
def test_json_written_in_parts_is_that_of_the_whole(array, size, row, several):
    names = ["a", "b"] if several else ["a"]
    outputs = dict.fromkeys(names, array)
    before = tensor_outputs._PART_VALUES
    tensor_outputs._PART_VALUES = size
    try:
        text = tensor_outputs.write(outputs, row)
    finally:
        tensor_outputs._PART_VALUES = before
    value = array.tolist()
    if row:
        value = [dict.fromkeys(names, each) for each in value] if several else value
        expected = {"predictions": value}
    else:
        expected = {"outputs": dict.fromkeys(names, value) if several else value}
    assert text == json.dumps(expected).encode()


def test_bytes_and_special_numbers_are_written():
    files = np.array([b"a", b"bc"], object)
    assert json.loads(tensor_outputs.write({"x_bytes": files}, row=True)) == {
        "predictions": [{"b64": "YQ=="}, {"b64": "YmM="}]
    }
    assert tensor_outputs.write({"x": np.array([np.nan, np.inf])}, row=False) == (
        b'{"outputs": [NaN, Infinity]}'
    )
    with pytest.raises(RequestError, match="inconsistent batch sizes"):
        tensor_outputs.write({"x": np.array(1.0)}, row=True)


def test_writing_json_ends_at_the_deadline():
    outputs = {"x": np.zeros((100, 200_000), np.float32)}  # Ten seconds of writing.
    began = time.monotonic()
    with pytest.raises(RequestError, match="deadline passed while the JSON") as caught:
        tensor_outputs.write(outputs, row=False, deadline=began + 0.3)
    assert caught.value.status == 504
    assert time.monotonic() - began < 2


def test_the_bytes_of_responses_are_held_until_they_are_sent():
    gate = admission.Admission(4, 10, max_image_bytes=100)
    app = types.SimpleNamespace(_admission=gate)
    held = []

    async def send(message):
        held.append((message["type"][14:], gate.num_image_bytes))

    async def main():
        response = responses.Response(b"x" * 80)
        status = await application.App._send(app, response, send)
        with gate.holding_image(30):
            refused = await application.App._send(app, response, send)
        return status, refused

    assert served.run(main()) == (200, 503)
    assert held[:3] == [("start", 80), ("body", 80), ("body", 80)]
    assert {size for _, size in held[3:]} == {30}  # The error.
    assert gate.num_image_bytes == 0


# gRPC.

grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving.apis", reason="needs kerasseg[grpc]")

from kerasseg.serve import grpc_health  # noqa: E402
from tests.serve.test_serve_grpc import frame, request  # noqa: E402

PREDICT = "/tensorflow.serving.PredictionService/Predict"
CHECK = f"/{grpc_health.SERVICE}/Check"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    with serving(folder, grpc_port=0, max_megapixels=1.4) as running_server:
        running_server.grpc_port = int(
            re.search(r"gRPC at port (\d+)", running_server.line)[1]
        )
        yield running_server


@pytest.fixture(scope="module")
def call(server):
    """A function of a method's path and the bytes of a message to the answer's."""
    options = [("grpc.max_receive_message_length", -1)]
    address = f"127.0.0.1:{server.grpc_port}"
    with grpc.insecure_channel(address, options) as channel:
        yield lambda path, data: channel.unary_unary(path)(data, timeout=20)


def health(call, service=""):
    message = grpc_health.HealthCheckRequest(service=service)
    data = call(CHECK, message.SerializeToString())
    return grpc_health.HealthCheckResponse.FromString(data).status


def test_the_health_of_the_server_and_its_services_is_checked(call):
    for service in ("", grpc_health.SERVICE, "tensorflow.serving.PredictionService"):
        assert health(call, service) == grpc_health.SERVING
    with pytest.raises(grpc.RpcError, match="unknown service"):
        health(call, "other")


def test_a_server_that_is_not_ready_is_not_serving():
    async def main():
        handler = grpc_health.handler(lambda: False, ())
        details = types.SimpleNamespace(method=CHECK)
        message = grpc_health.HealthCheckRequest()
        answer = await handler.service(details).unary_unary(message, None)
        assert answer.SerializeToString() == b"\x08\x02"  # Field 1: NOT_SERVING.

    asyncio.run(main())


@pytest.mark.parametrize("letter", ["x", "\x80", "漢", "\U0001f600"])
@pytest.mark.parametrize("field", ["name", "signature_name", "version_label", "filter"])
def test_long_values_do_not_change_the_status_of_an_error(call, letter, field):
    message = request(image_bytes=[IMAGE_FILE])
    value = letter * (2**21 // len(letter.encode()))
    if field == "filter":
        message.output_filter.append(value)
    else:
        setattr(message.model_spec, field, value)
    with pytest.raises(grpc.RpcError) as caught:
        call(PREDICT, message.SerializeToString())
    code = "NOT_FOUND" if field == "name" else "INVALID_ARGUMENT"
    assert caught.value.code().name == code
    assert len(caught.value.details().encode()) <= 2000


@given(data=st.binary(min_size=1, max_size=50))
@settings(max_examples=30, deadline=None)
def test_malformed_messages_are_errors_without_a_traceback(call, server, data):
    for path in (PREDICT, CHECK, "/tensorflow.serving.ModelService/GetModelStatus"):
        with pytest.raises(grpc.RpcError) as caught:
            call(path, b"\xff\xff" + data)
        assert caught.value.code().name == "INVALID_ARGUMENT"
    assert "Traceback" not in server.errors.read_text()


def repeated_pixels():
    """Returns 52 bytes whose answer has 20 MB: the last pixel is repeated."""
    message = request("tensor", image=np.zeros((1, 1, 1, 3), np.float32))
    tensor = message.inputs["image"]
    tensor.ClearField("tensor_content")
    tensor.float_val[:] = [7.0]
    for side, size in zip(tensor.tensor_shape.dim, (1, 1000, 1300, 3), strict=True):
        side.size = size
    return message.SerializeToString()


def unread_call(port, message):
    """Sends a call over a connection that is never read."""
    headers = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": PREDICT.encode(),
        b":authority": b"localhost",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
    }
    fields = [(bytes([len(k)]) + k, bytes([len(v)]) + v) for k, v in headers.items()]
    block = b"".join(bytes(1) + name + value for name, value in fields)
    data = bytes(1) + len(message).to_bytes(4, "big") + message
    line = socket.create_connection(("127.0.0.1", port), 10)
    line.sendall(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(4, b"")
        + frame(1, block, 4, stream=1)
        + frame(0, data, 1, stream=1)
    )
    return line


def test_answers_that_are_not_read_are_limited(call, server):
    message = repeated_pixels()
    assert len(message) < 100
    call(PREDICT, message)
    before = server.memory()
    lines = [unread_call(server.grpc_port, message) for _ in range(20)]
    route = 'kerasseg_requests_total{route="grpc",status="%d"}'
    # An answer has 20.8 MB, twice: one fits into 67 MB beside another one.
    until(lambda: server.metric(route % 503) >= 10)
    time.sleep(0.5)
    assert server.memory() - before < 150 * 2**20
    with pytest.raises(grpc.RpcError) as caught:
        call(PREDICT, message)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    for line in lines:
        line.close()

    def answered():
        try:
            return call(PREDICT, message)
        except grpc.RpcError:
            return False

    until(answered)  # The bytes are released with the connections.
