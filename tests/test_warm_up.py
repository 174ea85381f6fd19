"""Requests that a server answers before a new model takes over."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from kerasseg import exporting, images
from kerasseg.exporting import warm_up
from tests import levels, served, tiny


@pytest.fixture
def folder(tmp_path):
    return pathlib.Path(served.export(tmp_path))


def test_an_export_holds_requests_that_its_signatures_take(tmp_path):
    picture = exporting.Picture(tiny.png(levels.IMAGE))
    folder = served.export(tmp_path, pictures=[picture])
    found = list(warm_up.read(folder))
    names = [name for name, _ in found]
    assert names == ["serving_default", "serving_default", "tensor"]
    [file] = found[0][1]["image_bytes"]
    size = images.probe(file)
    assert (size.height, size.width) == (2, 3)
    assert file != picture.file  # An export gives no picture of the records away.
    assert found[2][1]["image"].shape == (1, 33, 47, 3)  # Of the drawn picture.
    loaded = tf.saved_model.load(folder)
    for name, inputs in found:
        loaded.signatures[name](**{k: tf.constant(v) for k, v in inputs.items()})


def test_tensorflow_servings_own_classes_read_it(folder):
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


def test_a_record_that_is_none_is_told(tmp_path):
    write(tmp_path, [b"malformed_record"])  # As in TensorFlow Serving's own test.
    with pytest.raises(ValueError, match=r"request 1 is no PredictionLog.* Remove the"):
        list(warm_up.read(tmp_path))


def test_a_damaged_file_is_told(tmp_path):
    path = write(tmp_path, [b"x" * 100])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"warmup_requests is damaged \(.*Remove it"):
        list(warm_up.read(tmp_path))


def test_more_than_a_thousand_are_told(tmp_path):
    requests = [("tensor", {"image": np.zeros(1)})] * 1001
    warm_up.write(tmp_path, requests[:1000])
    assert len(list(warm_up.read(tmp_path))) == 1000
    warm_up.write(tmp_path, requests)
    with pytest.raises(ValueError, match="holds more than 1000 requests"):
        list(warm_up.read(tmp_path))


# What kerasseg.serve does with it: as TensorFlow Serving, which fails the load.


def test_the_server_answers_them_before_it_is_ready(folder):
    from kerasseg.serve import engine

    loaded, asked = engine.Engine(folder), []
    call = loaded.call
    loaded.call = lambda *request: asked.append(request[0]) or call(*request)
    loaded.warm_up()
    assert asked == ["serving_default", "tensor"]


@pytest.mark.parametrize(
    ("records", "error"),
    [
        ([b"malformed_record"], "no PredictionLog"),
        ([b""], "image_bytes|missing|argument"),  # A request without inputs.
    ],
)
def test_a_version_whose_requests_fail_is_not_loaded(folder, records, error):
    from kerasseg.serve import engine

    write(folder, records)
    with pytest.raises(Exception, match=error):
        engine.Engine(folder).warm_up()
