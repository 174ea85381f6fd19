"""gRPC with TensorFlow Serving's stubs, against the command."""

import asyncio
import re
import signal
import time
import types

import numpy as np
import pytest
import tensorflow as tf

from kerasseg import images
from kerasseg.serve import settings
from tests.support import levels, served
from tests.support.server_process import IMAGE_FILE, Server, png, serving, until

grpc = pytest.importorskip("grpc")
apis = "tensorflow_serving.apis"
pytest.importorskip(apis, reason="needs kerasseg[grpc]")

from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from kerasseg.serve import grpc_api  # noqa: E402


class GrpcServer(Server):
    """The command with gRPC."""

    def __init__(self, folder):
        super().__init__(folder, grpc_port=0, max_megapixels=1.0)
        self.grpc_port = int(re.search(r"gRPC at port (\d+)", self.line)[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    served.export(folder)
    running_server = GrpcServer(folder)
    try:
        running_server.wait_until_ready()
        yield running_server
    finally:
        running_server.stop()


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as opened:
        yield opened


@pytest.fixture
def predict(channel, server):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    yield lambda request: stub.Predict(request, timeout=20)
    server.check_alive()


def request(signature="", name="levels", **inputs):
    message = predict_pb2.PredictRequest()
    message.model_spec.name = name
    message.model_spec.signature_name = signature
    for key, value in inputs.items():
        message.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return message


def test_image_files_are_predicted(predict):
    response = predict(request(image_bytes=[IMAGE_FILE, IMAGE_FILE]))
    masks = tf.make_ndarray(response.outputs["mask_png_bytes"])
    assert [images.read_label(m).tolist() for m in masks] == 2 * [levels.CLASSES]
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"


def test_tensors_are_predicted_and_outputs_filtered(predict):
    given = request("tensor", image=levels.IMAGE[None].astype(np.float32))
    given.model_spec.version.value = 1
    assert sorted(predict(given).outputs) == ["classes", "logits", "probabilities"]
    given.output_filter.append("classes")
    outputs = predict(given).outputs
    assert list(outputs) == ["classes"]
    assert tf.make_ndarray(outputs["classes"])[0].tolist() == levels.CLASSES


IMAGE = np.zeros((1, 2, 2, 3), np.float32)


def changed(**fields):
    """Returns a valid request, except for fields of its tensor."""
    message = request("tensor", image=IMAGE)
    for name, value in fields.items():
        if name == "sides":
            for side, size in zip(
                message.inputs["image"].tensor_shape.dim, value, strict=True
            ):
                side.size = size
        else:
            setattr(message.inputs["image"], name, value)
    return message


def repeated():
    """Returns a request with one file, whose shape states two million."""
    message = request(image_bytes=[IMAGE_FILE])
    message.inputs["image_bytes"].tensor_shape.dim[0].size = 2_000_000
    return message


@pytest.mark.parametrize(
    ("given", "code", "text"),
    [
        (request(name="x", image_bytes=[b""]), "NOT_FOUND", r"Latest\(x\)"),
        (request("x", image_bytes=[b""]), "INVALID_ARGUMENT", '"x" not found'),
        (request(image=IMAGE), "INVALID_ARGUMENT", "expected .'image_bytes'"),
        (request(image_bytes=[b"?"]), "INVALID_ARGUMENT", "not a JPEG or PNG"),
        (request(image_bytes=b"?"), "INVALID_ARGUMENT", "expected .-1"),
        (request(image_bytes=1.0), "INVALID_ARGUMENT", "expected 7, string"),
        (
            request("tensor", image=1),
            "INVALID_ARGUMENT",
            "dtype 3, expected 1, float32",
        ),
        (request("tensor", image=[1.0]), "INVALID_ARGUMENT", r"expected \[-1, -1"),
        (changed(sides=(2**40, 2**40, 9, 3)), "INVALID_ARGUMENT", "limit is 3,000,000"),
        (changed(sides=(-1, 2, 2, 3)), "INVALID_ARGUMENT", "limit is"),
        (
            changed(tensor_content=b"abc"),
            "INVALID_ARGUMENT",
            "does not match its shape",
        ),
        (repeated(), "INVALID_ARGUMENT", "limit is 1 numbers"),
        (changed(dtype=999), "INVALID_ARGUMENT", "dtype 999, expected"),
    ],
)
def test_wrong_calls_have_the_status_of_tensorflow_serving(predict, given, code, text):
    with pytest.raises(grpc.RpcError) as caught:
        predict(given)
    assert caught.value.code().name == code
    assert re.search(text, caught.value.details()), caught.value.details()


def test_a_message_above_the_limit_is_an_error(predict):
    with pytest.raises(grpc.RpcError) as caught:
        predict(request(image_bytes=[bytes(17 * 2**20)]))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_status_and_the_metadata_equal_those_of_rest(channel, server):
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "levels"
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    (state,) = stub.GetModelStatus(status, timeout=20).model_version_status
    assert (state.version, state.state) == (1, type(state).AVAILABLE)
    status.model_spec.name = "x"
    with pytest.raises(grpc.RpcError, match="Could not find any versions of model x"):
        stub.GetModelStatus(status, timeout=20)
    metadata = get_model_metadata_pb2.GetModelMetadataRequest()
    metadata.model_spec.name = "levels"
    metadata.metadata_field.append("signature_def")
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    response = stub.GetModelMetadata(metadata, timeout=20)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    tensor = signatures.signature_def["tensor"].inputs["image"].tensor_shape
    assert [side.size for side in tensor.dim] == [-1, -1, -1, 3]
    rest = server.json("GET", "/v1/models/levels/metadata")[1]["metadata"]
    assert set(rest["signature_def"]["signature_def"]) == set(signatures.signature_def)


def test_received_requests_are_completed_after_sigterm(tmp_path):
    with serving(tmp_path, grpc_port=0) as server:
        port = re.search(r"gRPC at port (\d+)", server.line)[1]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            stub.Predict(request(image_bytes=[IMAGE_FILE]), timeout=20)
            slow = png([[250, 20]])  # Two seconds of the network.
            response = stub.Predict.future(request(image_bytes=[slow]), timeout=20)
            until(lambda: server.metric("kerasseg_requests_inside") == 1)
            server.process.send_signal(signal.SIGTERM)
            masks = tf.make_ndarray(response.result().outputs["mask_png_bytes"])
        assert images.read_label(masks[0]).tolist() == [[2, 0]]
        assert server.process.wait(60) == 0  # TensorFlow itself takes seconds to exit.


def frame(kind, payload, flags=0, stream=0):
    """One frame of HTTP/2: https://www.rfc-editor.org/rfc/rfc9113, section 4.1."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return head + stream.to_bytes(4, "big") + payload


def incomplete_message():
    """Returns the data of a client that sends 10 of the 1000 bytes of a message."""
    headers = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": b"/tensorflow.serving.PredictionService/Predict",
        b":authority": b"x",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
    }
    fields = [(bytes([len(k)]) + k, bytes([len(v)]) + v) for k, v in headers.items()]
    block = b"".join(bytes(1) + name + value for name, value in fields)
    data = bytes(1) + (1000).to_bytes(4, "big") + bytes(10)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, b"")
    end_headers = 4
    return preface + frame(1, block, end_headers, stream=1) + frame(0, data, stream=1)


async def until_code(stub, expected, deadline):
    """Calls every 0.1 s until a call ends with `expected`; returns whether one did."""
    while time.monotonic() < deadline:
        call = stub.GetModelStatus(get_model_status_pb2.GetModelStatusRequest())
        if (await call.code()).name == expected:
            return True
        await asyncio.sleep(0.1)
    return False


async def stall(port, message, count):
    """Opens connections that send `message` and nothing more."""
    writers = []
    for _ in range(count):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(message)
        await writer.drain()
        writers.append(writer)
    return writers


async def calls_beside(message, chosen):
    """Returns whether calls beside stalled connections were refused, then accepted."""
    api = types.SimpleNamespace(status=lambda *_: {})
    server, port = await grpc_api.start(chosen, api, None, None)
    writers, refused = [], False
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        assert await until_code(stub, "OK", time.monotonic() + 20)
        for _ in range(10):  # On a busy machine their time can be over too early.
            writers += await stall(port, message, 2 * chosen.max_requests)
            if refused := await until_code(
                stub, "RESOURCE_EXHAUSTED", time.monotonic() + 0.8
            ):
                break
        accepted = await until_code(stub, "OK", time.monotonic() + 20)
        for _ in range(5):
            accepted &= await until_code(stub, "OK", time.monotonic() + 0.01)
    for writer in writers:
        writer.close()
    await server.stop(0)
    return refused, accepted


def test_an_incomplete_message_blocks_others_only_for_a_while(tmp_path):
    # A connection lives 0.8 s, and what runs on it as long again.
    chosen = settings.Settings(
        export_dir=str(tmp_path),
        model_name="levels",
        grpc_port=0,
        max_requests=1,
        body_seconds=0.4,
        request_seconds=0.4,
    )
    assert asyncio.run(calls_beside(incomplete_message(), chosen)) == (True, True)


async def failed_call(chosen, count):
    """Calls a model that fails; returns the error."""

    def loaded(*_):
        raise RuntimeError("secret")

    api = types.SimpleNamespace(loaded=loaded)
    server, port = await grpc_api.start(chosen, api, None, count)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Predict(request(image_bytes=[IMAGE_FILE]))
    await server.stop(0)
    return caught.value


def test_an_unexpected_error_is_internal_and_counted(tmp_path, caplog):
    counted = []
    chosen = settings.Settings(
        export_dir=str(tmp_path), model_name="levels", grpc_port=0
    )
    error = asyncio.run(failed_call(chosen, lambda *each: counted.append(each)))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert error.details() == "Internal server error; see the server's log."
    assert [each[:2] for each in counted] == [("grpc", 500)]
    assert "secret" in caplog.text


@pytest.mark.slow
def test_the_bytes_of_all_calls_are_limited(tmp_path):
    # One body of 0.05 MiB at most, and 16 of them held at once, 12 for one address.
    settings = {"grpc_port": 0, "max_request_mib": 0.05, "request_seconds": 60}
    with serving(tmp_path, **settings) as server:
        port = re.search(r"gRPC at port (\d+)", server.line)[1]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            stub.Predict(request(image_bytes=[IMAGE_FILE]), timeout=20)
            slow = request(image_bytes=[png([[250, 5]]) + bytes(50_000)])
            calls = [stub.Predict.future(slow, timeout=60) for _ in range(20)]
            failed = [call for call in calls if call.exception()]
        assert len(failed) == 8
        assert {call.code() for call in failed} == {grpc.StatusCode.UNAVAILABLE}
        assert "limit for the size of all requests" in failed[0].details()
