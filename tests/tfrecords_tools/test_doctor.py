"""The data doctor: it finds corruptions, and its flags undo them exactly.

With KERASSEG_CAMVID=DIR slow tests corrupt the CamVid of the SegNet tutorial.
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
from tests.support import commands, corrupt, trees
from tfrecords_tools import build, inspect
from tfrecords_tools.converters import pairs
from tfrecords_tools.doctor import duplicates, scanning

SHAPES = datasets.get("shapes").palette
SIX = ",".join(corrupt.CLASSES)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return corrupt.write(tmp_path_factory.mktemp("drawn") / "clean", corrupt.drawn())


@pytest.fixture
def clean(drawn, tmp_path):
    return corrupt.copy(drawn, tmp_path / "clean")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Runs in an empty folder, where the doctor writes its files."""
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
    """Returns the flags of the printed command, parsed as by a shell."""
    (command,) = re.findall(r"Build with\n\n((?:.+\\\n)*.+)\n", report)
    words = shlex.split(command.replace("\\\n", ""))
    assert words[:4] == ["python", "-m", "tfrecords_tools.build", "--dataset=folder"]
    assert words[-1] == "--records_dir=DIR"
    return words[4:-1]


def unwrapped(report):
    """Joins the lines of a report."""
    return report.replace("\n   ", " ")


def kinds(report):
    return re.findall(r"^\d+\. (.+)$", report, re.M)


def check_fixed(capsys, tmp_path, corrupt_folder, clean_folder, **more):
    """Builds the corrupt copy with the printed flags; compares with the clean one."""
    given = flags(corrupt_folder, **more)
    status, report, error = examined(capsys, *given)
    assert status == 2 and error.splitlines()[-1].startswith("Error: ")
    found = printed_flags(report)
    assert set(given) <= set(found)
    fixed = built(tmp_path / "fixed", *found)
    expected = built(tmp_path / "expected", *flags(clean_folder, **more))
    corrupt.check_equal(fixed, expected)
    again, text, _ = examined(capsys, *found)
    assert again == 0, text  # With its own flags, the doctor finds no problems.
    return report, [flag for flag in found if flag not in given]


def test_clean_images_need_no_flag(clean, capsys):
    status, report, _ = examined(capsys, *flags(clean))
    assert status == 0
    assert "12 pairs: train 8, val 4. Masks: 12 gray PNG." in report
    assert "No problems found." in report
    assert printed_flags(report) == flags(clean)
    assert "folder train: 8 images" in report and "circle" in report
    assert images.read_image(clean / "contact_sheet.png").shape[1] <= 1000


def test_labels_off_by_one(clean, capsys, tmp_path):
    bad = corrupt.copy(clean, clean.with_name("bad"))
    corrupt.off_by_one(corrupt.mask_paths(bad))
    report, more = check_fixed(capsys, tmp_path, bad, clean)
    assert kinds(report) == ["Labels off by one"]
    assert "The masks hold 1 to 6 and never 0, but 6 classes are 0 to 5." in report
    assert more == ["--label_offset=-1"]
    assert f"     {bad}/masks/train/train0.png" in report and "and 9 more" in report


def test_palettes_are_read_by_number(clean, capsys, tmp_path):
    other = corrupt.copy(clean, clean.with_name("palette"))
    corrupt.palette(corrupt.mask_paths(other))
    status, report, _ = examined(capsys, *flags(other))
    assert status == 0 and kinds(report) == ["Palettes (nothing to do)"]
    fixed = built(tmp_path / "fixed", *printed_flags(report))
    corrupt.check_equal(fixed, built(tmp_path / "expected", *flags(clean)))


def test_palettes_that_differ_are_read_by_color(clean, capsys, tmp_path):
    bad = corrupt.copy(clean, clean.with_name("bad"))
    corrupt.quantized(corrupt.mask_paths(bad), corrupt.colors_of(SHAPES))
    report, more = check_fixed(capsys, tmp_path, bad, clean)
    assert kinds(report) == ["Palettes that differ", "Color masks"]
    assert more == ["--colormap=shapes,e0e0c0:255", "--palette_colors"]


