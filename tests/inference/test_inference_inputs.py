"""Finding the images and videos to predict, and the names of their results."""

import pytest

from kerasseg import inference


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
