"""SUN RGB-D, in a miniature of its zip and its toolbox."""

import numpy as np
import pytest
from scipy import io as scipy_io

from kerasseg import datasets, images, records
from tests.support import published
from tfrecords_tools.converters import pairs, sun_rgbd
from tfrecords_tools.writing import writer

SCENES = ["kv1/NYUdata/NYU0001", "kv2/kinect2data/000002_x", "xtion/a/b/c"]
SPLITS = {"alltrain": [SCENES[0], SCENES[2]], "alltest": [SCENES[1]]}


@pytest.fixture
def source(tmp_path):
    labels = [np.full((12, 16), i) for i in (1, 37, 0)]
    labels[1][0, :5] = 0
    labels_by_scene = dict(zip(SCENES, labels, strict=True))
    return pairs.Source(published.sun_rgbd(tmp_path / "SUN", labels_by_scene, SPLITS))


def test_the_classes_are_the_first_37_of_nyu():
    spec = datasets.get("sun_rgbd")
    assert spec.num_images == {"train": 5285, "test": 5050}
    assert spec.class_names == datasets.get("nyu_depth_v2").class_names[:37]
    assert spec.class_names[-1] == "bag"


def test_scenes_are_found_below_our_folder(source):
    train = sun_rgbd.list_pairs("train", source)
    (test,) = sun_rgbd.list_pairs("test", source)
    assert [pair.name for pair in train] == ["00001", "00003"]
    folder = source.source_dir / "SUNRGBD" / SCENES[1]
    assert (test.name, test.image) == ("00002", str(folder / "image" / "000002_x.jpg"))


def test_values_are_decreased_by_one(source, tmp_path):
    writer.build_records("sun_rgbd", source, tmp_path / "r", splits=["train", "test"])
    split = records.open_split(tmp_path / "r", "test", deep=True)
    label = records.decode_label(records.parse_example(split.read(0))["label"])
    assert label[0].tolist() == [255] * 5 + [36] * 11
    assert (label[1:] == 36).all()


def test_what_is_missing_or_damaged_is_named(source):
    toolbox = source.source_dir / "SUNRGBDtoolbox"
    lists = toolbox / "traintestSUNRGBD" / "allsplit.mat"
    scipy_io.savemat(lists, {"alltrain": 1.0})
    with pytest.raises(ValueError, match=r"allsplit\.mat: alltrain holds no paths"):
        sun_rgbd.list_pairs("train", source)
    lists.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"toolbox is needed, but .*allsplit\.mat"
    ):
        sun_rgbd.list_pairs("train", source)
    with pytest.raises(
        FileNotFoundError, match="with SUNRGBD and SUNRGBDtoolbox, is n"
    ):
        sun_rgbd.list_pairs("train", pairs.Source(toolbox))
    pair = pairs.Pair("00001", str(lists), str(toolbox / "Metadata/SUNRGBDMeta.mat"))
    with pytest.raises(images.ImageError, match=r"seglabel, number 1, cannot be read"):
        sun_rgbd.read_pair(pair)