def test_colors_of_a_known_data_set(clean, capsys, tmp_path):
    bad = corrupt.copy(clean, clean.with_name("bad"))
    corrupt.colors(corrupt.mask_paths(bad), corrupt.colors_of(SHAPES))
    report, more = check_fixed(capsys, tmp_path, bad, clean)
    assert kinds(report) == ["Color masks"]
    assert "those of shapes" in report and "ignores e0e0c0" in report
    assert more == ["--colormap=shapes,e0e0c0:255"]


UNKNOWN = np.array([[10 * i + 7, 200 - 30 * i, i] for i in range(6)], np.uint8)


def test_unknown_colors_are_numbered_in_order(clean, capsys, tmp_path):
    # 07c800, 11aa01, ...: the order of the classes is that of the red channel.
    bad = corrupt.copy(clean, clean.with_name("bad"))
    corrupt.colors(corrupt.mask_paths(bad), corrupt.colors_of(UNKNOWN, void=(0, 0, 0)))
    report, more = check_fixed(capsys, tmp_path, bad, clean)
    assert "07c800 as ground, 11aa01 as circle" in unwrapped(report)
    assert "This order is a guess" in unwrapped(report)
    (flag,) = more
    assert flag.startswith("--colormap=07c800,11aa01,") and flag.endswith(",000000:255")


def test_colors_of_a_file_that_is_given(clean, capsys, tmp_path):
    bad = corrupt.copy(clean, clean.with_name("bad"))
    corrupt.colors(corrupt.mask_paths(bad), corrupt.colors_of(UNKNOWN[::-1]))
    lines = [
        f"{r} {g} {b}\t{name}"
        for (r, g, b), name in zip(UNKNOWN[::-1], corrupt.CLASSES, strict=True)
    ]
    (tmp_path / "colors.txt").write_text("\n".join(lines))
    given = [*flags(bad), "--colormap=colors.txt"]
    status, report, _ = examined(capsys, *given)
    assert status == 2 and kinds(report) == ["Colors without a class"]
    found = printed_flags(report)
    assert "--colormap=colors.txt,e0e0c0:255" in found
    fixed = built(tmp_path / "fixed", *found)
    corrupt.check_equal(fixed, built(tmp_path / "expected", *flags(clean)))


def test_given_colors_with_artifacts(clean, capsys):
    bad = corrupt.copy(clean, clean.with_name("bad"))
    far = np.array([[0, 0, 0], [200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0]])
    table = corrupt.colors_of(np.array([*far, [200, 0, 200]], np.uint8), (99, 99, 99))
    corrupt.jpeg(corrupt.mask_paths(bad), table)
    given = "--colormap=000000,c80000,00c800,0000c8,c8c800,c800c8"
    status, report, _ = examined(capsys, *flags(bad), given)
    assert status == 2 and kinds(report) == ["JPEG masks"]
    # The nearest two differ by 200 in one channel, so 99 is unambiguous.
    assert {given, "--mask_tolerance=99"} <= set(printed_flags(report))
    status, report, _ = examined(capsys, *printed_flags(report))
    assert status == 0, report


def test_colors_without_classes_are_listed(clean, capsys):
    corrupt.colors(
        corrupt.mask_paths(clean), corrupt.colors_of(UNKNOWN, void=(0, 0, 0))
    )
    status, report, _ = examined(capsys, *flags(clean)[:2])
    assert status == 2
    assert "There are 7 colors: 000000 (" in unwrapped(report)
    assert "--colormap=000000,07c800," in report


def test_too_many_colors(clean, capsys):
    for path in corrupt.mask_paths(clean):
        trees.save(path, trees.image(1, 60, 80))
    status, report, error = examined(capsys, *flags(clean))
    assert status == 2 and kinds(report) == ["Colors with artifacts"]
    assert "Give the color map with --colormap=FILE" in unwrapped(report)
    assert "No option fixes colors with artifacts" in error


def test_gray_numbers_in_three_channels(clean, capsys, tmp_path):
    bad = corrupt.copy(clean, clean.with_name("bad"))
    grays = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    corrupt.colors(corrupt.mask_paths(bad), grays)
    _, more = check_fixed(capsys, tmp_path, bad, clean)
    assert more == ["--colormap=grey"]


def test_0_and_255_are_two_classes(clean, capsys, tmp_path):
    corrupt.two_classes(corrupt.mask_paths(clean))
    bad = corrupt.copy(clean, clean.with_name("bad"))
    corrupt.zero_and_255(corrupt.mask_paths(bad))
    report, more = check_fixed(capsys, tmp_path, bad, clean, classes="ground,shape")
    assert kinds(report) == ["0 and 255"] and more == ["--label_map=255:1"]


