"""Own images in odd folders: endings, names that nearly match, links, brackets."""

import json
import os
import pathlib
import re
import shlex
import unicodedata

import numpy as np
import pytest
from PIL import Image

from kerasseg import inference
from kerasseg.inference import inputs
from kerasseg.system import patterns
from tests.support import commands, corrupt, trees
from tfrecords_tools import build, inspect
from tfrecords_tools.converters import folder, matching, own_data, pairs
from tfrecords_tools.doctor import places, reporting
from tfrecords_tools.writing import label_options


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(*names, height=20, width=32):
    """Writes noise as images, and labels of two classes below the folder m."""
    for name in names:
        path, i = pathlib.Path(name), list(name.encode())
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parts[0].startswith("m"):
            pixels = Image.fromarray(trees.label(i, 2, height, width))
        else:
            pixels = Image.fromarray(trees.image(i, height, width))
        is_png = path.suffix.lower() == ".png"
        pixels.save(path, "PNG" if is_png else "JPEG")


def examined(capsys, *arguments):
    capsys.readouterr()
    status = commands.run(inspect.main, *arguments)
    out = capsys.readouterr().out
    command = re.search(r"Build with\n\n((?:.+\\\n)*.+)\n", out)
    words = shlex.split(command[1].replace("\\\n", "")) if command else []
    return status, out, words[4:-1]


def built(*arguments):
    """Builds; returns the names in the records by split."""
    status = commands.run(
        build.main, "--dataset=folder", *arguments, "--records_dir=r", "--workers=1"
    )
    assert status == 0
    return {split: sorted(each) for split, each in corrupt.contents("r").items()}


BOTH = "--classes=a,b", "--val_fraction=0"


@pytest.mark.parametrize(
    "ending", [".jfif", ".jpe", ".JPE", ".mpo", ".jif", ".pjpeg", ".JFIF"]
)
def test_jpeg_files_with_other_endings_are_read(ending):
    write(f"i/1{ending}", "i/2.jpg", "m/1.png", "m/2.png")
    assert built("--images=i", "--masks=m", *BOTH) == {"train": ["1", "2"]}
    assert sorted(inference.find_images("i", "out")) == ["1", "2"]


def test_files_of_other_endings_are_counted_and_named(capsys):
    write("i/1.jpg", "m/1.png", "i/2.jpg", "m/2.png")
    for name in ("i/a.cr2", "i/b.CR2", "i/noending", "m/notes.txt", "i/.hidden"):
        pathlib.Path(name).write_bytes(b"x")
    os.mkfifo("i/pipe.jpg")
    os.symlink("/dev/zero", "i/zero.png")
    os.symlink("nowhere", "i/broken.jpg")
    texts = ["2 .cr2 (i/a.cr2, i/b.CR2)", "1 .txt (m/notes.txt)", "i/zero.png"]
    texts += ["2 .jpg (i/broken.jpg, i/pipe.jpg)", "1 without ending (i/noending)"]
    built("--images=i", "--masks=m", *BOTH)
    out = capsys.readouterr().out
    assert all(text in out for text in texts) and "hidden" not in out
    status, out, _ = examined(capsys, "--images=i", "--masks=m", *BOTH)
    plain = " ".join(out.split())
    assert status == 0 and all(text in plain for text in texts)


@pytest.mark.parametrize("ending", [".HEIC", ".avif", ".gif", ".jxl"])
def test_images_of_other_formats_are_found_and_refused_by_name(capsys, ending):
    write("i/1.jpg", "m/1.png", "m/2.png")
    content = b"\0\0\0\x18ftypheic" if ending == ".HEIC" else b"GIF89a"
    pathlib.Path(f"i/2{ending}").write_bytes(content + bytes(20))
    status, out, _ = examined(capsys, "--images=i", "--masks=m", *BOTH)
    kind = "heic" if ending == ".HEIC" else "gif"
    plain = " ".join(out.split())
    assert status == 2 and f"i/2{ending} is not a JPEG or PNG file but {kind}" in plain
    assert sorted(inference.find_images("i", "out")) == ["1", "2"]


