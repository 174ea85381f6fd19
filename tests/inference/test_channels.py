"""Prediction, export and serving with networks of other channels than RGB."""

import asyncio
import json

import numpy as np
import pytest

import kerasseg
from kerasseg import errors, exporting, images, inference, models
from kerasseg.exporting import signatures
from kerasseg.images import geo
from kerasseg.inference import geographic, outputs
from kerasseg.serve import decoding, engine
from kerasseg.workdir import class_names
from tests.images.test_rasters import PLACE, tiff

KIND = images.ImageKind(
    4, "uint16", (300.0,) * 4, (100.0,) * 4, (100.0,) * 4, (500.0,) * 4
)
NAMES, PALETTE = ("a", "b"), np.array([[0, 0, 0], [255, 0, 0]], np.uint8)


@pytest.fixture(scope="module")
def model():
    options = {"backbone": "resnet18_quarter"}
    built = models.build_model("deeplab_v3_plus", 2, image_kind=KIND, **options)
    class_names.attach(built, NAMES, PALETTE, KIND)
    return built


@pytest.fixture(scope="module")
def segmenter(model):
    return inference.Segmenter(model, NAMES, PALETTE, image_kind=KIND)


def pixels(seed=0, size=(40, 56)):
    rng = np.random.default_rng(seed)
    return rng.integers(100, 500, (*size, 4)).astype(np.uint16)


def test_arrays_bytes_and_files_give_the_same_mask(segmenter, model, tmp_path):
    image = pixels()
    expected = np.asarray(model(image[None].astype("float32")))[0].argmax(-1)
    np.save(tmp_path / "a.npy", image)
    (tmp_path / "a.tif").write_bytes(tiff(image, planarconfig="contig"))
    for source in (
        image,
        images.encode_npy(image),
        tmp_path / "a.npy",
        tmp_path / "a.tif",
    ):
        np.testing.assert_array_equal(segmenter.predict(source), expected)
    found = segmenter.predict(image)
    assert found.image.dtype == np.uint8
    assert found.overlay().shape == (40, 56, 3)
    assert found.probabilities.shape == (40, 56, 2)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3), np.uint16), r"expected \[height, width, 4\]"),
        (np.zeros((8, 8, 4), np.uint8), "is of uint8"),
        ("text", "No such file|does not exist"),
        (3, "expected a path"),
    ],
)
def test_images_of_another_kind_are_refused(segmenter, image, message):
    with pytest.raises((errors.UserError, OSError), match=message):
        segmenter.predict(image)


def test_files_are_predicted_with_their_place(segmenter, tmp_path):
    image = pixels()
    image[:2, :3] = 0
    extra = [(n, kind, len(v), v, True) for n, kind, v in PLACE.tags]
    extra.append((42113, 2, 0, "0", True))
    data = tiff(image, planarconfig="contig", extratags=extra)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.tif").write_bytes(data)
    (tmp_path / "in/b.tif").write_bytes(tiff(pixels()[..., :3], planarconfig="contig"))
    paths = inference.inputs.find_images(str(tmp_path / "in"), str(tmp_path / "out"))
    kinds = ("index", "overlay", "geotiff", "geojson")
    failures = inference.files.predict_files(
        segmenter, paths, tmp_path / "out", kinds=kinds
    )
    assert len(failures) == 1
    assert "b.tif has 3 channels, expected 4" in failures[0]
    mask = images.read_label(tmp_path / "out/index/a.png")
    assert (mask[:2, :3] == 255).all()
    assert (mask[2:] != 255).all()
    written = images.read_raster(tmp_path / "out/geotiff/a.tif", channels=1)
    assert written.place == PLACE
    np.testing.assert_array_equal(written.valid, mask != 255)
    np.testing.assert_array_equal(
        written.pixels[..., 0][written.valid], mask[mask != 255]
    )
    content = json.loads((tmp_path / "out/geojson/a.geojson").read_text())
    assert content["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    total = sum(each["properties"]["pixels"] for each in content["features"])
    assert total == 40 * 56 - 6


def test_a_polygon_has_the_coordinates_of_the_map():
    mask = np.full((5, 6), 255, np.uint8)
    mask[1:3, 2:5] = 1
    (feature,) = geographic.collection(mask, NAMES, PLACE)["features"]
    (ring,) = feature["geometry"]["coordinates"]
    # Columns 2 to 5 and rows 1 to 3, in cells of 10 m.
    assert ring[0] == ring[-1]
    assert {tuple(point) for point in ring} == {
        (x, y) for x in (500020, 500050) for y in (4199990, 4199970)
    }
    assert feature["properties"] == {"class": "b", "class_number": 1, "pixels": 6}
    (plain,) = geographic.collection(mask, NAMES, None)["features"]
    assert {tuple(x) for x in plain["geometry"]["coordinates"][0]} == {
        (x, y) for x in (2, 5) for y in (1, 3)
    }


def test_a_mask_without_a_place_is_a_plain_tiff():
    mask = np.array([[0, 1], [1, 0]], np.uint8)
    assert images.read_raster(geo.encode_mask(mask, None), channels=1).place is None
    assert outputs.KINDS["geotiff"][0] == ".tif"


@pytest.mark.slow
def test_an_export_states_its_channels_and_serves_them(model, tmp_path):
    path = exporting.export_saved_model(
        model,
        tmp_path / "export",
        class_names=NAMES,
        palette=PALETTE,
        format_names=("saved_model", "keras", "tflite_float32", "onnx"),
        samples=[exporting.samples.Sample(images.encode_npy(pixels()))],
    )
    loaded = kerasseg.load(tmp_path / "export")
    image = pixels(1, (33, 47))
    expected = np.asarray(model(image[None].astype("float32")))[0].argmax(-1)
    assert loaded.image_kind == KIND
    np.testing.assert_array_equal(loaded.predict(image), expected)
    card = (tmp_path / "export/1/README.md").read_text()
    assert "float32 [N, height, width, 4]" in card
    assert 'predict("image.npy")' in card
    served = engine.Engine(path)
    np.testing.assert_array_equal(served.masks([image])[0], expected)
    served.warm_up()
    assert served.inputs["serving_default"].keys() == {"image"}


def test_a_keras_file_keeps_the_kind(model, tmp_path):
    model.save(tmp_path / "model.keras")
    assert kerasseg.load(tmp_path / "model.keras").image_kind == KIND


def test_the_server_decodes_images_of_the_kind():
    async def decode(data):
        decoder = decoding.Decoder(1, 4000)
        try:
            return await decoder.decode(data, upright=True, kind=KIND)
        finally:
            decoder.close()

    image = pixels()
    for data in (images.encode_npy(image), tiff(image, planarconfig="contig")):
        np.testing.assert_array_equal(asyncio.run(decode(data)).pixels, image)
    with pytest.raises(Exception, match="has 3 channels, expected 4"):
        asyncio.run(decode(images.encode_npy(image[..., :3])))


def test_signatures_follow_the_number_of_channels(model):
    functions = signatures.build(model, reads_files=False)
    for function in functions.values():
        (image,) = function.inputs[:1]
        assert image.shape.as_list() == [None, None, None, 4]
