"""The data doctor: it finds what was spoilt, and its flags undo it exactly.

With KERASSEG_CAMVID=DIR a slow test spoils CamVid, as the SegNet tutorial has it.
"""

import os
import pathlib
import re
import shlex

import cv2
import numpy as np
import pytest
from PIL import Image

from kerasseg import datasets, images, records
from tests import commands, spoilt, trees
from tfrecords_tools import build, inspect
from tfrecords_tools.converters import pairs
from tfrecords_tools.doctor import duplicates, scanning

SHAPES = datasets.get("shapes").palette
SIX = ",".join(spoilt.CLASSES)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return spoilt.write(tmp_path_factory.mktemp("drawn") / "clean", spoilt.drawn())


@pytest.fixture
def clean(drawn, tmp_path):
    return spoilt.copy(drawn, tmp_path / "clean")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """The contact sheet and the list of what is left out go there."""
    monkeypatch.chdir(tmp_path)


def flags(folder, classes=SIX):
    return [
        f"--images={folder}/images/{{split}}/*",
        f"--masks={folder}/masks/{{split}}/*",
        f"--classes={classes}",
    ]


def built(records_dir, *arguments):
    """Builds; returns the folder."""
    arguments = [*arguments, f"--records_dir={records_dir}", "--workers=1"]
    assert commands.run(build.main, "--dataset=folder", *arguments) == 0
    return records_dir


def examined(capsys, *arguments):
    """Runs the doctor; returns its exit status, its report and its error."""
    capsys.readouterr()
    status = commands.run(inspect.main, *arguments)
    texts = capsys.readouterr()
    return status, texts.out, texts.err


def printed_flags(report):
    """Flags of the command that the doctor prints, as a shell hands them over."""
    (command,) = re.findall(r"Build with\n\n((?:.+\\\n)*.+)\n", report)
    words = shlex.split(command.replace("\\\n", ""))
    assert words[:4] == ["python", "-m", "tfrecords_tools.build", "--dataset=folder"]
    assert words[-1] == "--records_dir=DIR"
    return words[4:-1]


def told(report):
    """The report with its lines joined."""
    return report.replace("\n   ", " ")


def kinds(report):
    return re.findall(r"^\d+\. (.+)$", report, re.M)


def check_mended(capsys, tmp_path, spoilt_folder, clean_folder, **more):
    """Builds the spoilt copy with the printed flags; compares with the clean one."""
    given = flags(spoilt_folder, **more)
    status, report, error = examined(capsys, *given)
    assert status == 2 and error.splitlines()[-1].startswith("Error: ")
    found = printed_flags(report)
    assert set(given) <= set(found)
    mended = built(tmp_path / "mended", *found)
    wanted = built(tmp_path / "wanted", *flags(clean_folder, **more))
    spoilt.check_equal(mended, wanted)
    again, text, _ = examined(capsys, *found)
    assert again == 0, text  # With its own flags the doctor is content.
    return report, [flag for flag in found if flag not in given]


def test_clean_pictures_need_no_flag(clean, capsys, tmp_path):
    status, report, _ = examined(capsys, *flags(clean))
    assert status == 0
    assert "12 pairs: train 8, val 4. Masks: 12 grey PNG." in report
    assert "Nothing was found." in report
    assert printed_flags(report) == flags(clean)
    assert "folder train: 8 pictures" in report and "circle" in report
    assert images.read_image(tmp_path / "contact_sheet.png").shape[1] <= 1000


def test_labels_off_by_one(clean, capsys, tmp_path):
    bad = spoilt.copy(clean, clean.with_name("bad"))
    spoilt.off_by_one(spoilt.masks(bad))
    report, more = check_mended(capsys, tmp_path, bad, clean)
    assert kinds(report) == ["Labels off by one"]
    assert "The masks hold 1 to 6, and never 0, but 6 classes are 0 to 5." in report
    assert more == ["--label_offset=-1"]
    assert f"     {bad}/masks/train/train0.png" in report and "and 9 more" in report


def test_palettes_are_read_by_number(clean, capsys, tmp_path):
    other = spoilt.copy(clean, clean.with_name("palette"))
    spoilt.palette(spoilt.masks(other))
    status, report, _ = examined(capsys, *flags(other))
    assert status == 0 and kinds(report) == ["Palettes (nothing to do)"]
    mended = built(tmp_path / "mended", *printed_flags(report))
    spoilt.check_equal(mended, built(tmp_path / "wanted", *flags(clean)))