def test_masks_of_half_the_size(clean, capsys, tmp_path):
    corrupt.coarse(corrupt.mask_paths(clean))
    bad = corrupt.copy(clean, clean.with_name("bad"))
    corrupt.half_size(corrupt.mask_paths(bad, "train"))
    report, more = check_fixed(capsys, tmp_path, bad, clean)
    assert kinds(report) == ["Masks of another size"] and more == ["--resize_masks"]
    assert "another size: 8, such as" in unwrapped(report)
    assert "40 x 30 for 80 x 60" in unwrapped(report)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_rotated_images_with_upright_masks(clean, capsys, tmp_path, orientation):
    # Turned by 180 degrees, sizes are equal. Edges show that the mask is upright.
    bad = corrupt.copy(clean, clean.with_name("bad"))
    corrupt.rotated(corrupt.image_paths(bad)[:5], orientation)
    report, more = check_fixed(capsys, tmp_path, bad, clean)
    assert kinds(report) == ["EXIF rotation"] and more == ["--apply_exif"]
    assert ("times as strong" in unwrapped(report)) == (orientation == 3)


@pytest.mark.parametrize("orientation", [3, 6])
def test_rotated_images_with_masks_of_what_is_stored(
    clean, capsys, tmp_path, orientation
):
    # The mask is rotated as the stored image. The clean pair is both, without EXIF.
    bad = corrupt.copy(clean, clean.with_name("bad"))
    for folder in (clean, bad):
        turned = [corrupt.read(path) for path in corrupt.mask_paths(folder)]
        for path, label in zip(corrupt.mask_paths(folder), turned, strict=True):
            trees.save(path, corrupt._STORED[orientation](label))
    corrupt.rotated(corrupt.image_paths(bad), orientation)
    for path in corrupt.image_paths(clean):
        pixels = corrupt._STORED[orientation](images.read_image(path))
        trees.save(path, pixels[..., ::-1])
    _, more = check_fixed(capsys, tmp_path, bad, clean)
    assert more == ["--ignore_exif"]


def test_masks_that_fit_rotated_images_in_two_ways(clean, capsys):
    corrupt.rotated(corrupt.image_paths(clean)[:3], 6)
    path = corrupt.mask_paths(clean)[0]
    trees.save(path, corrupt._STORED[6](corrupt.read(path)))
    status, report, _ = examined(capsys, *flags(clean))
    assert status == 2
    assert "that fit the upright image: 2, the image as stored: 1," in unwrapped(report)
    assert "--leave_out: train:train0" in report and "--apply_exif" not in report


def test_duplicates_in_one_split_are_a_note(clean, capsys):
    for folder in ("images", "masks"):
        first = clean / folder / "train" / "train0.png"
        (first.with_stem("again")).write_bytes(first.read_bytes())
    status, report, _ = examined(capsys, *flags(clean))
    assert status == 0 and kinds(report) == ["Duplicates (nothing to do)"]
    assert "train:again = train:train0. Each copy counts" in unwrapped(report)


def test_two_files_of_one_name_and_splits_without_masks(clean, capsys):
    path = clean / "images/train/train0.png"
    trees.save(path.with_suffix(".jpg"), images.read_image(path))
    trees.save(clean / "images/test/t.png", trees.image(1))
    status, report, error = examined(capsys, *flags(clean))
    assert status == 2
    assert kinds(report) == [
        "Files of the same name",
        "Splits without labels (nothing to do)",
    ]
    assert "No image of split 'test' has a label" in unwrapped(report)
    assert "No option fixes files of the same name" in error


@pytest.mark.parametrize(
    ("mode", "file_format", "expected"),
    [
        ("1", "PNG", []),
        ("LA", "PNG", ["Color masks"]),
        ("RGBA", "PNG", ["Color masks"]),
        ("CMYK", "JPEG", ["Colors with artifacts"]),
    ],
)
def test_one_mask_of_another_kind_is_found(clean, capsys, mode, file_format, expected):
    path = corrupt.mask_paths(clean)[0]
    Image.fromarray(corrupt.read(path)).convert(mode).save(path, file_format)
    _, report, _ = examined(capsys, *flags(clean))
    assert kinds(report) == expected
    assert not expected or f"     {path}\n" in report