def test_predict_names_what_it_leaves_out_of_a_folder():
    write("i/1.jpg", "i/out/index/1.png")
    for name in ("i/a.cr2", "i/x/notes.txt", "i/.hidden", "i/out/predict.json"):
        pathlib.Path(name).parent.mkdir(exist_ok=True)
        pathlib.Path(name).write_bytes(b"x")
    os.symlink("x", "i/link")  # Its files are listed once.
    found = inputs.find_passed_over("i", "i/out")
    assert sorted(found) == ["i/a.cr2", "i/x/notes.txt"]
    assert inputs.find_passed_over("i/*.jpg", "out") == []
    assert patterns.count_by_suffix(found).startswith("1 .cr2 (i/a.cr2), 1 .txt")


NFC, NFD = (unicodedata.normalize(form, "Grüße_é") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        *(("IMG_{}.JPG", "img_{}.png"), ("Foto{}.jpg", "foto{}.PNG")),
        *((f"{NFD}{{}}.jpg", f"{NFC}{{}}.png"), (f"{NFC}{{}}.jpg", f"{NFD}{{}}.png")),
    ],
)
def test_names_that_differ_in_case_or_unicode_form_are_paired(capsys, image, mask):
    for i in range(4):
        write(f"i/{image.format(i)}", f"m/{mask.format(i)}")
    status, out, flags = examined(capsys, "--images=i", "--masks=m", *BOTH)
    assert status == 0 and "4 pairs" in out
    assert len(built(*flags)["train"]) == 4


def test_names_that_differ_in_case_are_not_paired_if_there_are_two():
    write("i/A.jpg", "m/a.png", "i/b.jpg", "m/B.png", "m/b.png", "i/c.jpg", "m/c.png")
    found = matching.match("i", "m")
    assert found.paired == [("", "A"), ("", "b"), ("", "c")]
    assert found.without_image == [("", "B")]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("img_{:03}.jpg", "mask_{:03}.png"),
        ("img{:02}.jpg", "label{:02}_gt.png"),
        ("{:02}_rgb.jpg", "{:02}_seg.png"),
        ("left-{:02}-cam.jpg", "right-{:02}-cam.png"),
        ("[x] {:02}.jpg", "[y] {:02}.png"),
        ("x/frame {:02}.jpg", "x/{:02} mask.png"),
    ],
)
@pytest.mark.parametrize("form", ["{}", "{}/**/*", "{}/*.*"])
def test_names_with_other_prefixes_and_suffixes_get_patterns(capsys, image, mask, form):
    if "x/" in image and form == "{}/*.*":
        return
    for i in (1, 2, 3, 10, 12):
        write(f"i/{image.format(i)}", f"m/{mask.format(i)}")
    given = f"--images={form.format('i')}", f"--masks={form.format('m')}"
    status, out, flags = examined(capsys, *given, *BOTH)
    assert status == 2 and "Most masks are named as their image" in out
    assert "5 pairs" in out
    status, out, _ = examined(capsys, *flags)
    assert status == 0 and "No problems found" in out
    assert len(built(*flags)["train"]) == 5


@pytest.mark.parametrize("name", ["set [1]", "a[b]c", "[x]", "x]y[", "[!a]", "[[]"])
@pytest.mark.parametrize(
    "form", ["{}/i/*.jpg", "{}/i", "{}/i/**/*.jpg", "{}/{{split}}/*"]
)
def test_brackets_of_real_folders_are_literal(name, form):
    for i in range(2):
        write(f"{name}/i/{i}.jpg", f"set 1/i/{i}x.jpg")
    found = matching.find(form.format(name), "images")
    assert sorted(found.paths.values()) == [f"{name}/i/{i}.jpg" for i in range(2)]
    assert [key[1] for key in sorted(found.paths)] == ["0", "1"]


def test_sets_of_characters_stay_sets():
    write("i/a.jpg", "i/b.jpg", "i/c.jpg", "i/x[1].jpg")
    assert len(matching.find("i/[ab].jpg", "images").paths) == 2
    assert len(matching.find("i/[!ab].jpg", "images").paths) == 1
    assert list(matching.find("i/x[1].jpg", "images").paths.values()) == ["i/x[1].jpg"]
    assert list(matching.find("i/x[1]*", "images").paths.values()) == ["i/x[1].jpg"]