def test_palettes_that_differ_are_read_by_color(clean, capsys, tmp_path):
    bad = spoilt.copy(clean, clean.with_name("bad"))
    spoilt.quantized(spoilt.masks(bad), spoilt.colors_of(SHAPES))
    report, more = check_mended(capsys, tmp_path, bad, clean)
    assert kinds(report) == ["Palettes that differ", "Masks of colours"]
    assert more == ["--colormap=shapes,e0e0c0:255", "--palette_colors"]


def test_colors_of_a_known_data_set(clean, capsys, tmp_path):
    bad = spoilt.copy(clean, clean.with_name("bad"))
    spoilt.colors(spoilt.masks(bad), spoilt.colors_of(SHAPES))
    report, more = check_mended(capsys, tmp_path, bad, clean)
    assert kinds(report) == ["Masks of colours"]
    assert "those of shapes" in report and "ignores e0e0c0" in report
    assert more == ["--colormap=shapes,e0e0c0:255"]


UNKNOWN = np.array([[10 * i + 7, 200 - 30 * i, i] for i in range(6)], np.uint8)


def test_unknown_colors_are_numbered_in_order(clean, capsys, tmp_path):
    # 07c800, 11aa01, ...: the order of the classes is that of the red channel.
    bad = spoilt.copy(clean, clean.with_name("bad"))
    spoilt.colors(spoilt.masks(bad), spoilt.colors_of(UNKNOWN, void=(0, 0, 0)))
    report, more = check_mended(capsys, tmp_path, bad, clean)
    assert "07c800 as ground, 11aa01 as circle" in told(report)
    assert "which colour is which class only you can" in told(report)
    (flag,) = more
    assert flag.startswith("--colormap=07c800,11aa01,") and flag.endswith(",000000:255")


def test_colors_of_a_file_that_is_given(clean, capsys, tmp_path):
    bad = spoilt.copy(clean, clean.with_name("bad"))
    spoilt.colors(spoilt.masks(bad), spoilt.colors_of(UNKNOWN[::-1]))
    lines = [
        f"{r} {g} {b}\t{name}"
        for (r, g, b), name in zip(UNKNOWN[::-1], spoilt.CLASSES, strict=True)
    ]
    (tmp_path / "colors.txt").write_text("\n".join(lines))
    given = [*flags(bad), "--colormap=colors.txt"]
    status, report, _ = examined(capsys, *given)
    assert status == 2 and kinds(report) == ["Colours without a class"]
    found = printed_flags(report)
    assert "--colormap=colors.txt,e0e0c0:255" in found
    mended = built(tmp_path / "mended", *found)
    spoilt.check_equal(mended, built(tmp_path / "wanted", *flags(clean)))


def test_colors_that_are_given_and_smeared(clean, capsys):
    bad = spoilt.copy(clean, clean.with_name("bad"))
    far = np.array([[0, 0, 0], [200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0]])
    table = spoilt.colors_of(np.array([*far, [200, 0, 200]], np.uint8), (99, 99, 99))
    spoilt.jpeg(spoilt.masks(bad), table)
    given = "--colormap=000000,c80000,00c800,0000c8,c8c800,c800c8"
    status, report, _ = examined(capsys, *flags(bad), given)
    assert status == 2 and kinds(report) == ["JPEG masks"]
    # The nearest two differ by 200 in one channel: up to 99 leaves no doubt.
    assert {given, "--mask_tolerance=99"} <= set(printed_flags(report))
    status, report, _ = examined(capsys, *printed_flags(report))
    assert status == 0, report


def test_colors_without_classes_are_listed(clean, capsys):
    spoilt.colors(spoilt.masks(clean), spoilt.colors_of(UNKNOWN, void=(0, 0, 0)))
    status, report, _ = examined(capsys, *flags(clean)[:2])
    assert status == 2
    assert "There are 7 colours: 000000 (" in told(report)
    assert "--colormap=000000,07c800," in report


def test_more_colors_than_anybody_can_name(clean, capsys):
    for path in spoilt.masks(clean):
        trees.save(path, trees.picture(1, 60, 80))
    status, report, error = examined(capsys, *flags(clean))
    assert status == 2 and kinds(report) == ["Smeared colours"]
    assert "Name theirs with --colormap=FILE" in told(report)
    assert "no flag settles smeared colours" in error