def test_leaks_are_left_out_of_train(clean, capsys, tmp_path):
    bad = corrupt.copy(clean, clean.with_name("bad"))
    corrupt.leak(bad, 2)
    report, more = check_fixed(capsys, tmp_path, bad, clean)
    assert kinds(report) == ["Leaks"] and more == [f"--leave_out={bad}/leave_out.txt"]
    assert "train:again_val0 = val:val0" in report
    assert (bad / "leave_out.txt").read_text() == (
        "train:again_val0 # leaks\ntrain:again_val1 # leaks\n"
    )


def test_images_that_were_saved_again_are_leaks_too(clean, capsys, tmp_path):
    bad = corrupt.copy(clean, clean.with_name("bad"))
    corrupt.leak(bad, 1)
    path = bad / "images/train/again_val0.png"
    pixels = images.read_image(path)[..., ::-1]
    path.unlink()
    trees.save(path.with_suffix(".jpg"), pixels)
    report, _ = check_fixed(capsys, tmp_path, bad, clean)
    assert "in several splits: 1, 1 of them nearly identical" in unwrapped(report)


def test_images_of_one_texture_are_no_leaks():
    # Their thumbnails differ by a level or two only, but their details differ.
    scans = []
    for i, split in enumerate(("train", "train", "val", "val")):
        noise = np.random.default_rng(i).integers(118, 139, (256, 256, 3), np.uint8)
        path = pathlib.Path(f"{i}.png")
        trees.save(path, noise)
        pair = pairs.Pair(str(i), str(path), str(path))
        scans.append(scanning.scan(split, pair, 10**6))
    assert np.ptp([scan.thumbnail for scan in scans], axis=0).max() <= 4
    assert not list(duplicates.examine(scans))


def test_masks_that_are_all_ignored_and_files_alone(clean, capsys, tmp_path):
    bad = corrupt.copy(clean, clean.with_name("bad"))
    corrupt.add_void(bad)
    corrupt.add_unpaired(bad)
    report, more = check_fixed(capsys, tmp_path, bad, clean)
    assert kinds(report) == [
        "Files without a counterpart",
        "Masks that are all ignored",
    ]
    assert f"{bad}/images/train/alone.png" in report
    assert f"{bad}/masks/val/orphan.png" in report
    assert more == [f"--leave_out={bad}/leave_out.txt"]
    assert (bad / "leave_out.txt").read_text() == (
        "train:alone # files without a counterpart\n"
        "val:orphan # files without a counterpart\n"
        "train:unseen # masks that are all ignored\n"
    )


def test_an_existing_list_is_never_overwritten(clean, capsys, tmp_path):
    corrupt.add_void(clean)
    (tmp_path / "leave_out.txt").write_text("train:train0 # mine\n")
    _, report, _ = examined(capsys, *flags(clean), "--leave_out_file=leave_out.txt")
    assert "--leave_out=leave_out_2.txt" in printed_flags(report)
    assert (tmp_path / "leave_out.txt").read_text() == "train:train0 # mine\n"
    given = "--leave_out=leave_out.txt", "--leave_out_file=leave_out.txt"
    _, report, _ = examined(capsys, *flags(clean), *given)
    assert "--leave_out=leave_out_3.txt" in printed_flags(report)
    assert (tmp_path / "leave_out_3.txt").read_text() == (
        "train:train0 # mine\ntrain:unseen # masks that are all ignored\n"
    )


def test_damaged_files_and_masks_of_other_images(clean, capsys, tmp_path):
    bad = corrupt.copy(clean, clean.with_name("bad"))
    damaged = bad / "images/train/train1.png"
    damaged.write_bytes(damaged.read_bytes()[:-50])
    trees.save(bad / "masks/train/train2.png", np.zeros((60, 60), np.uint8))
    status, report, _ = examined(capsys, *flags(bad))
    assert status == 2
    assert kinds(report) == [
        "Files that cannot be read",
        "Masks of another aspect ratio",
    ]
    assert "train1.png: the png file is damaged or truncated" in unwrapped(report)
    assert "60 x 60 for 80 x 60" in unwrapped(report)
    found = built(tmp_path / "fixed", *printed_flags(report))
    assert len(records.open_split(found, "train")) == 6


