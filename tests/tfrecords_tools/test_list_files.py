"""List files: what a line names, alone or with a mask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasseg import errors
from tests.support import commands
from tfrecords_tools import inspect
from tfrecords_tools.converters import list_files, matching


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lists")


def match(*names, image="photos/{}.jpg", mask="masks/{}_label.png"):
    return matching.Match(
        {("", name): f"/data/{image.format(name)}" for name in names},
        {("", name): f"/data/{mask.format(name)}" for name in names},
    )


def listed(folder, text, found):
    (folder / "train.txt").write_text(text)
    return [name for _, name in list_files.read(str(folder / "train.txt"), found)]


@pytest.mark.parametrize("separator", [" ", "\t", ",", ", ", ";", "   "])
def test_two_columns_are_an_image_and_its_mask(folder, separator):
    found = match("p0", "p3")
    line = f"photos/p0.jpg{separator}masks/p0_label.png"
    assert listed(folder, line, found) == ["p0"]
    wrong = f"photos/p0.jpg{separator}masks/p3_label.png"
    with pytest.raises(errors.UserError) as caught:
        listed(folder, wrong, found)
    text = str(caught.value)
    assert "masks of other images in 1 line: " in text and wrong in text
    assert "/data/photos/p0.jpg has /data/masks/p0_label.png" in text
    with pytest.raises(errors.UserError, match="lists 1 name that no image has"):
        listed(folder, f"photos/p0.jpg{separator}elsewhere/none.png", found)


@pytest.mark.parametrize("separator", [" ", "\t", ",", ";"])
def test_masks_that_are_named_as_their_image_are_checked_too(folder, separator):
    # The whole line looks like a path that ends with the name of the second column.
    found = match("g0", "g1", image="i/{}.png", mask="m/{}.png")
    assert listed(folder, f"i/g0.png{separator}m/g0.png", found) == ["g0"]
    with pytest.raises(errors.UserError, match="of other images in 1 line"):
        listed(folder, f"i/g0.png{separator}m/g1.png", found)
    assert listed(folder, f"/my{separator}data/i/g1.png", found) == ["g1"]


@pytest.mark.parametrize(
    "line",
    ["road 2", "road 2.jpg", "road -1", "road 1 0.5", "no road", "photos/road.jpg x"],
)
def test_a_line_is_matched_whole(folder, line):
    with pytest.raises(errors.UserError, match="lists 1 name that no image has: "):
        listed(folder, line, match("road", "river"))


@pytest.mark.parametrize(
    "line",
    [
        *("x\\a b", "photos\\x\\a b.jpg", "C:\\set\\photos\\x\\a b.JPG"),
        *("./photos/x/a b.png", "/home/me/x/a b.jpg", "photos\\x\\a b.jpg"),
        '"x/a b.jpg","masks/x/a b_label.png"',
        "x\\a b.jpg masks\\x\\a b_label.png",
    ],
)
def test_paths_of_other_computers_name_the_same_image(folder, line):
    assert listed(folder, line, match("x/a b", "y/a b", "c")) == ["x/a b"]


@pytest.mark.parametrize("line", ["a b", "z/a b", "photos/z/a b.jpg", "z/c"])
def test_names_in_other_folders_and_ambiguous_ones_are_refused(folder, line):
    with pytest.raises(errors.UserError, match="lists 1 name that no image has: "):
        listed(folder, line, match("x/a b", "y/a b", "q/c"))


def test_file_names_count_where_the_pattern_has_a_part_of_them(folder):
    found = match("1", "2", image="photos/img_{}.jpg", mask="masks/mask_{}.png")
    assert listed(folder, "img_1.jpg\n2\n", found) == ["1", "2"]
    assert listed(folder, "/root/img_2.jpg /root/mask_2.png", found) == ["2"]
    with pytest.raises(errors.UserError, match="of other images in 2 lines"):
        listed(folder, "img_1.jpg mask_2.png\nimg_2.jpg,mask_1.png", found)


_WORD = st.text("ab 1é", min_size=1, max_size=6).map(str.strip).filter(bool)
_NAMES = st.lists(_WORD, min_size=1, max_size=5, unique=True)


@given(names=_NAMES, data=st.data())
def test_a_list_of_all_names_lists_each_once(folder, names, data):
    found = match(*names)
    forms = ["{}", "photos/{}.jpg", "D:\\x\\photos\\{}.jpg", "/r/photos/{}.png"]
    pair = "photos/{0}.jpg masks/{0}_label.png"
    lines = [data.draw(st.sampled_from([*forms, pair])).format(name) for name in names]
    assert listed(folder, "\n".join(lines), found) == sorted(names)


def test_lists_and_splits_in_patterns_exclude_each_other(tmp_path, capsys):
    for name in ("i/train/a.png", "m/train/a.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "val.txt").write_text("a\n")
    status = commands.run(
        inspect.main,
        *(f"--images={tmp_path}/i/{{split}}/*", f"--masks={tmp_path}/m/{{split}}/*"),
        *("--classes=a,b", f"--lists={tmp_path}/val.txt"),
    )
    assert (
        status == 2 and "both give the splits. Omit --lists" in capsys.readouterr().err
    )