def test_grey_numbers_in_three_channels(clean, capsys, tmp_path):
    bad = spoilt.copy(clean, clean.with_name("bad"))
    greys = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    spoilt.colors(spoilt.masks(bad), greys)
    _, more = check_mended(capsys, tmp_path, bad, clean)
    assert more == ["--colormap=grey"]


def test_0_and_255_are_two_classes(clean, capsys, tmp_path):
    spoilt.two_classes(spoilt.masks(clean))
    bad = spoilt.copy(clean, clean.with_name("bad"))
    spoilt.zero_and_255(spoilt.masks(bad))
    report, more = check_mended(capsys, tmp_path, bad, clean, classes="ground,shape")
    assert kinds(report) == ["0 and 255"] and more == ["--label_map=255:1"]


def test_masks_of_half_the_size(clean, capsys, tmp_path):
    spoilt.coarse(spoilt.masks(clean))
    bad = spoilt.copy(clean, clean.with_name("bad"))
    spoilt.half_size(spoilt.masks(bad, "train"))
    report, more = check_mended(capsys, tmp_path, bad, clean)
    assert kinds(report) == ["Masks of another size"] and more == ["--resize_masks"]
    assert "another size: 8, such as" in told(report)
    assert "40 x 30 for 80 x 60" in told(report)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_rotated_pictures_with_upright_masks(clean, capsys, tmp_path, orientation):
    # Turned by 180 degrees the sizes are equal: edges tell that the mask is upright.
    bad = spoilt.copy(clean, clean.with_name("bad"))
    spoilt.rotated(spoilt.pictures(bad)[:5], orientation)
    report, more = check_mended(capsys, tmp_path, bad, clean)
    assert kinds(report) == ["EXIF rotation"] and more == ["--apply_exif"]
    assert ("times as strong" in told(report)) == (orientation == 3)


@pytest.mark.parametrize("orientation", [3, 6])
def test_rotated_pictures_with_masks_of_what_is_stored(
    clean, capsys, tmp_path, orientation
):
    # The mask is turned as the picture is stored; clean is the turned pair, no EXIF.
    bad = spoilt.copy(clean, clean.with_name("bad"))
    for folder in (clean, bad):
        turned = [spoilt.read(path) for path in spoilt.masks(folder)]
        for path, label in zip(spoilt.masks(folder), turned, strict=True):
            trees.save(path, spoilt._TURNED[orientation](label))
    spoilt.rotated(spoilt.pictures(bad), orientation)
    for path in spoilt.pictures(clean):
        pixels = spoilt._TURNED[orientation](images.read_image(path))
        trees.save(path, pixels[..., ::-1])
    _, more = check_mended(capsys, tmp_path, bad, clean)
    assert more == ["--ignore_exif"]


def test_masks_that_fit_rotated_pictures_in_two_ways(clean, capsys):
    spoilt.rotated(spoilt.pictures(clean)[:3], 6)
    path = spoilt.masks(clean)[0]
    trees.save(path, spoilt._TURNED[6](spoilt.read(path)))
    status, report, _ = examined(capsys, *flags(clean))
    assert status == 2
    assert "2 masks fit the upright picture, 1 the picture as it" in told(report)
    assert "--leave_out: train:train0" in report and "--apply_exif" not in report


def test_doubles_in_one_split_are_a_note(clean, capsys):
    for folder in ("images", "masks"):
        first = clean / folder / "train" / "train0.png"
        (first.with_stem("again")).write_bytes(first.read_bytes())
    status, report, _ = examined(capsys, *flags(clean))
    assert status == 0 and kinds(report) == ["Doubles (nothing to do)"]
    assert "train:again = train:train0. They count so many times" in told(report)


def test_two_files_of_one_name_and_splits_without_masks(clean, capsys):
    picture = clean / "images/train/train0.png"
    trees.save(picture.with_suffix(".jpg"), images.read_image(picture))
    trees.save(clean / "images/test/t.png", trees.picture(1))
    status, report, error = examined(capsys, *flags(clean))
    assert status == 2
    assert kinds(report) == [
        "Two files of one name",
        "Splits without labels (nothing to do)",
    ]
    assert "No picture of split 'test' has a label" in told(report)
    assert "no flag settles two files of one name" in error