def test_masks_of_16_bits_are_read_exactly(clean, capsys, tmp_path):
    bad = corrupt.copy(clean, clean.with_name("bad"))
    for path in corrupt.mask_paths(bad):
        trees.save(path, corrupt.read(path).astype(np.uint16))
    status, report, _ = examined(capsys, *flags(bad))
    assert status == 0 and "Masks: 12 gray PNG." in report
    fixed = built(tmp_path / "fixed", *printed_flags(report))
    corrupt.check_equal(fixed, built(tmp_path / "expected", *flags(clean)))


def test_masks_with_values_above_255_are_not_all_left_out(clean, capsys):
    for path in corrupt.mask_paths(clean):
        trees.save(path, corrupt.read(path).astype(np.uint16) + 1000)
    status, report, error = examined(capsys, *flags(clean))
    assert status == 2 and "16-bit gray with values above 255: 10" in unwrapped(report)
    assert "--leave_out" not in report and "Build with" not in report
    assert "No option fixes files that cannot be read" in error


def interpolated(paths):
    """Resizes with interpolation, to three quarters and back."""
    for path in paths:
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        small = cv2.resize(pixels, None, fx=0.75, fy=0.75)
        trees.save(path, cv2.resize(small, pixels.shape[1::-1]))


def test_interpolated_masks_of_two_classes_are_fixed_but_for_thin_things(
    clean, capsys, tmp_path
):
    corrupt.two_classes(corrupt.mask_paths(clean))
    bad = corrupt.copy(clean, clean.with_name("bad"))
    corrupt.zero_and_255(corrupt.mask_paths(bad))
    interpolated(corrupt.mask_paths(bad))
    two = "ground,shape"
    status, report, _ = examined(capsys, *flags(bad, two))
    assert status == 2 and kinds(report) == ["Values with artifacts"]
    assert "nearest of 0, 255 and ignore 0.00% of the pixels" in unwrapped(report)
    fixed = corrupt.contents(built(tmp_path / "fixed", *printed_flags(report)))
    expected = corrupt.contents(built(tmp_path / "expected", *flags(clean, two)))
    for split, each in fixed.items():
        for name, (_, label) in each.items():
            assert (label == expected[split][name][1]).mean() > 0.98


@pytest.mark.parametrize("corruption", ["jpeg", "resized"])
def test_colors_with_artifacts_are_mapped_closely(clean, capsys, tmp_path, corruption):
    bad = corrupt.copy(clean, clean.with_name("bad"))
    if corruption == "jpeg":
        corrupt.jpeg(corrupt.mask_paths(bad), corrupt.colors_of(SHAPES))
    else:
        corrupt.colors(corrupt.mask_paths(bad), corrupt.colors_of(SHAPES))
        interpolated(corrupt.mask_paths(bad))
    status, report, _ = examined(capsys, *flags(bad))
    title = {"jpeg": "JPEG masks", "resized": "Colors with artifacts"}[corruption]
    assert status == 2 and kinds(report) == [title]
    assert "--colormap=shapes" in printed_flags(report)
    assert "It is better to export the masks again, as PNG." in unwrapped(report)
    found = built(tmp_path / "fixed", *printed_flags(report))
    expected = corrupt.contents(built(tmp_path / "expected", *flags(clean)))
    labels = [
        (label, expected[split][name][1])
        for split, each in corrupt.contents(found).items()
        for name, (_, label) in each.items()
    ]
    kept = [(ours[ours != 255], theirs[ours != 255]) for ours, theirs in labels]
    right = sum((ours == theirs).sum() for ours, theirs in kept)
    assert right > 0.97 * sum(ours.size for ours, _ in kept)


def test_gray_jpeg_masks_of_two_classes(clean, capsys, tmp_path):
    corrupt.two_classes(corrupt.mask_paths(clean))
    bad = corrupt.copy(clean, clean.with_name("bad"))
    for path in corrupt.mask_paths(bad):
        trees.save(path.with_suffix(".jpg"), corrupt.read(path) * np.uint8(255))
        path.unlink()
    report, more = check_fixed(capsys, tmp_path, bad, clean, classes="ground,shape")
    assert kinds(report) == ["JPEG masks"]
    assert more == ["--label_map=0:0,255:1", "--mask_tolerance=127"]


