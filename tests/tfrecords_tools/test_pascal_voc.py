"""PASCAL VOC and SBD, in miniature trees laid out like the real ones."""

import numpy as np
import pytest
from scipy import io as scipy_io

from kerasseg import images, records
from tests.support import trees
from tfrecords_tools.converters import pairs, pascal_voc, registry
from tfrecords_tools.writing import planning, writer

# VOC's train and val; SBD's train and val overlap both of them.
VOC_TRAIN, VOC_VAL = ["2007_a", "2007_b"], ["2008_c", "2008_d"]
SBD_TRAIN, SBD_VAL = ["2007_b", "2009_e", "2008_c"], ["2009_f", "2008_d"]
NUMBERS = np.full((12, 16), 20, np.uint8)


@pytest.fixture
def source(tmp_path):
    voc = trees.voc(tmp_path / "VOC2012", VOC_TRAIN, VOC_VAL)
    sbd = trees.sbd(tmp_path / "sbd", SBD_TRAIN, SBD_VAL, NUMBERS)
    return pairs.Source(voc, sbd)


def names(split, source):
    return sorted(pair.name for pair in pascal_voc.list_pairs(split, source))


def test_splits_are_those_of_voc(source):
    assert names("train", source) == VOC_TRAIN
    assert names("val", source) == VOC_VAL
    assert names("trainval", source) == VOC_TRAIN + VOC_VAL


def test_trainaug_is_voc_and_sbd_without_val(source):
    # a, b of VOC; b, e, f of SBD; c and d are val.
    assert names("trainaug", source) == ["2007_a", "2007_b", "2009_e", "2009_f"]


def test_vocs_own_label_is_used_where_both_have_one(source):
    found = {pair.name: pair for pair in pascal_voc.list_pairs("trainaug", source)}
    own = source.source_dir / "SegmentationClass" / "2007_b.png"
    assert found["2007_b"].label == str(own)
    assert found["2009_e"].label == str(source.sbd_dir / "cls" / "2009_e.mat")


def test_images_are_vocs_or_else_sbds(source):
    trees.save(source.source_dir / "JPEGImages" / "2009_e.jpg", trees.image(1))
    found = {pair.name: pair for pair in pascal_voc.list_pairs("trainaug", source)}
    own = source.source_dir / "JPEGImages" / "2009_e.jpg"
    assert found["2009_e"].image == str(own)
    assert found["2009_f"].image == str(source.sbd_dir / "img" / "2009_f.jpg")


def test_records_hold_class_numbers_of_palettes_and_mat_files(source, tmp_path):
    folder = tmp_path / "records"
    writer.build_records("pascal_voc", source, folder, splits=["trainaug", "val"])
    split = records.open_split(folder, "trainaug", dataset="pascal_voc", deep=True)
    examples = [records.parse_example(split.read(i)) for i in range(4)]
    assert [example["name"] for example in examples] == names("trainaug", source)
    labels = [records.decode_label(example["label"]) for example in examples]
    expected = trees.label(len("2007_a"), 21)
    expected[0] = 255  # The void border stays ignored.
    np.testing.assert_array_equal(labels[0], expected)
    np.testing.assert_array_equal(labels[2], NUMBERS)
    path = source.source_dir / "JPEGImages" / "2007_a.jpg"
    assert examples[0]["image"] == path.read_bytes()


def test_trainaug_is_left_out_without_sbd(source):
    found = registry.find_splits("pascal_voc", pairs.Source(source.source_dir))
    there = [split for split, reason in found.items() if not reason]
    assert there == ["train", "val", "trainval"]
    assert "SBD's folder, benchmark_RELEASE/dataset, is needed" in found["trainaug"]


def test_a_wrong_folder_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="PASCAL VOC's folder, VOCdevkit/VOC2012"
    ):
        pascal_voc.list_pairs("train", pairs.Source(tmp_path / "nowhere"))
    with pytest.raises(
        FileNotFoundError, match=r"Segmentation/train\.txt does not exist"
    ):
        pascal_voc.list_pairs("train", pairs.Source(tmp_path))


def mat_file(source, **contents):
    path = source.sbd_dir / "cls" / "2009_e.mat"
    scipy_io.savemat(path, contents)
    return path


def reason_of(source):
    pair = pairs.Pair(
        "2009_e",
        str(source.sbd_dir / "img" / "2009_e.jpg"),
        str(source.sbd_dir / "cls" / "2009_e.mat"),
    )
    with pytest.raises(images.ImageError, match=r"2009_e\.mat") as caught:
        pascal_voc.read_pair(pair)
    return str(caught.value)


@pytest.mark.parametrize(
    "contents", [{"GTcls": "x"}, {"GTcls": 1.0}, {"GTcls": {"Boundaries": 1}}]
)
def test_mat_files_of_another_kind_are_refused(source, contents):
    mat_file(source, **contents)
    assert "is not a label of SBD, a .mat file with GTcls.Segmentation" in reason_of(
        source
    )


def test_mat_files_with_other_numbers_are_refused(source):
    mat_file(source, GTcls={"Segmentation": np.zeros((12, 16))})
    assert "GTcls.Segmentation is float64 [12, 16], expected" in reason_of(source)


@pytest.mark.parametrize("num_left", [0, 50, 200])
def test_cut_mat_files_are_refused(source, num_left):
    path = source.sbd_dir / "cls" / "2009_e.mat"
    path.write_bytes(path.read_bytes()[:num_left])
    assert "Get the file again" in reason_of(source)


def test_flipped_bits_of_mat_files_never_stop_the_program(source):
    path = source.sbd_dir / "cls" / "2009_e.mat"
    whole = path.read_bytes()
    pair = pairs.Pair("2009_e", str(source.sbd_dir / "img" / "2009_e.jpg"), str(path))
    for position in range(0, len(whole), 3):
        data = bytearray(whole)
        data[position] ^= 0xFF
        path.write_bytes(data)
        try:
            label = pascal_voc.read_pair(pair).label
        except images.ImageError:
            continue
        assert label.dtype == np.uint8


def test_a_bad_mat_file_stops_the_build_by_name(source, tmp_path):
    mat_file(source, other=1)
    with pytest.raises(
        planning.BuildError, match=r"pair '2009_e' is bad: .*2009_e\.mat"
    ):
        writer.build_records("pascal_voc", source, tmp_path / "r", splits=["trainaug"])
