"""The server with a network that detects objects."""

import base64
import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import exporting, images
from kerasseg.exporting import formats
from kerasseg.exporting.formats import saved_model
from kerasseg.serve import costs, engine, found
from kerasseg.serve.request_errors import RequestError
from tests.support import detected, server_process, tiny

ROOT = pathlib.Path(__file__).parents[2]

IMAGE = detected.noise(60, 90)
SIZE = IMAGE.shape[:2]
PADDED = ["boxes", "classes", "scores", "valid"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An export that is not compared with the model, which would take longer."""
    folder = tmp_path_factory.mktemp("instances")
    model, spec = detected.small_network(), detected.spec()
    source = formats.Source(
        model=model,
        folded=model,
        class_names=detected.NAMES,
        palette=spec.palette,
        detection=exporting.DetectionOptions(),
    )
    saved_model.write(source, str(folder / "1"))
    return folder


@pytest.fixture(scope="module")
def loaded(folder):
    return engine.Engine(folder / "1", tile_size=128)


@pytest.fixture(scope="module")
def server(folder):
    grpc = importlib.util.find_spec("tensorflow_serving")
    ports = {"grpc_port": 0} if grpc else {}
    with_tiles = server_process.Server(folder, tile_side=128, **ports)
    with_tiles.wait_until_ready()
    yield with_tiles
    with_tiles.stop()


@pytest.fixture(scope="module")
def expected(loaded):
    """The outputs of both signatures."""
    files = np.array([tiny.png(IMAGE)], object)
    return {
        "serving_default": loaded.call("serving_default", {"image_bytes": files}),
        "tensor": loaded.call("tensor", {"image": IMAGE[None].astype(np.float32)}),
    }


@pytest.mark.slow
def test_an_engine_detects_what_the_signatures_detect(loaded, expected):
    assert loaded.detects_objects
    (first, second) = loaded.detections([IMAGE, IMAGE[:, ::-1]])
    answer = first.files()
    assert not np.allclose(answer["boxes"], second.files()["boxes"])
    assert list(expected["serving_default"]) == sorted(answer)
    for name, value in expected["serving_default"].items():
        if name.endswith("png_bytes"):
            pixels = [pixels_of(each) for each in (answer[name], value[0])]
            assert pixels[0].dtype == pixels[1].dtype and pixels[0].any()
            assert (pixels[0] != pixels[1]).sum() <= 2  # Rounding at 0.5.
        else:
            np.testing.assert_allclose(answer[name], value[0], atol=1e-3)


def pixels_of(file):
    return cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.slow
def test_masks_of_the_size_of_the_image_are_part_of_the_measured_cost(loaded):
    loaded.warm_up()
    assert loaded.cost.seconds_per_pixel > 0


@pytest.mark.slow
def test_the_cost_of_an_image_is_that_of_its_size_in_the_network(loaded, monkeypatch):
    assert loaded.network_size(600, 900) == (600, 900)
    monkeypatch.setattr(loaded, "_sides", (800, 1333))
    assert loaded.network_size(600, 900) == (800, 1200)
    assert loaded.network_size(3000, 12000) == (333, 1333)  # 333.25


def test_the_sides_are_those_of_the_export(tmp_path):
    assert engine._sides(tmp_path) == (None, None)
    metadata = {"detections": {"min_side": 800, "max_side": None}}
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    assert engine._sides(tmp_path) == (800, None)


def test_objects_are_not_detected_in_tiles():
    # 300 x 200 pixels are one call, whatever the size of the tiles.
    plan = costs.plan(300, 200, 128, tiled=False)
    assert plan == costs.Plan(False, 60_000, 60_000, True)


@pytest.mark.parametrize(
    ("mask", "runs"),
    [
        ([[0, 1], [1, 1]], [1, 3]),  # By columns: 0 1, 1 1.
        ([[1, 0], [0, 1]], [0, 1, 2, 1]),
        ([[0, 0], [0, 0]], [4]),
        ([[1, 1], [1, 1]], [0, 4]),
    ],
)
def test_runs_go_by_columns_and_start_with_zeros(mask, runs):
    assert found.runs(np.array(mask, bool)) == runs


@pytest.mark.slow
def test_segment_returns_mask_overlay_and_detections(server, expected):
    file = tiny.png(IMAGE)
    outputs = {name: value[0] for name, value in expected["tensor"].items()}
    mask = pixels_of(expected["serving_default"]["mask_png_bytes"][0])
    status, _, body = server.request("POST", "/segment", file)
    assert status == 200
    assert (images.read_label(body) != mask).sum() <= 2
    status, _, body = server.request("POST", "/segment", file, {"Accept": "image/jpeg"})
    assert status == 200 and images.read_image(body).shape == IMAGE.shape
    status, _, body = server.request(
        "POST", "/segment", file, {"Accept": "application/json"}
    )
    answer = json.loads(body)
    assert [each["name"] for each in answer["classes"]] == list(detected.NAMES)
    numbers = base64.b64decode(answer["numbers_png"])
    assert (images.read_label(numbers) != mask).sum() <= 2
    assert len(answer["detections"]) == outputs["valid"].sum() > 0
    assert answer["min_score"] == 0.5
    for i, each in enumerate(answer["detections"]):
        assert (each["id"], each["category_id"]) == (i + 1, outputs["classes"][i])
        assert each["score"] == pytest.approx(outputs["scores"][i], abs=1e-3)
        y1, x1, y2, x2 = outputs["boxes"][i]
        expected_box = [x1, y1, x2 - x1, y2 - y1]
        np.testing.assert_allclose(each["bbox"], expected_box, atol=1e-2)
        counts = each["segmentation"]["counts"]
        values = np.arange(len(counts)) % 2
        pasted = np.repeat(values, counts).reshape(SIZE, order="F")
        assert (pasted != outputs["masks"][i]).sum() <= 2
        assert each["area"] == pasted.sum()


@pytest.mark.slow
def test_both_signatures_can_be_called(server, expected):
    path = "/v1/models/levels:predict"
    encoded = base64.b64encode(tiny.png(IMAGE)).decode()
    status, answer = server.json(
        "POST", path, {"instances": [{"image_bytes": {"b64": encoded}}]}
    )
    assert status == 200, answer
    (row,) = answer["predictions"]
    assert sorted(row) == list(expected["serving_default"])
    for name in PADDED:
        np.testing.assert_allclose(
            row[name], expected["serving_default"][name][0], atol=1e-2
        )
    ids = pixels_of(base64.b64decode(row["instance_png_bytes"]["b64"]))
    file = expected["serving_default"]["instance_png_bytes"][0]
    assert (ids != pixels_of(file)).sum() <= 2
    body = {"signature_name": "tensor", "inputs": IMAGE[None].tolist()}
    status, answer = server.json("POST", path, body)
    assert status == 200, answer
    assert sorted(answer["outputs"]) == list(expected["tensor"])
    masks = np.array(answer["outputs"]["masks"])
    assert masks.dtype == bool and masks.shape == (1, 10, *SIZE)


@pytest.mark.slow
def test_images_larger_than_a_tile_are_predicted_as_a_whole(server, loaded):
    large = detected.noise(150, 300)
    status, headers, body = server.request("POST", "/segment", tiny.png(large))
    assert status == 200 and "x-tile-size" not in headers
    (one,) = loaded.detections([large])
    assert (images.read_label(body) != one.class_map()).mean() < 0.001


def page_example(language, text):
    """Returns the example of docs/serving.md that contains a text."""
    page = (ROOT / "docs/serving.md").read_text()
    found = re.findall(rf"^```{language}\n(.*?)^```", page, re.M | re.S)
    (code,) = [each for each in found if text in each]
    return code


@pytest.mark.slow
def test_the_command_of_the_page_detects_objects(server, expected, tmp_path):
    (tmp_path / "image.jpg").write_bytes(tiny.png(IMAGE))
    command = page_example("bash", "models/shapes:predict")
    command = command.replace(
        ":8501/v1/models/shapes", f":{server.port}/v1/models/levels"
    )
    run = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    (row,) = json.loads(run.stdout)["predictions"]
    assert sorted(row) == list(expected["serving_default"])
    boxes = expected["serving_default"]["boxes"][0]
    np.testing.assert_allclose(row["boxes"], boxes, atol=1e-2)


@pytest.mark.slow
def test_the_code_of_the_page_prints_objects(server, expected, tmp_path):
    (tmp_path / "image.jpg").write_bytes(tiny.png(IMAGE))
    code = page_example("python", "models/shapes:predict")
    code = code.replace(":8501/v1/models/shapes", f":{server.port}/v1/models/levels")
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    scores = expected["serving_default"]["scores"]
    assert len(run.stdout.splitlines()) == (scores >= 0.5).sum() > 0


@pytest.mark.slow
def test_the_grpc_client_of_the_page_gets_masks(server, expected, tmp_path, stub):
    del stub  # Skips the test if there is no gRPC.
    (tmp_path / "image.jpg").write_bytes(tiny.png(IMAGE))
    code = page_example("python", "import grpc").replace('"shapes"', '"levels"')
    code = code.replace(":8500", f":{grpc_port(server)}") + "print(masks.shape)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(expected["tensor"]["masks"].shape)


def grpc_port(server):
    return re.search(r"gRPC at port (\d+)", server.line)[1]


@pytest.fixture(scope="module")
def stub(server):
    """The stub of TensorFlow Serving's gRPC API."""
    grpc = pytest.importorskip("grpc")
    apis = pytest.importorskip("tensorflow_serving.apis.prediction_service_pb2_grpc")
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port(server)}") as channel:
        yield apis.PredictionServiceStub(channel)


