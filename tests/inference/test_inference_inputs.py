"""Finding the images and videos to predict, and the names of their results."""

import os

import pytest

from kerasseg import inference
from kerasseg.inference import inputs


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def find(folder, given, output_dir="/nowhere"):
    paths = inference.find_images(str(given), str(output_dir))
    return {name: str(path.relative_to(folder)) for name, path in paths.items()}


def test_a_folder_is_searched_recursively(tmp_path):
    touch(tmp_path, "b.PNG", "a.b.jpg", "deep/er/c.jpeg", "notes.txt", "Thumbs.db")
    touch(tmp_path, ".hidden.jpg", ".cache/d.jpg", "old.bmp")
    assert find(tmp_path, tmp_path) == {
        "a.b": "a.b.jpg",
        "b": "b.PNG",
        "deep/er/c": "deep/er/c.jpeg",
        "old": "old.bmp",  # Cannot be read, which is reported later.
    }


def test_a_single_file_keeps_its_name(tmp_path):
    touch(tmp_path, "deep/image[1].jpg", "deep/no_extension")
    path = tmp_path / "deep"
    assert find(tmp_path, path / "image[1].jpg") == {"image[1]": "deep/image[1].jpg"}
    assert find(tmp_path, path / "no_extension") == {
        "no_extension": "deep/no_extension"
    }


def test_a_pattern_keeps_the_folders_below_its_first_wildcard(tmp_path):
    touch(tmp_path, "x/one/a.jpg", "x/two/a.jpg", "x/two/b.txt", "y/one/a.jpg")
    assert find(tmp_path, tmp_path / "x/*/a.*") == {
        "one/a": "x/one/a.jpg",
        "two/a": "x/two/a.jpg",
    }
    assert list(find(tmp_path, tmp_path / "**/one/*.jpg")) == [
        "x/one/a",
        "y/one/a",
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("set [1]", ["a", "b [2]/c", "b [2]/d"]),
        ("set [1]/*.jpg", ["a"]),
        ("set [1]/**/[cd].jpg", ["b [2]/c", "b [2]/d"]),
        ("set [1]/b [2]/*", ["c", "d"]),
        ("*/b [2]/[!d].jpg", ["set [1]/b [2]/c"]),
        ("set [[]1]/b [[]2]/c.jpg", ["c"]),  # As `glob.escape` writes it.
    ],
)
def test_brackets_of_real_folders_are_literal(tmp_path, given, expected):
    touch(tmp_path, "set [1]/a.jpg", "set [1]/b [2]/c.jpg", "set [1]/b [2]/d.jpg")
    touch(tmp_path, "set 1/other.jpg")
    assert list(find(tmp_path, tmp_path / given)) == expected


@pytest.mark.parametrize("given", ["in", "in/**/*.jpg", "*/**/*.jpg"])
@pytest.mark.parametrize("target", [".", "deep", "../in", "../in/deep/er"])
@pytest.mark.parametrize("link", ["in/again", "in/deep/up", "in/deep/er/loop"])
def test_each_file_is_found_once_behind_links(tmp_path, given, target, link):
    touch(tmp_path, "in/a.jpg", "in/deep/b.jpg", "in/deep/er/c.jpg", "in/notes.txt")
    (tmp_path / link).symlink_to(target)
    names = ["a", "deep/b", "deep/er/c"]
    if given.startswith("*"):
        names = [f"in/{name}" for name in names]
    assert list(find(tmp_path, tmp_path / given)) == names


def test_folders_behind_links_are_searched_once(tmp_path):
    touch(tmp_path, "disk/x/a.jpg", "disk/x/notes.txt", "in/b.jpg")
    (tmp_path / "in/first").symlink_to("../disk")
    (tmp_path / "in/second").symlink_to("../disk/x")
    (tmp_path / "in/itself").symlink_to("itself")
    (tmp_path / "in/itself.jpg").symlink_to("itself.jpg")
    expected = ["b", "first/x/a", "itself"]
    assert list(find(tmp_path, tmp_path / "in")) == expected
    assert list(find(tmp_path, tmp_path / "in/**/*.jpg")) == expected
    assert inputs.find_passed_over(str(tmp_path / "in"), "out") == [
        str(tmp_path / "in/itself"),
        str(tmp_path / "in/first/x/notes.txt"),
    ]


def test_results_behind_links_are_left_out(tmp_path):
    touch(tmp_path, "in/a.jpg", "out/index/a.png", "out/notes.txt")
    (tmp_path / "in/results").symlink_to("../out")
    assert list(find(tmp_path, tmp_path / "in", tmp_path / "out")) == ["a"]
    assert not inputs.find_passed_over(str(tmp_path / "in"), str(tmp_path / "out"))


@pytest.mark.parametrize("given", ["in", "in/**/*.jpg"])
def test_a_folder_that_cannot_be_read_is_an_item(tmp_path, monkeypatch, given):
    touch(tmp_path, "in/a.jpg", "in/no/b.jpg")
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("/no"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert list(find(tmp_path, tmp_path / given)) == ["a", "no"]
    with pytest.raises(PermissionError):
        find(tmp_path, tmp_path / given.replace("in", "in/no"))


def test_a_pattern_may_be_relative(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "x/b.jpg")
    monkeypatch.chdir(tmp_path)
    assert list(inference.find_images("*.jpg", "out")) == ["a"]
    assert list(inference.find_images("./x/*.jpg", "out")) == ["b"]
    assert list(inference.find_images(".", "out")) == ["a", "x/b"]


def test_results_of_an_earlier_run_are_left_out(tmp_path):
    touch(tmp_path, "a.jpg", "index/a.png", "overlay/a.png", "out/index/a.png")
    assert find(tmp_path, tmp_path, tmp_path / "out") == {
        "a": "a.jpg",
        "index/a": "index/a.png",
        "overlay/a": "overlay/a.png",
    }
    assert list(find(tmp_path, tmp_path / "*.jpg", tmp_path)) == ["a"]


def test_two_images_with_the_same_result_are_an_error(tmp_path):
    touch(tmp_path, "a.jpg", "a.png", "b.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg and .*a\.png would both be named a"):
        inference.find_images(str(tmp_path), "out")


@pytest.mark.parametrize("given", ["", "nothing.jpg", "*.jpg", "**/*.png"])
def test_nothing_to_predict_is_an_error(tmp_path, given):
    touch(tmp_path, "notes.txt")
    with pytest.raises(FileNotFoundError, match=r"no image found\. Give a JPEG"):
        inference.find_images(str(tmp_path / given), "out")