def test_options_that_damage_other_masks_are_reported(clean, capsys):
    # JPEGs of 0 and 255 need a tolerance, which merges 0 and 1 of the PNGs.
    corrupt.two_classes(corrupt.mask_paths(clean))
    for path in corrupt.mask_paths(clean)[:4]:
        trees.save(path.with_suffix(".jpg"), corrupt.read(path) * np.uint8(255))
        path.unlink()
    status, report, error = examined(capsys, *flags(clean, "ground,shape"))
    assert status == 2
    assert kinds(report) == ["JPEG masks", "Masks that need other options"]
    assert f"     {corrupt.mask_paths(clean)[4]}" in report
    assert "No option fixes masks that need other options" in error


def test_gray_values_stand_for_classes(clean, capsys, tmp_path):
    bad = corrupt.copy(clean, clean.with_name("bad"))
    for path in corrupt.mask_paths(bad):
        label = corrupt.read(path)
        trees.save(path, np.where(label == 255, 255, label * 40).astype(np.uint8))
    report, more = check_fixed(capsys, tmp_path, bad, clean)
    assert kinds(report) == ["Gray values instead of class numbers"]
    assert more == ["--label_map=0:0,40:1,80:2,120:3,160:4,200:5"]


def test_one_value_too_many_can_mean_three_things(clean, capsys):
    # 0 to 5 and void as 6, as in CamVid; or 5 classes and a background.
    status, report, _ = examined(capsys, *flags(clean, "circle,square,triangle,star,x"))
    assert status == 2 and kinds(report) == ["One value too many"]
    text = unwrapped(report)
    assert "ignores 5. If 0 is unlabeled, give --label_offset=-1" in text
    assert (
        "If 0 is a class that is missing in --classes, such as background, add it"
        in text
    )


def test_numbers_from_1_with_void_after_them(clean, capsys, tmp_path):
    bad = corrupt.copy(clean, clean.with_name("bad"))
    for path in corrupt.mask_paths(bad):
        label = corrupt.read(path)
        trees.save(path, np.where(label == 255, 7, label + 1).astype(np.uint8))
    report, more = check_fixed(capsys, tmp_path, bad, clean)
    assert "1 to 7 and never 0, but 6 classes are 0 to 5" in unwrapped(report)
    assert more == ["--label_offset=-1", "--label_map=7:255"]


def test_jpeg_masks_of_class_numbers_cannot_be_recovered(clean, capsys):
    for path in corrupt.mask_paths(clean):
        trees.save(path.with_suffix(".jpg"), corrupt.read(path))
        path.unlink()
    status, report, error = examined(capsys, *flags(clean))
    assert status == 2 and kinds(report) == ["JPEG masks"]
    assert "too close to each other. Export the masks again, as PNG." in unwrapped(
        report
    )
    assert "No option fixes JPEG masks" in error


def test_values_that_no_option_fixes_are_named(clean, capsys):
    path = corrupt.mask_paths(clean)[0]
    label = corrupt.read(path)
    label[20:22, :10] = 77
    trees.save(path, label)
    status, report, error = examined(capsys, *flags(clean))
    assert status == 2 and kinds(report) == ["Values that are not a class"]
    assert f"     {path}" in report and "the masks hold 77 (20 pixels)" in unwrapped(
        report
    )
    assert "No option fixes values that are not a class" in error


def test_names_with_a_suffix_in_nested_folders(tmp_path, capsys):
    root = tmp_path / "set [1]"
    for i in range(4):
        trees.save(root / f"images/x/{i}.png", trees.image(i))
        trees.save(root / f"masks/x/{i}_mask.png", trees.label(i, 2))
    folders = [f"--images={root}/images", f"--masks={root}/masks/"]
    left = ["--contact_sheet=", f"--leave_out_file={tmp_path}/out.txt"]
    _, report, _ = examined(capsys, *folders, "--classes=a,b", *left)
    expected = f"{tmp_path}/set [[]1]/masks/**/*_mask.*"
    assert f"--masks='{expected}'" in report and "4 pairs: train 3, val 1." in report
    found = [f"--images={root}/images", f"--masks={expected}"]
    status, report, _ = examined(capsys, *found, "--classes=a,b", *left)
    assert status == 0, report


