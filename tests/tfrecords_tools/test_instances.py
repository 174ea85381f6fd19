"""Instances of each source become objects or maps of ids in records."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import io as scipy_io

from kerasseg import datasets, errors, images, records
from tests.support import commands, published, trees
from tests.tfrecords_tools.test_annotations import (
    HEIGHT,
    WIDTH,
    add_image,
    coco,
    rows,
    source,
    square,
    written,
)
from tfrecords_tools import annotations, build, inspect
from tfrecords_tools.converters import class_lists, own_data, pairs, registry
from tfrecords_tools.doctor import split_report, splits, survey
from tfrecords_tools.writing import encoding, label_rules, planning, writer

coco_mask = pytest.importorskip("pycocotools.mask")
CAR, ROAD = 3, 4  # Categories of `coco`; the classes are 1 and 2.


def built(dataset, source, folder, **options):
    """Builds with instances; returns dataset.json, and the examples of "train"."""
    source = dataclasses.replace(source, instances=True)
    writer.build_records(dataset, source, folder, **options)
    split = records.open_split(folder, "train", deep=True)
    examples = [records.parse_example(split.read(i)) for i in range(len(split))]
    return records.read_info(folder), examples


def objects_of(example):
    return records.decode_objects(example, records.decode_label(example["label"]))


def own(tmp_path, **more):
    """Builds own images with annotations; returns the objects of the only one."""
    _, (example,) = built("folder", source(tmp_path, **more), tmp_path / "r")
    return objects_of(example)


def pixels(mask):
    return sorted(map(tuple, np.argwhere(mask).tolist()))


# PASCAL VOC.


def voc(folder, ids, label):
    trees.voc(folder, ["2007_a"], ["2008_b"])
    for name in ("2007_a", "2008_b"):
        trees.save_palette(folder / "SegmentationClass" / f"{name}.png", label)
        trees.save_palette(folder / "SegmentationObject" / f"{name}.png", ids)
    return pairs.Source(folder)


IDS = np.zeros((12, 16), np.uint8)
IDS[2:4, :8], IDS[6:9, 4:8], IDS[5, :8] = 1, 3, 255  # Void between; id 2 is skipped.
LABEL = np.array([0, 15, 0, 7] + [0] * 251 + [255], np.uint8)[IDS]


def test_voc_has_maps_of_16_bits_without_void(tmp_path):
    info, (example,) = built(
        "pascal_voc", voc(tmp_path / "v", IDS, LABEL), tmp_path / "r", splits=["train"]
    )
    assert example["objects"] is None and info.schema_version == 1
    assert info.instance_classes == datasets.get("pascal_voc").class_names[1:]
    assert images.probe(example["instance"]).mode == "I;16"
    stored = records.decode_instances(example["instance"])
    np.testing.assert_array_equal(stored, np.where(IDS == 255, 0, IDS))
    objects = objects_of(example)
    assert (objects.ids.tolist(), objects.classes.tolist()) == ([1, 3], [15, 7])


def test_sbd_has_maps_from_its_inst_files(tmp_path):
    voc = trees.voc(tmp_path / "VOC2012", ["2007_a"], ["2008_c"])
    trees.save_palette(voc / "SegmentationObject" / "2007_a.png", IDS * 0)
    sbd = trees.sbd(tmp_path / "sbd", ["2009_e"], [], LABEL % 255)
    matrix = np.zeros((1, 1), [("Segmentation", "O"), ("Categories", "O")])
    matrix[0, 0] = (IDS % 255, np.array([[15], [7]]))
    (sbd / "inst").mkdir()
    scipy_io.savemat(sbd / "inst" / "2009_e.mat", {"GTinst": matrix})
    given = pairs.Source(voc, sbd, instances=True)
    writer.build_records("pascal_voc", given, tmp_path / "r", splits=["trainaug"])
    example = records.parse_example(
        records.open_split(tmp_path / "r", "trainaug").read(1)
    )
    stored = records.decode_instances(example["instance"])
    np.testing.assert_array_equal(stored, IDS % 255)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (IDS[:, :9], r"SegmentationObject/2007_a.png: the instance map is 9x12.*16x12"),
        (IDS + (IDS == 0) * np.uint8(4), "instance 4 belong to class 0, .* no object"),
    ],
)
def test_maps_that_do_not_fit_to_the_label_are_refused(tmp_path, ids, message):
    with pytest.raises(planning.BuildError, match=message):
        built("pascal_voc", voc(tmp_path / "v", ids, LABEL), tmp_path / "r")


def test_a_missing_map_is_named(tmp_path):
    given = voc(tmp_path / "v", IDS, LABEL)
    (tmp_path / "v" / "SegmentationObject" / "2007_a.png").unlink()
    with pytest.raises(planning.BuildError, match=r"not exist: .*Object/2007_a.png"):
        built("pascal_voc", given, tmp_path / "r")


# Cityscapes.


def cityscapes(folder, ids):
    """Writes one image; the label has the class ids of the instance ids."""
    label = np.where(ids < 1000, ids, ids // 1000)
    published.cityscapes(folder, {"train/a/a_0": label})
    path = folder / "gtFine" / "train" / "a" / "a_0_gtFine_instanceIds.png"
    trees.save(path, ids.astype(np.uint16))
    return pairs.Source(folder)


def test_cityscapes_has_objects_and_groups_are_crowds(tmp_path):
    ids = np.full((12, 16), 7)  # Road, id 7, class 0.
    ids[0, :4], ids[1, :4], ids[2, :4] = 26000, 26001, 26  # Cars, a group: class 13.
    ids[3, :4], ids[4, :4] = 24005, 29000  # A person, class 11; a caravan, ignored.
    info, (example,) = built(
        "cityscapes", cityscapes(tmp_path / "c", ids), tmp_path / "r", splits=["train"]
    )
    assert info.schema_version == 2
    assert (info.instance_classes[0], len(info.instance_classes)) == ("person", 8)
    objects = objects_of(example)  # In the order of the ids.
    assert objects.classes.tolist() == [13, 11, 13, 13, 0]
    assert objects.is_crowd.tolist() == [True, False, False, False, True]
    for i, number in enumerate((26, 24005, 26000, 26001, 29000)):
        np.testing.assert_array_equal(objects.mask(i), ids == number)


@pytest.mark.parametrize(
    ("value", "size", "message"),
    [
        (7001, (12, 16), "instance id 7001, but objects of class id 7 have no"),
        (26001, (12, 15), r"is 15 x 12 pixels, the label .* 16 x 12"),
    ],
)
def test_other_maps_of_cityscapes_are_refused(tmp_path, value, size, message):
    given = cityscapes(tmp_path / "c", np.full((12, 16), 7))
    path = tmp_path / "c" / "gtFine" / "train" / "a" / "a_0_gtFine_instanceIds.png"
    trees.save(path, np.full(size, value, np.uint16))
    with pytest.raises(planning.BuildError, match=message):
        built("cityscapes", given, tmp_path / "r", splits=["train"])


# COCO.


def test_coco_has_objects_that_overlap_and_crowds(tmp_path):
    large = [0, 0, 60, 0, 60, 30, 0, 30]
    small = [10, 10, 20, 10, 20, 20, 10, 20]
    runs = {"size": [40, 60], "counts": [2000, 400]}
    things = [
        {"category_id": 1, "segmentation": [large], "area": 1800.0},
        {"category_id": 90, "segmentation": [small], "area": 100.0},
        {"category_id": 1, "segmentation": runs, "area": 400.0, "iscrowd": 1},
    ]
    parts = {"train2017": {"000000000009.jpg": (40, 60, things)}}
    folder = published.coco(tmp_path / "c", parts)
    info, (example,) = built("coco", pairs.Source(folder), tmp_path / "r")
    assert info.schema_version == 2 and len(info.instance_classes) == 80
    objects = objects_of(example)
    assert objects.classes.tolist() == [1, 80, 1]  # Category 90 is the 80th.
    assert objects.is_crowd.tolist() == [False, False, True]
    assert objects.layers.tolist() == [0, 1, 1]
    for i, thing in enumerate(things):
        code = coco_mask.frPyObjects(thing["segmentation"], 40, 60)
        mask = coco_mask.decode(code[0] if isinstance(code, list) else code)
        np.testing.assert_array_equal(objects.mask(i), mask)
    plain = tmp_path / "plain"
    writer.build_records("coco", pairs.Source(folder), plain)
    one = records.parse_example(records.open_split(plain, "train").read(0))
    assert one == {**example, "objects": None}  # Labels are the same.


def test_the_subsets_of_coco_have_objects_of_their_classes(tmp_path):
    box = [0, 0, 60, 0, 60, 30, 0, 30]
    things = [
        {"category_id": i, "segmentation": [box], "area": 1800.0} for i in (13, 3)
    ]
    parts = {"train2017": {"000000000009.jpg": (40, 60, things)}}
    folder = published.coco(tmp_path / "c", parts)
    for name in ("coco_voc", "coco_voc_torchvision"):
        _, (example,) = built(name, pairs.Source(folder), tmp_path / name)
        assert objects_of(example).classes.tolist() == [7]  # Cars; 13 is no class.


def test_coco_without_its_images_is_refused_before_anything_is_written(tmp_path):
    parts = {"train2017": {"000000000009.jpg": (40, 60, [])}}
    folder = published.coco(tmp_path / "c", parts)
    (folder / "train2017" / "000000000009.jpg").unlink()
    with pytest.raises(planning.BuildError, match=r"1 listed file does not exist: .*9"):
        built("coco", pairs.Source(folder), tmp_path / "r")
    assert not (tmp_path / "r").exists()


# Own annotations.


def test_own_coco_files_have_objects_by_annotation(tmp_path):
    crowd = {**square(ROAD, 0, 4, 8, 6), "iscrowd": 1}
    shapes = [square(CAR, 0, 0, 4, 4), square(CAR, 2, 2, 6, 6), crowd]
    written(add_image(tmp_path), "x.json", coco(*shapes))
    objects = own(tmp_path)
    assert objects.classes.tolist() == [1, 1, 2]
    assert objects.is_crowd.tolist() == [False, False, True]
    boxes, areas = objects.measure()
    assert boxes.tolist() == [[0, 0, 4, 4], [2, 2, 6, 6], [4, 0, 6, 8]]
    assert areas.tolist() == [16, 16, 16]


def test_labelme_shapes_of_a_group_are_one_object(tmp_path):
    def shape(label, left, group=None):
        corners = [[left, 1], [left, 2]]
        return {
            "label": label,
            "points": corners,
            "shape_type": "rectangle",
            "group_id": group,
        }

    shapes = [
        shape("car", 0, 5),
        shape("car", 2),
        shape("car", 4, 5),
        shape("road", 6, 5),  # Another name: another object.
        shape("car", 7),
        shape("__ignore__", 3),
    ]
    content = {
        "imagePath": "a.png",
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        "shapes": shapes,
    }
    written(add_image(tmp_path), "a.json", content)
    objects = own(tmp_path)
    assert objects.classes.tolist() == [1, 1, 2, 1, 0]
    assert objects.is_crowd.tolist() == [False] * 4 + [True]
    columns = [{x for _, x in pixels(objects.mask(i))} for i in range(5)]
    assert columns == [{0, 4}, {2}, {6}, {7}, {3}]


def test_cvat_shapes_of_a_group_are_one_object(tmp_path):
    boxes = [("car", 0, 1), ("car", 2, 0), ("car", 4, 1), ("car", 6, 0)]
    shapes = "".join(
        f'<box label="{name}" xtl="{x}" ytl="1" xbr="{x + 1}" ybr="2" '
        f'group_id="{group}" z_order="0"/>'
        for name, x, group in boxes
    )
    text = (
        f'<annotations><image name="a.png" width="{WIDTH}" height="{HEIGHT}">'
        f"{shapes}</image></annotations>"
    )
    written(add_image(tmp_path), "a.xml", text)
    objects = own(tmp_path)
    assert [pixels(objects.mask(i)) for i in range(3)] == [
        [(1, 0), (1, 4)],
        [(1, 2)],
        [(1, 6)],
    ]


def test_shapes_of_the_background_are_no_objects(tmp_path):
    content = coco(
        square(3, 0, 0, 8, 6), square(4, 1, 1, 3, 3), categories=("background", "car")
    )
    written(add_image(tmp_path), "x.json", content)
    assert own(tmp_path).classes.tolist() == [1]


def test_names_that_are_mapped_to_255_are_crowds_of_unknown_class(tmp_path):
    content = coco(square(3, 0, 0, 2, 2), categories=("bike",))
    written(add_image(tmp_path), "x.json", content)
    objects = own(tmp_path, name_map=(("bike", 255),))
    assert (objects.classes.tolist(), objects.is_crowd.tolist()) == ([0], [True])


def test_images_without_annotations_have_no_objects(tmp_path):
    add_image(add_image(tmp_path), "b.png")
    written(tmp_path, "x.json", coco(square(CAR, 0, 0, 2, 2)))
    given = source(tmp_path, unannotated_as_background=True)
    _, examples = built("folder", given, tmp_path / "r")
    assert [len(objects_of(example)) for example in examples] == [1, 0]
    assert examples[1]["objects"] == records.EncodedObjects((), (), ())


def test_objects_are_resized_with_the_label(tmp_path):
    trees.save(tmp_path / "images" / "a.png", trees.image(1, 2 * HEIGHT, 2 * WIDTH))
    written(tmp_path, "x.json", coco(square(CAR, 1, 1, 4, 3)))
    given = dataclasses.replace(source(tmp_path), instances=True)
    rules = encoding.Rules(labels=label_rules.LabelRules(resize=True))
    writer.build_records("folder", given, tmp_path / "r", rules=rules)
    example = records.parse_example(records.open_split(tmp_path / "r", "train").read(0))
    objects = objects_of(example)
    assert objects.measure()[0].tolist() == [[2, 2, 6, 8]]
    label = records.decode_label(example["label"])
    np.testing.assert_array_equal(objects.mask(0), label == 1)


def test_class_0_must_be_the_background(tmp_path):
    written(add_image(tmp_path), "x.json", coco(square(CAR, 0, 0, 2, 2)))
    for names in ("car,road", "car,background,road"):
        given = source(tmp_path, classes=class_lists.read_classes(names))
        with pytest.raises(errors.UserError, match="`instances`: class 0 is no object"):
            built("folder", given, tmp_path / "r")


# Bad annotations.


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"bbox": [1, 1, 0, 0]}, "without an area: bbox.*`skip_shapes=bbox`"),
        (square(CAR, 1, 1, 1, 5), "lie on one line.*`skip_shapes=degenerate`"),
        (square(CAR, 9, 1, 12, 5), "lies outside of the image of 8 x 6"),
        (square(CAR, 90, 1, 99, 5), "lies far outside of the image"),
        (
            {"segmentation": {"size": [8, 6], "counts": [0, 48]}},
            r"its size is \[8, 6\], that of the image \[6, 8\]",
        ),
        (
            {"segmentation": {"size": [6, 8], "counts": "d1"}},
            "runs do not add up to 6 x 8",
        ),
    ],
)
def test_annotations_that_cannot_be_objects_are_refused(tmp_path, shape, message):
    shape = {"category_id": CAR, **shape}
    written(add_image(tmp_path), "x.json", coco(shape, square(ROAD, 0, 0, 2, 2)))
    with pytest.raises(planning.BuildError, match=message):
        built("folder", source(tmp_path), tmp_path / "r")


def test_polygons_are_cut_at_the_edges_of_the_image(tmp_path):
    written(add_image(tmp_path), "x.json", coco(square(CAR, -3, -2, 2, 1)))
    assert pixels(own(tmp_path).mask(0)) == [(0, 0), (0, 1)]


def test_an_object_of_one_pixel_is_kept_and_one_without_a_pixel_is_counted(
    tmp_path,
):
    thin = square(CAR, 2.1, 2.1, 2.2, 2.2)
    written(add_image(tmp_path), "x.json", coco(square(CAR, 5, 3, 6, 4), thin))
    objects = own(tmp_path)
    boxes, areas = objects.measure()
    assert boxes[0].tolist() == [3, 5, 4, 6] and areas.tolist() == [1, 0]
    (reader,) = splits.open_records(tmp_path / "r")
    assert "at most 2 in one; without a pixel: 1" in split_report.describe(
        reader, survey.survey(reader)
    )


def test_600_objects_are_all_stored(tmp_path):
    shapes = [square(CAR, i % 8, i % 6, i % 8 + 1, i % 6 + 1) for i in range(600)]
    written(add_image(tmp_path), "x.json", coco(*shapes))
    assert len(own(tmp_path)) == 600


def test_ids_of_categories_and_annotations_may_skip(tmp_path):
    content = coco({**square(700, 0, 0, 2, 2), "id": 9000}, square(5, 2, 2, 4, 4))
    content["categories"] = [{"id": 700, "name": "road"}, {"id": 5, "name": "car"}]
    written(add_image(tmp_path), "x.json", content)
    assert own(tmp_path).classes.tolist() == [2, 1]


def test_two_categories_of_one_name_are_refused(tmp_path):
    shapes = square(CAR, 0, 0, 2, 2), square(ROAD, 2, 2, 4, 4)
    content = coco(*shapes, categories=("car", "car"))
    written(add_image(tmp_path), "x.json", content)
    with pytest.raises(annotations.AnnotationError, match="two categories named 'car'"):
        built("folder", source(tmp_path), tmp_path / "r")


def test_own_coco_files_whose_images_are_missing_are_refused(tmp_path):
    content = coco(square(CAR, 0, 0, 2, 2), images=("b.png",))
    written(add_image(tmp_path), "x.json", content)
    with pytest.raises(errors.UserError, match=r"without a counterpart: 2.*b\.png"):
        built("folder", source(tmp_path), tmp_path / "r")


# Own maps of ids.


def maps(tmp_path, ids, label, **more):
    """Writes an image with a mask and instance ids, and one more without objects."""
    for name in ("a", "b"):
        add_image(tmp_path, f"{name}.png")
        trees.save(tmp_path / "masks" / f"{name}.png", label)
        trees.save(tmp_path / "ids" / f"{name}.png", ids)
    own = own_data.OwnData(
        images=str(tmp_path / "images"),
        masks=str(tmp_path / "masks"),
        instance_masks=str(tmp_path / "ids"),
        classes=class_lists.read_classes("background,car,road"),
        val_fraction=0,
        **more,
    )
    return pairs.Source(own=own)


def drawn_ids():
    ids = np.zeros((HEIGHT, WIDTH), np.uint16)
    ids[1, 1:3], ids[3, 2:7] = 4, 60_000
    return ids, np.array(
        rows("........ .11..... ........ ..2222x. ........ ........"), "u1"
    )


def test_own_maps_of_ids_are_stored_with_the_classes_of_the_masks(tmp_path):
    ids, label = drawn_ids()
    info, examples = built("folder", maps(tmp_path, ids, label), tmp_path / "r")
    assert info.instance_classes == ("car", "road") and info.schema_version == 1
    objects = objects_of(examples[0])
    assert objects.ids.tolist() == [4, 60_000]
    assert objects.classes.tolist() == [1, 2]
    assert objects.measure()[1].tolist() == [2, 4]  # Without the void pixel.


def test_maps_without_an_image_and_images_without_a_map_are_named(tmp_path):
    given = maps(tmp_path, *drawn_ids())
    (tmp_path / "ids" / "b.png").rename(tmp_path / "ids" / "c.png")
    with pytest.raises(
        errors.UserError, match=r"`instance_masks=.*images/b\.png.*ids/c\.png"
    ):
        built("folder", given, tmp_path / "r")


def test_a_map_with_colors_is_refused(tmp_path):
    given = maps(tmp_path, *drawn_ids())
    trees.save(tmp_path / "ids" / "a.png", trees.image(1, HEIGHT, WIDTH))
    with pytest.raises(planning.BuildError, match=r"ids/a\.png is 8-bit RGB, expected"):
        built("folder", given, tmp_path / "r")


def test_masks_alone_do_not_separate_objects(tmp_path):
    given = maps(tmp_path, *drawn_ids())
    given = dataclasses.replace(
        given, own=dataclasses.replace(given.own, instance_masks=None)
    )
    with pytest.raises(
        errors.UserError, match=r"cannot be separated.*`instance_masks`"
    ):
        built("folder", given, tmp_path / "r")


# Any data set.


def test_data_sets_without_instances_are_refused(tmp_path):
    trees.camvid(tmp_path / "c")
    with pytest.raises(
        errors.UserError,
        match=r"no instances of `dataset=camvid`, only of cityscapes, coco, .*folder",
    ):
        built("camvid", pairs.Source(tmp_path / "c"), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_folder_has_instances_in_all_splits_or_in_none(tmp_path):
    given = pairs.Source(num_drawn=2)
    writer.build_records("shapes", given, tmp_path / "r", splits=["train"])
    more = dataclasses.replace(given, instances=True)
    with pytest.raises(
        planning.BuildError, match="holds records of train without inst"
    ):
        writer.build_records("shapes", more, tmp_path / "r", splits=["val"])
    writer.build_records("shapes", more, tmp_path / "r")
    assert records.read_info(tmp_path / "r").instance_classes[0] == "circle"
    with pytest.raises(
        planning.BuildError, match="holds records of val with instances"
    ):
        writer.build_records("shapes", given, tmp_path / "r", splits=["train"])


def test_a_build_with_instances_resumes(tmp_path):
    given = voc(tmp_path / "v", IDS, LABEL)
    built("pascal_voc", given, tmp_path / "r")
    given = dataclasses.replace(given, instances=True)
    assert writer.build_records("pascal_voc", given, tmp_path / "r").num_kept > 0
    plain = dataclasses.replace(given, instances=False)
    assert writer.build_records("pascal_voc", plain, tmp_path / "r").num_kept == 0


def test_pairs_without_instances_keep_their_key():
    assert pairs.Pair("a", "i", "l").key == ("a", "i", "l", (), "")
    assert pairs.Pair("a", "i", "l", instances="n").key == ("a", "i", "l", (), "", "n")


def test_each_class_with_instances_is_a_class():
    for name in datasets.list_datasets():
        spec = datasets.get(name)
        assert {*registry.instance_classes(name, pairs.Source(), spec)} <= {
            *spec.class_names[1:]
        }


# The commands.


def test_the_commands_build_and_inspect_instances(tmp_path, capsys):
    written(add_image(tmp_path), "x.json", coco(square(CAR, 0, 0, 2, 2)))
    flags = [
        "--dataset=folder",
        f"--images={tmp_path}/images",
        f"--annotations={tmp_path}/labels",
        "--val_fraction=0",
        "--instances",
    ]
    assert commands.run(build.main, *flags, f"--records_dir={tmp_path}/r") == 0
    content = json.loads((tmp_path / "r" / records.INFO_FILE).read_text())
    assert content["schema_version"] == 2
    assert content["instance_classes"] == ["car", "road"]
    capsys.readouterr()
    assert commands.run(inspect.main, f"--records_dir={tmp_path}/r") == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        "  instances: 1 and 0 crowds in 1 images, at most 1 in one; without a pixel: 0"
        in lines
    )
    assert "  car             1         0" in lines
