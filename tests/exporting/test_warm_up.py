"""Warm-up requests, which a server runs before a new model goes live."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from kerasseg import exporting, images
from kerasseg.exporting import warm_up
from tests.support import levels, served, tiny


@pytest.fixture
def folder(tmp_path):
    return pathlib.Path(served.export(tmp_path))


def test_an_export_holds_valid_requests_for_its_signatures(tmp_path):
    sample = exporting.Sample(tiny.png(levels.IMAGE))
    folder = served.export(tmp_path, samples=[sample])
    requests = list(warm_up.read(folder))
    names = [name for name, _ in requests]
    assert names == ["serving_default", "serving_default", "tensor"]
    [file] = requests[0][1]["image_bytes"]
    size = images.probe(file)
    assert (size.height, size.width) == (2, 3)
    assert file != sample.file  # An export must not contain images of the records.
    assert requests[2][1]["image"].shape == (1, 33, 47, 3)  # The synthetic image.
    loaded = tf.saved_model.load(folder)
    for name, inputs in requests:
        loaded.signatures[name](**{k: tf.constant(v) for k, v in inputs.items()})


def test_tensorflow_servings_messages_parse_the_file(folder):
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    path = os.fspath(folder / warm_up.FILE)
    assert path.endswith("/assets.extra/tf_serving_warmup_requests")
    records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
    requests = [logs.PredictionLog.FromString(x).predict_log.request for x in records]
    names = [request.model_spec.signature_name for request in requests]
    assert names == ["serving_default", "tensor"]
    image = tf.make_ndarray(requests[1].inputs["image"])
    assert (image.shape, image.dtype) == ((1, 33, 47, 3), np.float32)
    [file] = tf.make_ndarray(requests[0].inputs["image_bytes"])
    np.testing.assert_array_equal(tf.io.decode_png(file), image[0])


def test_without_the_file_there_are_no_requests(tmp_path):
    assert list(warm_up.read(tmp_path)) == []


def write(folder, records):
    path = folder / warm_up.FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(os.fspath(path)) as file:
        for record in records:
            file.write(record)
    return path


def test_a_malformed_record_is_an_error(tmp_path):
    write(tmp_path, [b"malformed_record"])  # As in TensorFlow Serving's own test.
    with pytest.raises(ValueError, match=r"request 1 is not a PredictionLog.* Remove"):
        list(warm_up.read(tmp_path))


def test_a_damaged_file_is_an_error(tmp_path):
    path = write(tmp_path, [b"x" * 100])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"warmup_requests is damaged \(.*Remove it"):
        list(warm_up.read(tmp_path))


def test_more_than_1000_requests_are_an_error(tmp_path):
    requests = [("tensor", {"image": np.zeros(1)})] * 1001
    warm_up.write(tmp_path, requests[:1000])
    assert len(list(warm_up.read(tmp_path))) == 1000
    warm_up.write(tmp_path, requests)
    with pytest.raises(ValueError, match="holds more than 1000 requests"):
        list(warm_up.read(tmp_path))


# In kerasseg.serve: a failing request fails the load, like in TensorFlow Serving.


def test_the_server_runs_them_before_it_is_ready(folder):
    from kerasseg.serve import engine

    loaded, called = engine.Engine(folder), []
    call = loaded.call
    loaded.call = lambda *request: called.append(request[0]) or call(*request)
    loaded.warm_up()
    assert called == ["serving_default", "tensor"]


@pytest.mark.parametrize(
    ("records", "error"),
    [
        ([b"malformed_record"], "not a PredictionLog"),
        ([b""], "image_bytes|missing|argument"),  # A request without inputs.
    ],
)
def test_a_version_whose_requests_fail_is_not_loaded(folder, records, error):
    from kerasseg.serve import engine

    write(folder, records)
    with pytest.raises(Exception, match=error):
        engine.Engine(folder).warm_up()