def test_names_with_a_prefix_and_a_suffix(clean, capsys, tmp_path):
    for path in corrupt.mask_paths(clean):
        path.rename(path.with_name(f"label_{path.stem}_mask.png"))
    status, report, _ = examined(capsys, *flags(clean))
    assert status == 2 and kinds(report) == ["Files without a counterpart"]
    found = printed_flags(report)
    assert f"--masks={clean}/masks/{{split}}/label_*_mask.*" in found
    assert len(records.open_split(built(tmp_path / "r", *found), "train")) == 8


def test_without_classes_the_doctor_lists_the_values_to_name(clean, capsys):
    status, report, _ = examined(capsys, *flags(clean)[:2])
    assert status == 0
    assert "The masks hold 0, 1, 2, 3, 4, 5. Name their classes" in unwrapped(report)
    assert "The classes are not named yet. Give --classes" in report


def test_images_of_two_lists_are_a_leak(clean, capsys, tmp_path):
    (tmp_path / "train.txt").write_text("train/train0\ntrain/train1\nval/val0\n")
    (tmp_path / "val.txt").write_text("val/val0\nval/val1\n")
    given = [
        *(f"--images={clean}/images", f"--masks={clean}/masks", f"--classes={SIX}"),
        "--lists=train.txt,val.txt",
    ]
    status, report, _ = examined(capsys, *given)
    assert status == 2
    assert kinds(report) == ["Leaks", "Images in no list (nothing to do)"]
    found = corrupt.contents(built(tmp_path / "r", *printed_flags(report)))
    assert {split: list(each) for split, each in found.items()} == {
        "train": ["train/train0", "train/train1"],
        "val": ["val/val0", "val/val1"],
    }


def everything(folder, table):
    """Corrupts a copy in all ways that flags can undo together.

    Of every five masks two are off by one, one of these with a palette; one is in
    colors, and one of half the size. The fifth is off by one, of a rotated image.
    """
    corrupt.leak(folder, 2)
    in_colors = corrupt.mask_paths(folder)[3::5]
    corrupt.off_by_one(set(corrupt.mask_paths(folder)) - {*in_colors})
    corrupt.palette(corrupt.mask_paths(folder)[2::5])
    corrupt.half_size(corrupt.mask_paths(folder)[1::5])
    corrupt.colors(in_colors, table)
    corrupt.rotated(corrupt.image_paths(folder)[4::5], 6)
    corrupt.add_void(folder)
    corrupt.add_unpaired(folder)


def check_everything(capsys, tmp_path, clean, table, colormap, classes):
    corrupt.coarse(corrupt.mask_paths(clean))
    bad = corrupt.copy(clean, clean.with_name("bad"))
    everything(bad, table)
    report, more = check_fixed(capsys, tmp_path, bad, clean, classes=classes)
    assert sorted(kinds(report)) == sorted(
        [
            "Files without a counterpart",
            "EXIF rotation",
            "Masks of another size",
            "Labels off by one",
            "Color masks",
            "Leaks",
            "Masks that are all ignored",
            "Palettes (nothing to do)",
        ]
    )
    assert sorted(more) == sorted(
        [
            f"--leave_out={bad}/leave_out.txt",
            "--label_offset=-1",
            f"--colormap={colormap}",
            "--resize_masks",
            "--apply_exif",
        ]
    )
    return report


def test_everything_at_once(clean, capsys, tmp_path):
    table = corrupt.colors_of(SHAPES)
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
    clean = corrupt.write(tmp_path / "clean", camvid(pathlib.Path(folder)))
    table = corrupt.colors_of(datasets.get("camvid").palette, void=(0, 0, 0))
    colormap = "camvid,000000:255"
    report = check_everything(capsys, tmp_path, clean, table, colormap, "camvid")
    print(report)


@pytest.mark.slow
def test_0_and_255_on_camvid(capsys, tmp_path):
    folder = os.environ.get("KERASSEG_CAMVID") or pytest.skip(
        "$KERASSEG_CAMVID names no folder of CamVid"
    )
    clean = corrupt.write(tmp_path / "clean", camvid(pathlib.Path(folder)))
    corrupt.two_classes(corrupt.mask_paths(clean))
    bad = corrupt.copy(clean, clean.with_name("bad"))
    corrupt.zero_and_255(corrupt.mask_paths(bad))
    report, more = check_fixed(capsys, tmp_path, bad, clean, classes="sky,ground")
    assert kinds(report) == ["0 and 255"] and more == ["--label_map=255:1"]