@pytest.mark.parametrize("form", ["i", "i/**/*.jpg", "i/**/**/*"])
def test_folders_with_links_to_themselves_give_each_file_once(form):
    write("i/1.jpg", "i/x/2.jpg", "other/3.jpg")
    for link, target in [("i/self", "."), ("i/x/up", ".."), ("i/x/up2", "..")]:
        os.symlink(target, link)
    os.symlink("../other", "i/linked")
    os.symlink("../i", "other/back")
    found = matching.find(form, "images")
    assert sorted(found.paths.values()) == ["i/1.jpg", "i/linked/3.jpg", "i/x/2.jpg"]
    assert not found.duplicates


@pytest.mark.parametrize("bits", [4, 8, 10, 12, 15])
def test_16_bit_images_that_use_few_bits_are_named(capsys, bits):
    write(*(f"m/{i}.png" for i in range(4)))
    rng = np.random.default_rng(0)
    for i in range(4):
        pixels = rng.integers(0, 2**bits, (20, 32), np.uint16)
        pixels[0, 0] = 2**bits - 1
        trees.save(pathlib.Path(f"i/{i}.png"), pixels)
    assert f"use {bits} of 16 bits, the largest is {2**bits - 1}" in " ".join(
        examined(capsys, "--images=i", "--masks=m", *BOTH)[1].split()
    )
    given = "--images=i", "--masks=m", "--channels=rgb", *BOTH
    status, out, _ = examined(capsys, *given)
    plain = " ".join(out.split())
    # Of the largest value, 2**bits - 1, the lower 8 bits are dropped.
    levels = max(1, 2 ** (bits - 8))
    assert (
        status == 2
        and f"use {bits} bits: 4, the largest value is {2**bits - 1}." in plain
    )
    assert f"at most {levels:g} of 256 levels remain" in plain
    for i in range(4):
        path = f"i/{i}.png"
        pixels = np.array(Image.open(path)).astype(int) * 2 ** (16 - bits)
        trees.save(pathlib.Path(path), pixels.astype(np.uint16))
    assert "use few bits" not in examined(capsys, *given)[1]


def labelme(path, width=32, height=20, **fields):
    content = {
        "imagePath": f"{path.stem}.jpg",
        "imageHeight": height,
        "imageWidth": width,
    }
    points = [[0, 0], [8, 0], [8, 8], [0, 8]]
    content["shapes"] = [{"label": "car", "points": points, "shape_type": "polygon"}]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**content, **fields}))


def test_images_without_annotations_can_be_background(capsys):
    write("i/1.jpg", "i/2.jpg", "i/3.jpg")
    labelme(pathlib.Path("a/1.json"))
    given = ["--images=i", "--annotations=a", "--val_fraction=0"]
    status, out, _ = examined(capsys, *given)
    assert status == 2 and "give --unannotated_as_background instead" in " ".join(
        out.split()
    )
    given.append("--unannotated_as_background")
    status, out, flags = examined(capsys, *given)
    assert status == 0 and "--unannotated_as_background" in flags
    assert built(*flags) == {"train": ["1", "2", "3"]}
    contents = corrupt.contents("r")["train"]
    # Negative examples are all class 0; the other one has a square of about 8 x 8.
    assert [int((contents[str(i)][1] == 1).sum()) > 60 for i in (1, 2, 3)] == [1, 0, 0]
    assert [int((contents[str(i)][1] != 0).sum()) for i in (2, 3)] == [0, 0]


@pytest.mark.parametrize("option", ["--apply_exif", "--ignore_exif"])
def test_rotated_images_can_be_negative_examples(option):
    write("i/1.jpg", "i/2.jpg")
    labelme(pathlib.Path("a/1.json"))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(trees.image(0, 20, 32)).save("i/2.jpg", exif=exif)
    given = ["--images=i", "--annotations=a", "--val_fraction=0", option]
    assert built(*given, "--unannotated_as_background") == {"train": ["1", "2"]}
    size = corrupt.contents("r")["train"]["2"][1].shape
    assert size == ((32, 20) if option == "--apply_exif" else (20, 32))


