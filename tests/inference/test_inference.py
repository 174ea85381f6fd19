"""Loading trained networks, and prediction of images of every size."""

import pathlib

import numpy as np
import pytest
from PIL import Image

import kerasseg
from kerasseg import datasets, exporting, inference
from kerasseg.images import palettes
from tests.support import levels, tiny

PALETTE = tiny.SPEC.palette


@pytest.fixture
def segmenter():
    return inference.Segmenter(levels.build_model(), tiny.SPEC.class_names, PALETTE)


def test_each_pixel_gets_the_class_of_its_largest_logit(segmenter):
    mask = segmenter.predict(levels.IMAGE)
    assert mask.dtype == np.uint8
    assert mask.tolist() == levels.CLASSES


def test_probabilities_are_the_softmax_of_the_logits(segmenter):
    actual = segmenter.probabilities(levels.IMAGE)
    logits = segmenter.model(levels.IMAGE[np.newaxis].astype(np.float32)).numpy()[0]
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    expected = exponentials / exponentials.sum(-1, keepdims=True)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_among_several_outputs_the_logits_are_used():
    model = levels.build_model(named=True)
    segmenter = inference.Segmenter(model, tiny.SPEC.class_names, PALETTE)
    assert segmenter.predict(levels.IMAGE).tolist() == levels.CLASSES
    assert segmenter.probabilities(levels.IMAGE).argmax(-1).tolist() == levels.CLASSES


def test_images_of_all_sizes_share_one_graph(segmenter):
    traced = []
    model = segmenter.model

    def counted(image, training):
        traced.append(image.shape)
        return model(image, training=training)

    segmenter = inference.Segmenter(counted, segmenter.class_names, PALETTE)
    for size in [(1, 1), (33, 47), (224, 160), (1, 500)]:
        assert segmenter.predict(np.zeros((*size, 3), np.uint8)).shape == size
        assert segmenter.probabilities(np.zeros((*size, 3), np.uint8)).shape == (
            *size,
            3,
        )
    assert len(traced) == 2


def test_an_image_of_twelve_million_pixels_is_predicted(segmenter):
    image = np.zeros((3000, 4000, 3), np.uint8)
    image[-1, -1, 0] = 200
    actual = segmenter.predict(image)
    assert actual.shape == (3000, 4000)
    assert (actual[0, 0], actual[-1, -1]) == (0, 2)


