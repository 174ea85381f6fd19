"""Images without labels: built, counted, and kept apart from those of evaluation."""

import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from kerasseg import errors, pipeline, records
from tests.support import commands, corrupt, faults, trees
from tfrecords_tools import build, inspect
from tfrecords_tools.converters import class_lists, own_data, pairs, registry
from tfrecords_tools.doctor import leaks
from tfrecords_tools.writing import planning, writer

AB = class_lists.read_classes("a,b")


def write(root, images, masks=()):
    """Writes images of noise, each another one, and masks of two classes."""
    for name in images:
        seed = int.from_bytes(name.encode())
        trees.save(root / "i" / f"{name}.png", trees.image(seed))
    for name in masks:
        trees.save(root / "m" / f"{name}.png", trees.label(1, 2))
    return root


def source(root, **more):
    given = {"images": str(root / "i"), "unlabeled": True, "classes": AB, **more}
    return pairs.Source(own=own_data.OwnData(**given))


def with_masks(root, **more):
    return source(root, masks=str(root / "m"), **more)


def names(folder, split="train"):
    """Returns the names of the records with a label, and of those without one."""
    opened = records.open_split(folder, split)
    examples = [records.parse_example(opened.read(i)) for i in range(len(opened))]
    labeled = [each["name"] for each in examples if each["label"] is not None]
    return labeled, [each["name"] for each in examples if each["label"] is None]


def test_a_folder_of_images_becomes_records_without_labels(tmp_path):
    write(tmp_path, ["x", "y", "z"])
    result = writer.build_records("folder", source(tmp_path), tmp_path / "r")
    assert (result.num_records, result.num_unlabeled) == ({"train": 3}, {"train": 3})
    assert names(tmp_path / "r") == ([], ["x", "y", "z"])
    split = records.open_split(tmp_path / "r", "train", deep=True)
    assert (split.num_unlabeled, split.labeled.tolist()) == (3, [])
    assert split.spec.class_names == ("a", "b")
    content = json.loads((tmp_path / "r" / records.INFO_FILE).read_text())
    assert content["schema_version"] == 2
    assert content["num_unlabeled"] == {"train": 3}
    reader = pipeline.ImageReader(split)
    image, name = reader.read_image(1)
    np.testing.assert_array_equal(image, cv2.imread(f"{tmp_path}/i/y.png")[..., ::-1])
    assert name == "y"
    assert reader.read_tags(1) is None


def test_images_without_a_mask_are_added_to_train(tmp_path):
    labeled = [f"l{i}" for i in range(5)]
    write(tmp_path, [*labeled, "u", "v"], labeled)
    before = with_masks(tmp_path, unlabeled=False)
    with pytest.raises(errors.UserError, match="without a counterpart: 2"):
        writer.build_records("folder", before, tmp_path / "r")
    result = writer.build_records("folder", with_masks(tmp_path), tmp_path / "r")
    assert result.num_records == {"train": 6, "val": 1}
    assert result.num_unlabeled == {"train": 2}
    of_train, without = names(tmp_path / "r")
    of_val, none = names(tmp_path / "r", "val")
    assert (without, none) == (["u", "v"], [])
    assert sorted(of_train + of_val) == labeled
    assert records.open_split(tmp_path / "r", "val").labeled is None
    # The labeled images are divided as if there were no others.
    alone = write(tmp_path / "alone", labeled, labeled)
    writer.build_records("folder", with_masks(alone, unlabeled=False), tmp_path / "s")
    assert names(tmp_path / "s") == (of_train, [])


def test_patterns_and_lists_assign_them_to_splits(tmp_path):
    write(tmp_path, ["train/a", "val/b", "more/c"], ["train/a", "val/b"])
    images, masks = f"{tmp_path}/i/{{split}}/*", f"{tmp_path}/m/{{split}}/*"
    given = source(tmp_path, images=images, masks=masks)
    result = writer.build_records("folder", given, tmp_path / "r")
    assert result.num_records == {"more": 1, "train": 1, "val": 1}
    assert result.num_unlabeled == {"more": 1}
    (tmp_path / "extra.txt").write_text("more/c\n")
    listed = source(tmp_path, lists=f"{tmp_path}/extra.txt")
    result = writer.build_records("folder", listed, tmp_path / "s")
    assert result.num_unlabeled == result.num_records == {"extra": 1}


def test_they_can_be_a_split_of_existing_records(tmp_path):
    labeled = write(tmp_path / "a", ["x", "y"], ["x", "y"])
    first = with_masks(labeled, unlabeled=False, val_fraction=0.0)
    writer.build_records("folder", first, tmp_path / "r")
    before = (tmp_path / "r" / records.shard_name("train", 0, 1)).read_bytes()
    more = write(tmp_path / "b", ["unlabeled/z"])
    given = source(more, images=f"{more}/i/{{split}}/*")
    writer.build_records("folder", given, tmp_path / "r")
    info = records.read_info(tmp_path / "r")
    assert sorted(info.splits) == ["train", "unlabeled"]
    assert info.num_unlabeled == {"unlabeled": 1}
    assert (tmp_path / "r" / records.shard_name("train", 0, 1)).read_bytes() == before
    writer.build_records("folder", first, tmp_path / "r")
    assert records.read_info(tmp_path / "r").num_unlabeled == {"unlabeled": 1}