@pytest.mark.parametrize(
    ("mode", "file_format", "wanted"),
    [
        ("1", "PNG", []),
        ("LA", "PNG", ["Masks of colours"]),
        ("RGBA", "PNG", ["Masks of colours"]),
        ("CMYK", "JPEG", ["Smeared colours"]),
    ],
)
def test_one_mask_of_another_kind_is_found(clean, capsys, mode, file_format, wanted):
    path = spoilt.masks(clean)[0]
    Image.fromarray(spoilt.read(path)).convert(mode).save(path, file_format)
    _, report, _ = examined(capsys, *flags(clean))
    assert kinds(report) == wanted
    assert not wanted or f"     {path}\n" in report


def test_leaks_are_left_out_of_train(clean, capsys, tmp_path):
    bad = spoilt.copy(clean, clean.with_name("bad"))
    spoilt.leak(bad, 2)
    report, more = check_mended(capsys, tmp_path, bad, clean)
    assert kinds(report) == ["Leaks"] and more == ["--leave_out=leave_out.txt"]
    assert "train:again_val0 = val:val0" in report
    assert (tmp_path / "leave_out.txt").read_text() == (
        "train:again_val0 # leaks\ntrain:again_val1 # leaks\n"
    )


def test_pictures_that_were_saved_anew_are_leaks_too(clean, capsys, tmp_path):
    bad = spoilt.copy(clean, clean.with_name("bad"))
    spoilt.leak(bad, 1)
    path = bad / "images/train/again_val0.png"
    pixels = images.read_image(path)[..., ::-1]
    path.unlink()
    trees.save(path.with_suffix(".jpg"), pixels)
    report, _ = check_mended(capsys, tmp_path, bad, clean)
    assert "in several splits: 1, 1 of them nearly equal" in told(report)


def test_pictures_of_one_texture_are_no_leaks():
    # Their thumbnails are equal but for a level or two, what is finer is not.
    looks = []
    for i, split in enumerate(("train", "train", "val", "val")):
        noise = np.random.default_rng(i).integers(118, 139, (256, 256, 3), np.uint8)
        path = pathlib.Path(f"{i}.png")
        trees.save(path, noise)
        pair = pairs.Pair(str(i), str(path), str(path))
        looks.append(scanning.look(split, pair, 10**6))
    assert np.ptp([look.thumbnail for look in looks], axis=0).max() <= 4
    assert not list(duplicates.examine(looks))


def test_masks_that_are_all_ignored_and_files_alone(clean, capsys, tmp_path):
    bad = spoilt.copy(clean, clean.with_name("bad"))
    spoilt.add_void(bad)
    spoilt.add_alone(bad)
    report, more = check_mended(capsys, tmp_path, bad, clean)
    assert kinds(report) == [
        "Names that pair with nothing",
        "Masks that are all ignored",
    ]
    assert f"{bad}/images/train/alone.png" in report
    assert f"{bad}/masks/val/orphan.png" in report
    assert more == ["--leave_out=leave_out.txt"]
    assert (tmp_path / "leave_out.txt").read_text() == (
        "train:alone # names that pair with nothing\n"
        "val:orphan # names that pair with nothing\n"
        "train:unseen # masks that are all ignored\n"
    )


def test_a_list_that_somebody_wrote_is_never_lost(clean, capsys, tmp_path):
    spoilt.add_void(clean)
    (tmp_path / "leave_out.txt").write_text("train:train0 # mine\n")
    _, report, _ = examined(capsys, *flags(clean))
    assert "--leave_out=leave_out_2.txt" in printed_flags(report)
    assert (tmp_path / "leave_out.txt").read_text() == "train:train0 # mine\n"
    _, report, _ = examined(capsys, *flags(clean), "--leave_out=leave_out.txt")
    assert "--leave_out=leave_out_3.txt" in printed_flags(report)
    assert (tmp_path / "leave_out_3.txt").read_text() == (
        "train:train0 # mine\ntrain:unseen # masks that are all ignored\n"
    )


def test_damaged_files_and_masks_of_other_pictures(clean, capsys, tmp_path):
    bad = spoilt.copy(clean, clean.with_name("bad"))
    damaged = bad / "images/train/train1.png"
    damaged.write_bytes(damaged.read_bytes()[:-50])
    trees.save(bad / "masks/train/train2.png", np.zeros((60, 60), np.uint8))
    status, report, _ = examined(capsys, *flags(bad))
    assert status == 2
    assert kinds(report) == ["Files that cannot be read", "Masks of another shape"]
    assert "train1.png: the png file is damaged or truncated" in told(report)
    assert "60 x 60 for 80 x 60" in told(report)
    found = built(tmp_path / "mended", *printed_flags(report))
    assert len(records.open_split(found, "train")) == 6