def test_a_file_is_read(segmenter, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(tiny.png(levels.IMAGE))
    assert segmenter.predict(path).tolist() == levels.CLASSES
    assert segmenter.predict(str(path)).tolist() == levels.CLASSES


def write_rotated(path):
    """Writes 16x32 pixels, left half 0, right half 255, with an EXIF rotation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = levels.red(np.repeat([[0] * 16 + [255] * 16], 16, axis=0))
    Image.fromarray(stored).save(path, "JPEG", exif=exif, quality=95)


def test_a_file_is_rotated_upright(segmenter, tmp_path):
    write_rotated(tmp_path / "image.jpg")
    actual = segmenter.predict(tmp_path / "image.jpg")
    assert actual.shape == (32, 16)
    # The left half is now at the top.
    assert np.unique(actual[:14]).tolist() == [0]
    assert np.unique(actual[18:]).tolist() == [2]


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.zeros((4, 4, 3), np.int32), r"got int32 \[4, 4, 3\]"),
        (np.zeros((3, 4, 5), np.uint8), r"got uint8 \[3, 4, 5\].*channels last"),
        (np.zeros((4, 4, 4), np.uint8), r"got uint8 \[4, 4, 4\].*an alpha channel"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"got uint8 \[1, 4, 4, 3\].*list\(batch\)"),
        (np.zeros((4, 0, 3), np.uint8), r"got uint8 \[4, 0, 3\]"),
    ],
)
def test_an_invalid_array_is_an_error(segmenter, image, text):
    with pytest.raises(ValueError, match=f"An image is uint8 .*; {text}"):
        segmenter.predict(image)


def test_nan_logits_are_an_error(segmenter):
    model = segmenter.model
    model.get_layer("logits").bias.assign([0, np.nan, 0])
    for predict in (segmenter.predict, segmenter.probabilities):
        with pytest.raises(ValueError, match="logits are NaN"):
            predict(levels.IMAGE)


def test_a_workdir_is_loaded_with_class_names_and_colors(tmp_path):
    segmenter = kerasseg.load(levels.make_workdir(tmp_path / "run"))
    assert segmenter.class_names == ("left", "middle", "right")
    np.testing.assert_array_equal(segmenter.palette, PALETTE)
    assert segmenter.predict(levels.IMAGE).tolist() == levels.CLASSES


def test_a_workdir_can_be_loaded_at_another_output_stride(tmp_path, monkeypatch):
    built = []
    levels.register(monkeypatch, built)
    workdir = levels.make_workdir(tmp_path / "run", output_stride=16)
    segmenter = inference.load(workdir, output_stride=8)
    assert built == [(3, {"output_stride": 8, "backbone_weights": None})]
    assert segmenter.predict(levels.IMAGE).tolist() == levels.CLASSES


def test_a_file_is_loaded_with_numbers_as_names_and_pascal_voc_colors(tmp_path):
    levels.build_model().save(tmp_path / "model.keras")
    segmenter = inference.load(tmp_path / "model.keras")
    assert segmenter.class_names == ("0", "1", "2")
    assert segmenter.palette.tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    assert segmenter.predict(levels.IMAGE).tolist() == levels.CLASSES


def test_the_palette_equals_that_of_pascal_voc():
    voc = datasets.get("pascal_voc")
    np.testing.assert_array_equal(palettes.voc_palette(21), voc.palette)
    # 255 has all bits: 1, 2, 4, ... are red, green, blue, red, ...; 3, 3 and 2 of them.
    assert palettes.voc_palette(256)[255].tolist() == [224, 224, 192]


@pytest.fixture(scope="module")
def export_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    for version in (9, 10):
        exporting.export_saved_model(
            levels.build_model(),
            folder,
            class_names=tiny.SPEC.class_names,
            palette=PALETTE if version == 10 else 1 + PALETTE // 2,
            version=version,
        )
    return folder


def test_an_export_predicts_the_same_as_the_model(export_dir, segmenter):
    exported = inference.load(export_dir)
    assert exported.class_names == ("left", "middle", "right")
    np.testing.assert_array_equal(exported.palette, PALETTE)  # 10 is newer than 9.
    assert exported.predict(levels.IMAGE).tolist() == levels.CLASSES
    np.testing.assert_allclose(
        exported.probabilities(levels.IMAGE),
        segmenter.probabilities(levels.IMAGE),
        atol=1e-5,
    )


def test_one_version_of_an_export_can_be_chosen(export_dir):
    exported = inference.load_export(export_dir / "9")
    np.testing.assert_array_equal(exported.palette, 1 + PALETTE // 2)


def test_an_export_without_its_classes_is_an_error(export_dir, tmp_path):
    path = pathlib.Path(tmp_path, "1")
    path.mkdir()
    (path / "saved_model.pb").write_bytes(
        (export_dir / "9/saved_model.pb").read_bytes()
    )
    with pytest.raises(
        ValueError, match=r"classes\.json is missing: .* not written by"
    ):
        inference.load_export(tmp_path)


def test_a_folder_without_an_export_is_an_error(tmp_path):
    (tmp_path / "notes").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"not hold an exported model.*kerasseg\.export"
    ):
        inference.load_export(tmp_path)


def test_a_missing_path_is_an_error(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"does not exist\. Give the workdir of a run"
    ):
        inference.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="neither the best model of a run nor"):
        inference.load(tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(b"no model at all")
    with pytest.raises(
        ValueError, match=r"model\.keras is damaged or not a \.keras file"
    ):
        inference.load(path)


def test_a_workdir_with_a_damaged_model_is_an_error(tmp_path):
    workdir = levels.make_workdir(tmp_path / "run")
    path = workdir / "best/model.keras"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(
        ValueError, match=r"best/model\.keras is damaged or not a \.keras"
    ):
        inference.load(workdir)


def test_a_workdir_without_its_data_set_is_an_error(tmp_path):
    workdir = levels.make_workdir(tmp_path / "run")
    (workdir / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match=r"dataset\.json is damaged"):
        inference.load(workdir)
    (workdir / "dataset.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"dataset\.json is missing"):
        inference.load(workdir)


def test_classes_of_model_and_data_set_must_agree(tmp_path):
    workdir = levels.make_workdir(tmp_path / "run", levels.build_model(num_classes=4))
    with pytest.raises(ValueError, match=r"has 4 classes, dataset\.json 3"):
        inference.load(workdir)


def test_the_output_stride_of_a_file_cannot_be_chosen(tmp_path):
    levels.build_model().save(tmp_path / "model.keras")
    with pytest.raises(
        ValueError, match="`output_stride=8` needs the workdir of a run"
    ):
        inference.load(tmp_path / "model.keras", output_stride=8)