def test_masks_without_an_image_are_still_errors(tmp_path):
    write(tmp_path, ["x"], ["x", "y"])
    with pytest.raises(errors.UserError, match=r"without a counterpart: 1.*y\.png"):
        registry.find_splits("folder", with_masks(tmp_path))


def test_images_can_be_left_out(tmp_path):
    write(tmp_path, ["x", "y"])
    (tmp_path / "out.txt").write_text("train:x\n")
    given = source(tmp_path, leave_out=str(tmp_path / "out.txt"))
    writer.build_records("folder", given, tmp_path / "r")
    assert names(tmp_path / "r") == ([], ["y"])


def test_photos_with_exif_are_stored_upright(tmp_path):
    """There is no label that might not fit."""
    write(tmp_path, ["x"])
    pixels = trees.image(1)[..., ::-1]
    exif = Image.Exif()
    exif[0x0112] = 6  # To be rotated by 90 degrees clockwise.
    Image.fromarray(pixels).save(tmp_path / "i" / "p.png", exif=exif)
    writer.build_records("folder", source(tmp_path), tmp_path / "r")
    reader = pipeline.ImageReader(records.open_split(tmp_path / "r", "train"))
    np.testing.assert_array_equal(reader.read_image(0)[0], np.rot90(pixels, -1))


def test_an_unreadable_image_stops_the_build_or_is_skipped(tmp_path):
    write(tmp_path, ["x", "y"])
    (tmp_path / "i" / "bad.png").write_bytes(b"no image")
    with pytest.raises(planning.BuildError, match=r"pair 'bad' is bad: .*bad\.png"):
        writer.build_records("folder", source(tmp_path), tmp_path / "r")
    result = writer.build_records(
        "folder", source(tmp_path), tmp_path / "r", skip_bad=True
    )
    assert result.num_records == result.num_unlabeled == {"train": 2}
    assert [pair["name"] for pair in result.rejected] == ["bad"]
    assert records.read_info(tmp_path / "r").num_unlabeled == {"train": 2}


def test_without_any_image_or_readable_image_there_is_an_error(tmp_path):
    (tmp_path / "i").mkdir()
    with pytest.raises(errors.MissingFileError, match="matches no file of the kinds"):
        writer.build_records("folder", source(tmp_path), tmp_path / "r")
    (tmp_path / "i" / "bad.png").write_bytes(b"no image")
    with pytest.raises(planning.BuildError, match="All pairs of train are bad"):
        writer.build_records("folder", source(tmp_path), tmp_path / "r", skip_bad=True)


def test_options_that_do_not_fit_are_refused(tmp_path):
    write(tmp_path, ["x"])
    with pytest.raises(errors.UserError, match="or `unlabeled` for images without"):
        registry.find_splits("folder", source(tmp_path, unlabeled=False))
    with pytest.raises(errors.UserError, match="exclude each other"):
        registry.find_splits("folder", source(tmp_path, unannotated_as_background=True))
    with pytest.raises(errors.UserError, match="The classes were not given"):
        writer.build_records("folder", source(tmp_path, classes=None), tmp_path / "r")


def test_a_killed_build_resumes_to_the_same_bytes(tmp_path):
    write(tmp_path, ["x", "y"], ["x"])
    given = with_masks(tmp_path, val_fraction=0.0)
    writer.build_records("folder", given, tmp_path / "r")
    content = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    (tmp_path / "r" / records.INFO_FILE).unlink()
    assert writer.build_records("folder", given, tmp_path / "r").num_kept == 2
    assert content == {p.name: p.read_bytes() for p in (tmp_path / "r").iterdir()}


def test_records_with_labels_keep_the_first_schema_version(tmp_path):
    write(tmp_path, ["x", "y"], ["x", "y"])
    writer.build_records("folder", with_masks(tmp_path), tmp_path / "r")
    content = json.loads((tmp_path / "r" / records.INFO_FILE).read_text())
    assert sorted(content) == ["dataset", "schema_version", "splits"]
    assert content["schema_version"] == 1


# The commands.


def run(capsys, main, *flags):
    capsys.readouterr()
    status = commands.run(main, *flags)
    return status, "".join(capsys.readouterr())


def test_the_commands_build_and_count_them(tmp_path, capsys):
    write(tmp_path, ["x", "y", "z"], ["x"])
    own = [f"--images={tmp_path}/i", f"--masks={tmp_path}/m", "--classes=a,b"]
    flags = [*own, "--unlabeled", "--val_fraction=0"]
    status, text = run(capsys, inspect.main, *flags)
    assert status == 0
    assert "1 pair: train 1. Masks: 1 gray PNG. Images without a label: 2." in text
    assert "  without a label: 2" in text
    assert "--unlabeled" in text.partition("Build with")[2]
    into = f"--records_dir={tmp_path}/r"
    status, text = run(capsys, build.main, "--dataset=folder", *flags, into)
    assert status == 0 and "train: 3 records, 2 of them without a label" in text
    status, text = run(capsys, inspect.main, into)
    assert status == 0 and "  without a label: 2" in text
    assert "of 2 unlabeled images" not in text  # There is no other split.