def test_masks_of_16_bits_are_not_all_left_out(clean, capsys):
    for path in spoilt.masks(clean):
        trees.save(path, spoilt.read(path).astype(np.uint16))
    status, report, error = examined(capsys, *flags(clean))
    assert status == 2 and "is 16-bit I;16, expected one channel" in told(report)
    assert "--leave_out" not in report
    assert "no flag settles files that cannot be read" in error


def smeared(paths):
    """Resizes with interpolation, to three quarters and back."""
    for path in paths:
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        small = cv2.resize(pixels, None, fx=0.75, fy=0.75)
        trees.save(path, cv2.resize(small, pixels.shape[1::-1]))


def test_smeared_masks_of_two_classes_are_mended_but_for_thin_things(
    clean, capsys, tmp_path
):
    spoilt.two_classes(spoilt.masks(clean))
    bad = spoilt.copy(clean, clean.with_name("bad"))
    spoilt.zero_and_255(spoilt.masks(bad))
    smeared(spoilt.masks(bad))
    two = "ground,shape"
    status, report, _ = examined(capsys, *flags(bad, two))
    assert status == 2 and kinds(report) == ["Smeared numbers"]
    assert "nearest of 0, 255 and ignore 0.00% of the pixels" in told(report)
    mended = spoilt.contents(built(tmp_path / "mended", *printed_flags(report)))
    wanted = spoilt.contents(built(tmp_path / "wanted", *flags(clean, two)))
    for split, each in mended.items():
        for name, (_, label) in each.items():
            assert (label == wanted[split][name][1]).mean() > 0.98


@pytest.mark.parametrize("spoil", ["jpeg", "resized"])
def test_smeared_colors_come_near(clean, capsys, tmp_path, spoil):
    bad = spoilt.copy(clean, clean.with_name("bad"))
    if spoil == "jpeg":
        spoilt.jpeg(spoilt.masks(bad), spoilt.colors_of(SHAPES))
    else:
        spoilt.colors(spoilt.masks(bad), spoilt.colors_of(SHAPES))
        smeared(spoilt.masks(bad))
    status, report, _ = examined(capsys, *flags(bad))
    title = {"jpeg": "JPEG masks", "resized": "Smeared colours"}[spoil]
    assert status == 2 and kinds(report) == [title]
    assert "--colormap=shapes" in printed_flags(report)
    assert "Better: export the masks again, as PNG." in told(report)
    found = built(tmp_path / "mended", *printed_flags(report))
    wanted = spoilt.contents(built(tmp_path / "wanted", *flags(clean)))
    labels = [
        (label, wanted[split][name][1])
        for split, each in spoilt.contents(found).items()
        for name, (_, label) in each.items()
    ]
    kept = [(ours[ours != 255], theirs[ours != 255]) for ours, theirs in labels]
    right = sum((ours == theirs).sum() for ours, theirs in kept)
    assert right > 0.97 * sum(ours.size for ours, _ in kept)


def test_grey_jpeg_masks_of_two_classes(clean, capsys, tmp_path):
    spoilt.two_classes(spoilt.masks(clean))
    bad = spoilt.copy(clean, clean.with_name("bad"))
    for path in spoilt.masks(bad):
        trees.save(path.with_suffix(".jpg"), spoilt.read(path) * np.uint8(255))
        path.unlink()
    report, more = check_mended(capsys, tmp_path, bad, clean, classes="ground,shape")
    assert kinds(report) == ["JPEG masks"]
    assert more == ["--label_map=0:0,255:1", "--mask_tolerance=127"]


def test_flags_for_some_masks_that_spoil_others_are_told(clean, capsys):
    # JPEGs of 0 and 255 want a tolerance, under which 0 and 1 of the PNGs are one.
    spoilt.two_classes(spoilt.masks(clean))
    for path in spoilt.masks(clean)[:4]:
        trees.save(path.with_suffix(".jpg"), spoilt.read(path) * np.uint8(255))
        path.unlink()
    status, report, error = examined(capsys, *flags(clean, "ground,shape"))
    assert status == 2
    assert kinds(report) == ["JPEG masks", "Masks that want other flags"]
    assert f"     {spoilt.masks(clean)[4]}" in report
    assert "no flag settles masks that want other flags" in error