def test_negative_examples_need_annotations_and_a_background(capsys):
    write("i/1.jpg", "i/2.jpg", "m/1.png")
    labelme(pathlib.Path("a/1.json"))
    flag = "--unannotated_as_background"
    assert examined(capsys, "--images=i", "--masks=m", *BOTH, flag)[0] == 2
    own = own_data.OwnData(images="i", annotations="a", unannotated_as_background=True)
    assert len(folder.find(pairs.Source(own=own)).match.masks) == 2
    commands.run(inspect.main, "--images=i", "--annotations=a", "--classes=car,x", flag)
    assert "needs a class named background, but the classes are car, x" in (
        capsys.readouterr().err
    )


def test_splits_without_any_annotation_stay_unlabeled():
    write("i/train/1.jpg", "i/train/2.jpg", "i/test/3.jpg")
    labelme(pathlib.Path("a/1.json"))
    pathlib.Path("a/train").mkdir()
    pathlib.Path("a/1.json").rename("a/train/1.json")
    given = ["--images=i/{split}/*", "--annotations=a/{split}/*"]
    assert built(*given, "--unannotated_as_background") == {"train": ["1", "2"]}


@pytest.mark.parametrize(
    ("images_at", "masks_at", "expected"),
    [
        ("i/*.jpg", "m/*.png", "f.png"),
        ("set/i", "set/m", "set/f.png"),
        ("set/{split}/i/*", "set/{split}/m/*", "set/f.png"),
        ("set/i/*.jpg", "set/i/*.png", "set/f.png"),  # The pattern would match it.
        ("set", "set", "f.png"),
        ("/a/b/*.jpg", "/a/c/*.png", "/a/f.png"),
        ("/*.jpg", "/*.png", "/f.png"),
    ],
)
def test_files_of_the_doctor_are_beside_the_images(images_at, masks_at, expected):
    write("set/i/1.jpg", "set/m/1.png", "i/1.jpg", "m/1.png")
    own = own_data.OwnData(images=images_at, masks=masks_at)
    assert places.beside_images(own, "f.png") == expected


def test_nothing_is_written_into_the_current_folder(tmp_path, capsys, monkeypatch):
    write("set/i/1.jpg", "set/i/2.jpg", "set/i/3.jpg", "set/i/4.jpg", "set/i/5.jpg")
    write(*(f"set/m/{i}.png" for i in range(1, 5)))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir("here")
    given = [f"--images={tmp_path}/set/i", f"--masks={tmp_path}/set/m", "--classes=a,b"]
    examined(capsys, *given)
    assert not list((tmp_path / "here").iterdir())
    names = {path.name for path in (tmp_path / "set").iterdir()}
    assert names == {"i", "m", "contact_sheet.png", "leave_out.txt"}


def test_data_without_a_folder_gets_a_contact_sheet_on_request(tmp_path, capsys):
    def inspected(**outputs):
        reporting.inspect_source(
            *("shapes", pairs.Source(num_drawn=1), label_options.LabelOptions()),
            reporting.Outputs(**outputs),
        )
        return capsys.readouterr().out

    assert "For a contact sheet, give --contact_sheet=FILE." in inspected()
    assert "contact sheet" not in inspected(contact_sheet="")
    assert not list(tmp_path.iterdir())
    assert f"labels: {tmp_path}/s.png\n" in inspected(contact_sheet="s.png")
    assert [path.name for path in tmp_path.iterdir()] == ["s.png"]
    assert places.beside_folder(pathlib.Path("/"), "f.png") == "/f.png"


def test_names_that_are_not_utf_8_can_be_examined(capsys):
    write(*(f"i/{name}.jpg" for name in "ab"), *(f"m/{name}.png" for name in "ab"))
    name = os.fsdecode(b"caf\xe9")
    os.rename("i/a.jpg", f"i/{name}.jpg")
    os.rename("m/a.png", f"m/{name}.png")
    pathlib.Path(f"i/{name}.txt").write_bytes(b"x")
    pathlib.Path(f"i/{name} 2.jpg").write_bytes(b"x")
    status, out, _ = examined(capsys, "--images=i", "--masks=m", *BOTH)
    assert status == 2 and "1 .txt (i/caf\\udce9.txt)" in " ".join(out.split())
    assert "i/caf\\udce9 2.jpg" in out
