"""Own images: matching files, splits, classes, colors and rules."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasseg import datasets, images, records
from tests.support import commands, corrupt, trees
from tfrecords_tools import build
from tfrecords_tools.converters import (
    class_lists,
    folder,
    matching,
    own_data,
    pairs,
    registry,
    splitting,
)
from tfrecords_tools.doctor import scanning
from tfrecords_tools.writing import label_options, label_rules, writer

AB = class_lists.read_classes("a,b")


def files(root, *names):
    for name in names:
        trees.save(root / name, np.zeros((4, 4), np.uint8))
    return root


def source(root, images="images", masks="masks", *, seed=1, classes=AB, **more):
    own = own_data.OwnData(
        images=str(root / images), masks=str(root / masks), classes=classes, **more
    )
    return pairs.Source(own=own, seed=seed)


def names(root, images, masks):
    found = matching.match(str(root / images), str(root / masks))
    return [name for _, name in found.paired]


# Names.


def test_what_the_wildcards_match_is_the_name(tmp_path):
    files(tmp_path, "i/a.png", "i/b.png", "m/a_mask.png", "m/b_mask.png")
    assert names(tmp_path, "i/*.png", "m/*_mask.png") == ["a", "b"]
    assert names(tmp_path, "i/*", "m/*_mask.png") == ["a", "b"]
    assert names(tmp_path, "i/*.*", "m/*_mask.*") == ["a", "b"]
    assert names(tmp_path, "i/?.png", "m/?_mask.png") == ["a", "b"]
    assert names(tmp_path, "i/[a-b].png", "m/[!c]_mask.png") == ["a", "b"]


def test_folders_include_their_subfolders(tmp_path):
    files(tmp_path, "i/x/a.png", "i/y/a.jpg", "m/x/a.png", "m/y/a.png", "i/c.png")
    (tmp_path / "i" / "Thumbs.db").write_text("")
    assert names(tmp_path, "i", "m") == ["x/a", "y/a"]
    assert names(tmp_path, "i/**/*", "m/**/*.png") == ["x/a", "y/a"]
    found = matching.match(str(tmp_path / "i"), str(tmp_path / "m"))
    assert found.without_mask == [("", "c")] and not found.without_image


def test_cityscapes_own_names_pair(tmp_path):
    image = "leftImg8bit/train/bonn/bonn_000001_leftImg8bit.png"
    label = "gtFine/train/bonn/bonn_000001_gtFine_labelIds.png"
    files(tmp_path, image, label)
    found = matching.match(
        str(tmp_path / "leftImg8bit/{split}/*/*_leftImg8bit.png"),
        str(tmp_path / "gtFine/{split}/*/*_gtFine_labelIds.png"),
    )
    assert found.paired == [("train", "bonn/bonn_000001")]


def test_brackets_in_the_name_of_a_folder_are_literal(tmp_path):
    files(tmp_path / "set [1]", "i/a.png", "m/a.png")
    assert names(tmp_path / "set [1]", "i", "m") == ["a"]


def test_splits_in_patterns(tmp_path):
    files(tmp_path, "train/a.png", "val/a.png", "trainannot/a.png", "valannot/a.png")
    own = source(tmp_path, "{split}/*", "{split}annot/*")
    assert registry.find_splits("folder", own) == {
        "train": "",
        "trainannot": "no image of split 'trainannot' has a mask.",
        "val": "",
        "valannot": "no image of split 'valannot' has a mask.",
    }
    (pair,) = folder.list_pairs("val", own)
    assert pair.name == "a" and pair.label == str(tmp_path / "valannot/a.png")


def test_folders_of_splits_include_their_subfolders(tmp_path):
    files(tmp_path, "i/train/x/1.png", "i/val/2.png", "m/train/x/1.png", "m/val/2.png")
    found = matching.match(f"{tmp_path}/i/{{split}}", f"{tmp_path}/m/{{split}}/")
    assert found.paired == [("train", "x/1"), ("val", "2")]


def test_two_slashes_are_one(tmp_path):
    files(tmp_path, "train/i/x/1.png", "val/i/x/1.png", "train/m/x/1.png")
    found = matching.match(
        f"{tmp_path}//{{split}}/i//*/*.png", f"{tmp_path}/./{{split}}/m/**//*.png"
    )
    assert found.paired == [("train", "x/1")]
    assert found.without_mask == [("val", "x/1")]
    assert names(tmp_path, "train/i//", "train/m/./") == ["x/1"]


def test_a_split_in_one_pattern_only_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"\{split\} is in only one of `images="):
        matching.match(str(tmp_path / "{split}/*"), str(tmp_path / "m"))


def test_patterns_that_match_nothing_are_errors(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"`images=.*` matches no file .* \.jpg.*case-sens"
    ):
        matching.match(str(tmp_path / "i/*"), str(tmp_path / "m"))


def test_unpaired_files_and_duplicates_stop_the_build_by_name(tmp_path):
    files(tmp_path, "images/a.png", "images/a.jpg", "images/b.png", "masks/a.png")
    files(tmp_path, "masks/c.png")
    with pytest.raises(ValueError) as caught:
        folder.list_pairs("train", source(tmp_path))
    text = str(caught.value)
    assert "without a counterpart: 2, files with the name of another file: 1: " in text
    assert "images/b.png" in text and "masks/c.png" in text and "a.png" in text
    assert "`leave_out`" in text and "tfrecords_tools.inspect" in text


# Splits.


def keys(count):
    return [("", f"p{i}") for i in range(count)]


@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 5))
def test_a_fraction_is_assigned_to_val(count, fraction, seed):
    assigned = splitting.choose(keys(count), fraction, seed)
    assert sorted(assigned["train"] + assigned["val"]) == sorted(keys(count))
    assert abs(len(assigned["val"]) - fraction * count) <= 1
    assert assigned == splitting.choose(keys(count)[::-1], fraction, seed)


def test_seeds_choose_differently_and_new_images_move_few():
    first = set(splitting.choose(keys(100), 0.2, 1)["val"])
    assert len(first) == 20
    assert set(splitting.choose(keys(100), 0.2, 2)["val"]) != first
    more = splitting.choose(keys(110), 0.2, 1)
    moved = (first & set(more["train"])) | (set(more["val"]) - first) & set(keys(100))
    assert len(more["val"]) == 22 and len(moved) <= 4


def test_no_fraction_is_all_train_and_wrong_ones_are_errors():
    assert list(splitting.choose(keys(3), 0, 1)) == ["train"]
    with pytest.raises(ValueError, match=r"`val_fraction=1\.5` is out of range"):
        splitting.choose(keys(3), 1.5, 1)


def test_lists_may_name_images_in_several_ways(tmp_path):
    files(tmp_path, *(f"images/x/{n}.png" for n in "abcde"))
    files(tmp_path, *(f"masks/x/{n}.png" for n in "abcde"))
    (tmp_path / "train.txt").write_text("x/a\nb.png\n/home/me/x/c.png masks/c.png\n\n")
    (tmp_path / "val.txt").write_text("d\n")
    lists = f"{tmp_path / 'train.txt'},{tmp_path / 'val.txt'}"
    own = source(tmp_path, lists=lists)
    assert [pair.name for pair in folder.list_pairs("train", own)] == [
        *("x/a", "x/b", "x/c")
    ]
    assert [pair.name for pair in folder.list_pairs("val", own)] == ["x/d"]
    with pytest.raises(FileNotFoundError, match="no split 'test', only train, val"):
        folder.list_pairs("test", own)
    (tmp_path / "val.txt").write_text("d\nz\n")
    with pytest.raises(ValueError, match=r"val.txt lists 1 name .*: z\. .* like x/a"):
        folder.list_pairs("val", own)


def test_what_is_left_out_moves_no_other_image(tmp_path):
    files(tmp_path, *(f"images/{n}.png" for n in "abcdefgh"))
    files(tmp_path, *(f"masks/{n}.png" for n in "abcdefgh"))
    before = {
        split: [pair.name for pair in folder.list_pairs(split, source(tmp_path))]
        for split in ("train", "val")
    }
    gone = before["val"][0]
    (tmp_path / "out.txt").write_text(f"# why\n{gone} # all ignored\ntrain:{gone}\n")
    own = source(tmp_path, leave_out=str(tmp_path / "out.txt"))
    for split, expected in before.items():
        found = [pair.name for pair in folder.list_pairs(split, own)]
        assert found == [name for name in expected if name != gone]
    (tmp_path / "out.txt").write_text("zebra\n")
    with pytest.raises(ValueError, match="lists 1 name that no image has: zebra"):
        folder.list_pairs("val", own)


def test_two_lists_of_one_name_are_an_error(tmp_path):
    files(tmp_path, "images/a.png", "images/b.png", "masks/a.png", "masks/b.png")
    for part, name in (("1", "a"), ("2", "b")):
        (tmp_path / part).mkdir()
        (tmp_path / part / "train.txt").write_text(name)
    own = source(tmp_path, lists=f"{tmp_path}/1/train.txt,{tmp_path}/2/train.txt")
    with pytest.raises(ValueError, match=r"has two files called train, .* rename one"):
        folder.list_splits(own)


def test_lists_of_windows_editors_are_read(tmp_path):
    files(tmp_path, "images/ä 1.png", "images/b.png", "masks/ä 1.png", "masks/b.png")
    path = tmp_path / "train.txt"
    path.write_bytes("ä 1.png\r\nb.png\r\n".encode("utf-8-sig"))
    own = source(tmp_path, lists=str(path))
    assert [pair.name for pair in folder.list_pairs("train", own)] == ["b", "ä 1"]
    path.write_bytes("ä 1.png\r\n".encode("latin1"))
    with pytest.raises(
        ValueError, match=r"train\.txt is not a UTF-8 text .* Save it as"
    ):
        folder.list_pairs("train", own)
    path.write_bytes("ä 1\r\nb\r\n".encode("utf-8-sig"))
    own = source(tmp_path, leave_out=str(path))
    for split in ("train", "val"):
        with pytest.raises(
            FileNotFoundError, match=f"all images of split '{split}' ar"
        ):
            folder.list_pairs(split, own)


def test_a_large_split_without_masks_is_checked_once(tmp_path, monkeypatch):
    files(tmp_path, "images/train/a.png", "masks/train/a.png")
    files(tmp_path, *(f"images/test/{i}.png" for i in range(20)))
    calls = []
    known = folder.OwnImages.is_unlabeled
    monkeypatch.setattr(
        *(folder.OwnImages, "is_unlabeled"),
        lambda found, split: calls.append(split) or known(found, split),
    )
    found = folder.find(source(tmp_path, "images/{split}/*", "masks/{split}/*"))
    assert folder.unpaired_images(found) == []
    assert sorted(calls) == ["test", "train"]


def test_images_can_be_left_out_whose_names_hold_a_hash(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("a #2 # all ignored\nval:b # 3 # why\nc #1\n")
    assert splitting.read_leave_out(str(path)) == {"a #2", "val:b # 3", "c #1"}
    with pytest.raises(FileNotFoundError, match=r"none\.txt` is not a file\. Correct"):
        splitting.read_leave_out(str(tmp_path / "none.txt"))


# Classes and colors.


def test_classes_are_names_a_file_or_a_data_set(tmp_path):
    assert class_lists.read_classes("a, b").names == ("a", "b")
    assert class_lists.read_classes("shapes").names == corrupt.CLASSES
    file = tmp_path / "classes.txt"
    file.write_text("# R G B NAME\n64 0 128\t\tcar park\nroad:1,2,3::\nplain name\n")
    found = class_lists.read_classes(str(file))
    assert found.names == ("car park", "road", "plain name")
    assert found.colors == ((64, 0, 128), (1, 2, 3), None)
    # Class 2 = 0b010: its only bit is the highest of green.
    assert found.with_palette()["plain name"] == (0, 128, 0)


def test_bit_colors_are_pascal_vocs():
    palette = datasets.get("pascal_voc").palette.tolist()
    assert [list(class_lists.bit_color(i)) for i in range(21)] == palette


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "road",
            r"names only 'road', expected at least two .*`classes=background,road`",
        ),
        ("", "names no class"),
        ("a,b,a", "names a more than once"),
        (
            ",".join(map(str, range(256))),
            "has 256 classes, but labels can hold at most 255",
        ),
    ],
)
def test_wrong_lists_of_classes_are_errors(text, reason):
    with pytest.raises(ValueError, match=reason):
        class_lists.read_classes(text)


def test_label_maps_take_numbers_and_names():
    assert class_lists.read_label_map("11:255,sky blue:2,0:0") == (
        {11: 255, 0: 0},
        {"sky blue": 2},
    )
    for text in ("11", "11:x", "3:256", "3:-1", "256:3"):
        with pytest.raises(ValueError, match="takes comma-separated FROM:TO"):
            class_lists.read_label_map(text)


def test_colormaps_of_hexadecimal_digits_count_up():
    colors, classes = class_lists.read_colormap(
        "000000:255,ff0000,#00FF00,0000ff:7", AB, {}
    )
    assert colors == (
        ((0, 0, 0), 255),
        ((255, 0, 0), 0),
        ((0, 255, 0), 1),
        ((0, 0, 255), 7),
    )
    assert classes == AB


def test_colormaps_with_names_find_their_classes(tmp_path):
    file = tmp_path / "map.txt"
    file.write_text("1 1 1 b\n2 2 2 a\n3 3 3 bush\n")
    with pytest.raises(ValueError, match=r"colors for bush, .* `label_map=bush:255`"):
        class_lists.read_colormap(str(file), AB, {})
    colors, _ = class_lists.read_colormap(str(file), AB, {"bush": 255})
    assert dict(colors) == {(1, 1, 1): 1, (2, 2, 2): 0, (3, 3, 3): 255}
    colors, classes = class_lists.read_colormap(str(file), None, {})
    assert classes.names == ("b", "a", "bush") and dict(colors)[3, 3, 3] == 2
    file.write_text("1 1 1 b\na\n")
    with pytest.raises(ValueError, match=r"map.txt has no color for a"):
        class_lists.read_colormap(str(file), AB, {})
    with pytest.raises(ValueError, match=r"takes a file, a data set .* Got 'nothing'"):
        class_lists.read_colormap("nothing", AB, {})


def test_names_that_differ_in_case_only_are_not_taken_in_their_order(tmp_path):
    file = tmp_path / "map.txt"
    file.write_text("1 1 1 B\n2 2 2 A\n")
    with pytest.raises(ValueError, match="colors for B, A, which are not in `classes`"):
        class_lists.read_colormap(str(file), AB, {})
    file.write_text("1 1 1 eins\n2 2 2 zwei\n")
    colors, _ = class_lists.read_colormap(str(file), AB, {})
    assert dict(colors) == {(1, 1, 1): 0, (2, 2, 2): 1}


def test_numbers_and_colors_beyond_255_are_errors(tmp_path):
    with pytest.raises(ValueError, match=r"255 \(ignored\)\. Got '0000ff:300'"):
        class_lists.read_colormap("0000ff:300", AB, {})
    file = tmp_path / "map.txt"
    file.write_text("0 0 0 a\n300 0 0 b\n")
    for read in (
        class_lists.read_classes,
        lambda x: class_lists.read_colormap(x, AB, {}),
    ):
        with pytest.raises(
            ValueError, match=r"'b' the color 300 0 0.* 0 to 255\. Correct"
        ):
            read(str(file))


def test_one_color_of_two_classes_is_an_error(tmp_path):
    file = tmp_path / "map.txt"
    file.write_text("1 1 1 a\n1 1 1 b\n")
    with pytest.raises(
        ValueError, match=r"gives a and b the same color, 1 1 1\. Correct"
    ):
        class_lists.read_colormap(str(file), AB, {})
    colors, classes = class_lists.read_colormap("ade20k", None, {})
    assert classes.names[48] == "skyscraper"  # Its authors gave it the color of road.
    assert len(colors) == 148 and (140, 140, 140) not in dict(colors)
    colors, _ = class_lists.read_colormap("ade20k,8c8c8c:6", None, {})
    assert dict(colors)[140, 140, 140] == 6


# Rules.


def rules(**flags):
    return label_options.LabelOptions(**flags).read().rules.labels


def numbers(*values):
    return np.array([values], np.uint8)


def test_numbers_are_shifted_and_mapped_but_255_stays():
    label = numbers(1, 2, 12, 255)
    shifted = rules(label_offset=-1, label_map="12:255")
    assert label_rules.map_numbers(label, shifted, "x").tolist() == [[0, 1, 255, 255]]
    swapped = rules(label_map="1:2,2:1")
    assert label_rules.map_numbers(label, swapped, "x").tolist() == [[2, 1, 12, 255]]
    with pytest.raises(
        images.ImageError, match=r"x: with `label_offset=-1` .*: 0 \(2 pixels\).*0:255"
    ):
        label_rules.map_numbers(numbers(0, 0, 3), rules(label_offset=-1), "x")


@given(st.integers(0, 127), st.lists(st.integers(0, 255), min_size=1))
def test_a_tolerance_takes_the_nearest_or_ignores(tolerance, values):
    near = rules(label_map="0:0,255:1", mask_tolerance=tolerance)
    table = label_rules.number_table(near)
    for value in [*values, 0, 255]:
        expected = 0 if value <= tolerance else 1 if value >= 255 - tolerance else 255
        if tolerance:
            assert table[value] == expected


def test_colors_within_the_tolerance_count():
    near = rules(colormap="000000,ff0000", mask_tolerance=40)
    codes = label_rules.pack(np.array([[0, 40, 0], [0, 41, 0], [230, 10, 40]]))
    assert label_rules.map_colors(codes, near).tolist() == [0, 255, 1]


def test_unknown_colors_are_named_with_their_pixels(tmp_path):
    path = tmp_path / "x.png"
    colored = np.zeros((2, 3, 3), np.uint8)
    colored[0, :2] = (1, 2, 3)  # BGR.
    trees.save(path, colored)
    exact = rules(colormap="000000")
    with pytest.raises(images.ImageError, match=r"colors 030201 \(2 pixels\)\. Add"):
        label_rules.read_mask(path.read_bytes(), exact, name="x.png")
    with pytest.raises(
        images.ImageError,
        match=r"8-bit RGB.*Or give the class of each color with `colormap`",
    ):
        label_rules.read_mask(path.read_bytes(), name="x.png")


def test_colors_of_16_bits_are_refused(tmp_path):
    path = tmp_path / "m.png"  # With the upper 8 bits only, all would be black.
    trees.save(path, np.full((2, 3, 3), 2, np.uint16))
    with pytest.raises(
        images.ImageError, match=r"m\.png has colors of 16 bits.*8 bits"
    ):
        label_rules.read_mask(path.read_bytes(), rules(colormap="grey"), name="m.png")
    pair = pairs.Pair("m", str(path), str(path))
    assert "has colors of 16 bits" in scanning.scan("train", pair, 100).fault


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5))
def test_resized_masks_hold_no_new_numbers(height, width, times):
    label = np.arange(height * width).reshape(height, width).astype(np.uint8)
    found = label_rules.resize(label, (height * times, width * times), "x")
    np.testing.assert_array_equal(found[::times, ::times][:height, :width], label)
    np.testing.assert_array_equal(
        found, label.repeat(times, axis=0).repeat(times, axis=1)
    )


def test_masks_of_another_shape_are_not_resized():
    with pytest.raises(images.ImageError, match="60 x 60 pixels, its image 80 x 60"):
        label_rules.resize(np.zeros((60, 60), np.uint8), (60, 80), "x")
    assert label_rules.resize(np.zeros((31, 41), np.uint8), (60, 80), "x").shape == (
        60,
        80,
    )


def test_flags_that_do_not_fit_each_other_are_errors():
    with pytest.raises(ValueError, match="needs the exact values"):
        rules(mask_tolerance=3)
    with pytest.raises(ValueError, match="`mask_tolerance=300` is out of range"):
        rules(mask_tolerance=300, colormap="grey")


# The build.


@pytest.fixture
def own(tmp_path):
    return corrupt.write(tmp_path / "own", corrupt.drawn(4, 2))


def command(own, records_dir, *more):
    return commands.run(
        build.main,
        "--dataset=folder",
        f"--images={own}/images/{{split}}/*",
        f"--masks={own}/masks/{{split}}/*",
        f"--records_dir={records_dir}",
        "--workers=1",
        *more,
    )


def test_one_command_builds_records_with_their_classes(own, tmp_path, capsys):
    assert command(own, tmp_path / "r", f"--classes={','.join(corrupt.CLASSES)}") == 0
    assert "train: 4 records\nval: 2 records\n" in capsys.readouterr().out
    for name in (None, "folder"):
        split = records.open_split(tmp_path / "r", "train", dataset=name)
        assert split.spec.class_names == corrupt.CLASSES
        assert split.spec.name == "folder"
    found = corrupt.contents(tmp_path / "r")
    for path in corrupt.mask_paths(own):
        _, label = found[path.parent.name][path.stem]
        np.testing.assert_array_equal(label, corrupt.read(path))


def test_a_build_resumes_and_images_can_be_added(own, tmp_path):
    six = class_lists.read_classes(",".join(corrupt.CLASSES))
    mine = source(own, "images/{split}/*", "masks/{split}/*", classes=six)
    writer.build_records("folder", mine, tmp_path / "r", splits=["train", "val"])
    trees.save(own / "images/train/new.png", trees.image(1, 60, 80))
    trees.save(own / "masks/train/new.png", np.zeros((60, 80), np.uint8))
    again = writer.build_records(
        "folder", mine, tmp_path / "r", splits=["train", "val"]
    )
    assert again.num_records == {"train": 5, "val": 2} and again.num_kept == 2


def test_splits_with_a_common_prefix_are_separate(own, tmp_path):
    for kind in ("images", "masks"):
        (own / kind / "val").rename(own / kind / "train-extra")
    six = f"--classes={','.join(corrupt.CLASSES)}"
    assert command(own, tmp_path / "r", six) == 0
    before = corrupt.contents(tmp_path / "r")
    trees.save(own / "images/train/new.png", trees.image(1, 60, 80))
    trees.save(own / "masks/train/new.png", np.zeros((60, 80), np.uint8))
    assert command(own, tmp_path / "r", six, "--splits=train") == 0
    assert len(records.open_split(tmp_path / "r", "train")) == 5
    assert len(records.open_split(tmp_path / "r", "train-extra")) == 2
    assert list(corrupt.contents(tmp_path / "r")) == list(before)


def test_other_flags_build_other_records(own, tmp_path, capsys):
    six = f"--classes={','.join(corrupt.CLASSES)}"
    corrupt.off_by_one(corrupt.mask_paths(own))
    assert command(own, tmp_path / "r", six) == 2
    error = capsys.readouterr().err
    assert "6 (" in error and "are not classes of folder, which has 0 to 5" in error
    assert "python -m tfrecords_tools.inspect with the same --images" in error
    assert command(own, tmp_path / "r", six, "--label_offset=-1") == 0
    _, label = corrupt.contents(tmp_path / "r")["val"]["val0"]
    assert set(np.unique(label)) <= {0, 1, 2, 3, 4, 5, 255}


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (
            [],
            "The classes were not given. Name them in the order of their numbers, --cl",
        ),
        (["--classes=a,b", "--masks="], "was not given. Give --images, and --masks"),
        (["--classes=a,b", "--dataset=camvid"], "--dataset=camvid is another data set"),
        (
            ["--classes=a,b", "--label_map=1"],
            "--label_map takes comma-separated FROM:TO",
        ),
        (["--classes=a,b", "--palette_colors"], "--palette_colors needs --colormap"),
    ],
)
def test_wrong_flags_are_one_line(own, tmp_path, capsys, flags, reason):
    assert command(own, tmp_path / "r", *flags) == 2
    assert reason in capsys.readouterr().err


def test_0_and_255_are_not_read_as_one_class_and_void(own, tmp_path, capsys):
    corrupt.two_classes(corrupt.mask_paths(own))
    corrupt.zero_and_255(corrupt.mask_paths(own))
    assert command(own, tmp_path / "r", "--classes=a,b") == 2
    assert "there would be one class. Give --label_map=255:1" in capsys.readouterr().err
    assert command(own, tmp_path / "r", "--classes=a,b", "--label_map=255:1") == 0


def test_exif_can_be_applied_or_ignored_but_not_both(own, tmp_path, capsys):
    corrupt.rotated(corrupt.image_paths(own)[:1], 3)
    six = f"--classes={','.join(corrupt.CLASSES)}"
    both = "--apply_exif", "--ignore_exif"
    assert command(own, tmp_path / "r", six, *both) == 2
    assert "or unchanged with --ignore_exif" in capsys.readouterr().err
    assert command(own, tmp_path / "up", six, both[0]) == 0
    assert command(own, tmp_path / "as_is", six, both[1]) == 0
    upright, stored = (
        corrupt.contents(tmp_path / name)["train"]["train0"][0]
        for name in ("up", "as_is")
    )
    np.testing.assert_array_equal(upright, stored[::-1, ::-1])