def test_grey_values_stand_for_classes(clean, capsys, tmp_path):
    bad = spoilt.copy(clean, clean.with_name("bad"))
    for path in spoilt.masks(bad):
        label = spoilt.read(path)
        trees.save(path, np.where(label == 255, 255, label * 40).astype(np.uint8))
    report, more = check_mended(capsys, tmp_path, bad, clean)
    assert kinds(report) == ["Grey values instead of class numbers"]
    assert more == ["--label_map=0:0,40:1,80:2,120:3,160:4,200:5"]


def test_one_number_too_many_can_mean_three_things(clean, capsys):
    # 0 to 5 and void as 6, as CamVid has it; or 5 classes and a background.
    status, report, _ = examined(capsys, *flags(clean, "circle,square,triangle,star,x"))
    assert status == 2 and kinds(report) == ["One number too many"]
    text = told(report)
    assert "ignores 5. If 0 is what has no label, give --label_offset=-1" in text
    assert "if 0 is a class that --classes lacks, such as background, name it" in text


def test_numbers_from_1_with_void_after_them(clean, capsys, tmp_path):
    bad = spoilt.copy(clean, clean.with_name("bad"))
    for path in spoilt.masks(bad):
        label = spoilt.read(path)
        trees.save(path, np.where(label == 255, 7, label + 1).astype(np.uint8))
    report, more = check_mended(capsys, tmp_path, bad, clean)
    assert "1 to 7, and never 0, but 6 classes are 0 to 5" in told(report)
    assert more == ["--label_offset=-1", "--label_map=7:255"]


def test_jpeg_masks_of_class_numbers_are_lost(clean, capsys):
    for path in spoilt.masks(clean):
        trees.save(path.with_suffix(".jpg"), spoilt.read(path))
        path.unlink()
    status, report, error = examined(capsys, *flags(clean))
    assert status == 2 and kinds(report) == ["JPEG masks"]
    assert "cannot be told apart. Export the masks again, as PNG." in told(report)
    assert "no flag settles JPEG masks" in error


def test_numbers_that_no_flag_explains_are_named(clean, capsys):
    path = spoilt.masks(clean)[0]
    label = spoilt.read(path)
    label[20:22, :10] = 77
    trees.save(path, label)
    status, report, error = examined(capsys, *flags(clean))
    assert status == 2 and kinds(report) == ["Numbers that are no class"]
    assert f"     {path}" in report and "there are 77 (20 pixels)" in told(report)
    assert "no flag settles numbers that are no class" in error


def test_names_with_something_behind_them_in_folders_of_folders(tmp_path, capsys):
    root = tmp_path / "set [1]"
    for i in range(4):
        trees.save(root / f"images/x/{i}.png", trees.picture(i))
        trees.save(root / f"masks/x/{i}_mask.png", trees.label(i, 2))
    folders = [f"--images={root}/images", f"--masks={root}/masks/"]
    left = ["--contact_sheet=", f"--leave_out_file={tmp_path}/out.txt"]
    _, report, _ = examined(capsys, *folders, "--classes=a,b", *left)
    wanted = f"{tmp_path}/set [[]1]/masks/**/*_mask.*"
    assert f"--masks='{wanted}'" in report and "4 pairs: train 3, val 1." in report
    found = [f"--images={root}/images", f"--masks={wanted}"]
    status, report, _ = examined(capsys, *found, "--classes=a,b", *left)
    assert status == 0, report


def test_names_with_something_around_them(clean, capsys, tmp_path):
    for path in spoilt.masks(clean):
        path.rename(path.with_name(f"label_{path.stem}_mask.png"))
    status, report, _ = examined(capsys, *flags(clean))
    assert status == 2 and kinds(report) == ["Names that pair with nothing"]
    found = printed_flags(report)
    assert f"--masks={clean}/masks/{{split}}/label_*_mask.*" in found
    assert len(records.open_split(built(tmp_path / "r", *found), "train")) == 8


def test_without_classes_the_doctor_says_what_is_to_be_named(clean, capsys):
    status, report, _ = examined(capsys, *flags(clean)[:2])
    assert status == 0
    assert "The masks hold 0, 1, 2, 3, 4, 5. Name the classes" in told(report)
    assert "The classes are not named yet: give --classes" in report