def test_the_doctor_examines_a_folder_of_images(tmp_path, capsys):
    write(tmp_path, ["x", "y"])
    (tmp_path / "i" / "bad.png").write_bytes(b"no image")
    flags = [f"--images={tmp_path}/i", "--classes=a,b", "--unlabeled"]
    status, text = run(capsys, inspect.main, *flags)
    assert status == 2 and "Pairs that cannot be read: 1" in text
    (tmp_path / "i" / "bad.png").unlink()
    status, text = run(capsys, inspect.main, *flags)
    assert status == 0 and "Images without a label: 2." in text


def test_the_doctor_finds_unlabeled_images_in_val(tmp_path, capsys):
    write(tmp_path, ["train/a", "val/b"], ["train/a", "val/b"])
    (tmp_path / "i" / "more").mkdir()
    shutil.copy(tmp_path / "i/val/b.png", tmp_path / "i/more/c.png")
    flags = [
        f"--images={tmp_path}/i/{{split}}/*",
        f"--masks={tmp_path}/m/{{split}}/*",
        *("--classes=a,b", "--unlabeled"),
    ]
    status, text = run(capsys, inspect.main, *flags)
    assert status == 2 and "more:c = val:b" in text
    assert "--leave_out: more:c" in text


# Unlabeled images that are also in a split for evaluation.


@pytest.fixture
def leaked(tmp_path):
    """Records of train and val, and a folder with images of both without labels."""
    folder = corrupt.write(tmp_path / "own", corrupt.drawn(4, 3))
    own = own_data.OwnData(
        images=f"{folder}/images/{{split}}/*",
        masks=f"{folder}/masks/{{split}}/*",
        classes=class_lists.read_classes(",".join(corrupt.CLASSES)),
    )
    writer.build_records("folder", pairs.Source(own=own), tmp_path / "r")
    write(tmp_path / "more", ["x", "y"])
    paths = corrupt.image_paths(folder)
    val = [path for path in paths if path.parent.name == "val"]
    train = [path for path in paths if path.parent.name == "train"]
    for number, path in enumerate([*val[:2], train[0]]):  # In another format.
        pixels = cv2.imread(str(path))
        level = [cv2.IMWRITE_PNG_COMPRESSION, number]
        cv2.imwrite(f"{tmp_path}/more/i/p{number}.png", pixels, level)
    given = source(tmp_path / "more", classes=own.classes)
    writer.build_records("folder", given, tmp_path / "u")
    return tmp_path


def test_shared_images_are_found_by_their_content(leaked):
    found = {each.other: each for each in leaks.find(leaked / "r", leaked / "u")}
    assert found["val"].names == ("p0", "p1")
    assert found["train"].names == ("p2",)
    assert (found["val"].is_leak, found["train"].is_leak) == (True, False)
    assert found["val"].count == 5
    assert leaks.find(leaked / "r", None) == []


def test_the_inspection_warns_and_writes_a_list_that_the_build_takes(leaked, capsys):
    flags = [f"--records_dir={leaked}/r", f"--unlabeled_records_dir={leaked}/u"]
    out = f"{leaked}/out.txt"
    status, text = run(capsys, inspect.main, *flags, f"--leave_out_file={out}")
    assert status == 0
    assert (
        "Warning: " in text and "2 images are also in val, for example p0, p1" in text
    )
    assert "of 5 unlabeled images, 1 are also in train." in text
    given = source(leaked / "more", leave_out=out)
    own = records.open_split(leaked / "r", "train").spec
    classes = class_lists.read_classes(",".join(own.class_names))
    given = source(leaked / "more", leave_out=out, classes=classes)
    writer.build_records("folder", given, leaked / "u")
    status, text = run(capsys, inspect.main, *flags)
    assert status == 0 and "Warning" not in text
    assert "of 3 unlabeled images, 0 are also in val." in text


def test_unlabeled_records_of_the_same_folder_are_compared(tmp_path, capsys):
    write(tmp_path, ["train/a", "val/b"], ["train/a", "val/b"])
    shutil.copy(tmp_path / "i/val/b.png", tmp_path / "i/train/c.png")
    images, masks = f"{tmp_path}/i/{{split}}/*", f"{tmp_path}/m/{{split}}/*"
    given = source(tmp_path, images=images, masks=masks)
    writer.build_records("folder", given, tmp_path / "r")
    status, text = run(capsys, inspect.main, f"--records_dir={tmp_path}/r")
    assert status == 0
    assert "r train: 1 image is also in val, for example c. Scores on val" in text


def test_damaged_unlabeled_records_are_named(leaked, capsys):
    path = leaked / "u" / records.shard_name("train", 0, 1)
    faults.flip_bit(path, int(records.scan_shard(path)[0, 0]) + 5)
    flags = [f"--records_dir={leaked}/r", f"--unlabeled_records_dir={leaked}/u"]
    status, text = run(capsys, inspect.main, *flags)
    assert status == 2 and "its checksum differs" in text