def grpc_outputs(stub, signature, names=(), **inputs):
    """Calls a signature by gRPC; returns its outputs as arrays."""
    messages = importlib.import_module("tensorflow_serving.apis.predict_pb2")
    request = messages.PredictRequest(output_filter=names)
    request.model_spec.name = "levels"
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    outputs = stub.Predict(request, timeout=60).outputs
    return {name: tf.make_ndarray(outputs[name]) for name in sorted(outputs)}


@pytest.mark.slow
def test_grpc_returns_the_tensors_of_both_signatures(stub, expected):
    pixels = IMAGE[None].astype(np.float32)
    outputs = grpc_outputs(stub, "tensor", image=pixels)
    assert list(outputs) == list(expected["tensor"])
    for name, value in expected["tensor"].items():
        assert (outputs[name].dtype, outputs[name].shape) == (value.dtype, value.shape)
        np.testing.assert_allclose(outputs[name], value, atol=1e-3)
    assert outputs["valid"].any() and outputs["masks"].any()
    some = grpc_outputs(stub, "tensor", ["scores", "boxes"], image=pixels)
    assert list(some) == ["boxes", "scores"]
    np.testing.assert_array_equal(some["boxes"], outputs["boxes"])
    files = grpc_outputs(stub, "serving_default", image_bytes=[tiny.png(IMAGE)])
    assert list(files) == list(expected["serving_default"])
    for name in PADDED:
        value = expected["serving_default"][name]
        assert files[name].dtype == value.dtype
        np.testing.assert_allclose(files[name], value, atol=1e-2)
    ids = pixels_of(files["instance_png_bytes"][0])
    file = expected["serving_default"]["instance_png_bytes"][0]
    assert ids.dtype == np.uint16 and (ids != pixels_of(file)).sum() <= 2


@pytest.mark.slow
def test_grpc_describes_the_outputs(stub, expected):
    messages = importlib.import_module("tensorflow_serving.apis.get_model_metadata_pb2")
    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "levels"
    response = stub.GetModelMetadata(request, timeout=60)
    signatures = messages.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    for name, outputs in expected.items():
        assert sorted(signatures.signature_def[name].outputs) == sorted(outputs)


def test_outputs_beyond_the_size_of_a_message_are_refused():
    grpc_api = pytest.importorskip("kerasseg.serve.grpc_api")
    # 3 GiB without memory, of which a message holds 2 GiB.
    masks = np.broadcast_to(np.zeros((), bool), (1, 48, 2**13, 2**13))
    outputs = {"boxes": np.zeros((1, 48, 4), np.float32), "masks": masks}
    with pytest.raises(RequestError, match="leave out masks by an output_filter") as e:
        grpc_api._filtered([], outputs)
    assert e.value.status == 413
    assert list(grpc_api._filtered(["boxes"], outputs)) == ["boxes"]