def test_pictures_of_two_lists_are_a_leak(clean, capsys, tmp_path):
    (tmp_path / "train.txt").write_text("train/train0\ntrain/train1\nval/val0\n")
    (tmp_path / "val.txt").write_text("val/val0\nval/val1\n")
    given = [
        *(f"--images={clean}/images", f"--masks={clean}/masks", f"--classes={SIX}"),
        "--lists=train.txt,val.txt",
    ]
    status, report, _ = examined(capsys, *given)
    assert status == 2
    assert kinds(report) == ["Leaks", "Pictures in no list (nothing to do)"]
    found = spoilt.contents(built(tmp_path / "r", *printed_flags(report)))
    assert {split: list(each) for split, each in found.items()} == {
        "train": ["train/train0", "train/train1"],
        "val": ["val/val0", "val/val1"],
    }


def everything(folder, table):
    """Spoils a copy in all ways at once that flags can undo together.

    Of every five masks two are off by one, one of these with a palette; one is in
    colours, and one of half the size. The fifth is off by one, of a rotated picture.
    """
    spoilt.leak(folder, 2)
    in_colors = spoilt.masks(folder)[3::5]
    spoilt.off_by_one(set(spoilt.masks(folder)) - {*in_colors})
    spoilt.palette(spoilt.masks(folder)[2::5])
    spoilt.half_size(spoilt.masks(folder)[1::5])
    spoilt.colors(in_colors, table)
    spoilt.rotated(spoilt.pictures(folder)[4::5], 6)
    spoilt.add_void(folder)
    spoilt.add_alone(folder)


def check_everything(capsys, tmp_path, clean, table, colormap, classes):
    spoilt.coarse(spoilt.masks(clean))
    bad = spoilt.copy(clean, clean.with_name("bad"))
    everything(bad, table)
    report, more = check_mended(capsys, tmp_path, bad, clean, classes=classes)
    assert sorted(kinds(report)) == sorted(
        [
            "Names that pair with nothing",
            "EXIF rotation",
            "Masks of another size",
            "Labels off by one",
            "Masks of colours",
            "Leaks",
            "Masks that are all ignored",
            "Palettes (nothing to do)",
        ]
    )
    assert sorted(more) == sorted(
        [
            "--leave_out=leave_out.txt",
            "--label_offset=-1",
            f"--colormap={colormap}",
            "--resize_masks",
            "--apply_exif",
        ]
    )
    return report


def test_everything_at_once(clean, capsys, tmp_path):
    table = spoilt.colors_of(SHAPES)
    check_everything(capsys, tmp_path, clean, table, "shapes,e0e0c0:255", SIX)


def camvid(folder):
    for split in ("train", "val"):
        for path in sorted((folder / split).glob("*.png")):
            label = images.read_label(folder / f"{split}annot" / path.name)
            label = np.where(label == 11, 255, label).astype(np.uint8)
            yield split, path.stem, images.read_image(path), label


@pytest.mark.slow
def test_everything_at_once_on_camvid(capsys, tmp_path):
    folder = os.environ.get("KERASSEG_CAMVID") or pytest.skip(
        "$KERASSEG_CAMVID names no folder of CamVid"
    )
    clean = spoilt.write(tmp_path / "clean", camvid(pathlib.Path(folder)))
    table = spoilt.colors_of(datasets.get("camvid").palette, void=(0, 0, 0))
    colormap = "camvid,000000:255"
    report = check_everything(capsys, tmp_path, clean, table, colormap, "camvid")
    print(report)


@pytest.mark.slow
def test_0_and_255_on_camvid(capsys, tmp_path):
    folder = os.environ.get("KERASSEG_CAMVID") or pytest.skip(
        "$KERASSEG_CAMVID names no folder of CamVid"
    )
    clean = spoilt.write(tmp_path / "clean", camvid(pathlib.Path(folder)))
    spoilt.two_classes(spoilt.masks(clean))
    bad = spoilt.copy(clean, clean.with_name("bad"))
    spoilt.zero_and_255(spoilt.masks(bad))
    report, more = check_mended(capsys, tmp_path, bad, clean, classes="sky,ground")
    assert kinds(report) == ["0 and 255"] and more == ["--label_map=255:1"]
