"""Every command and flag that a message of build and inspect proposes works.

A fault is written into a folder with an awkward name; the message that it causes is
read; and what it proposes is run. `test_every_message_with_a_command_is_run` fails for
a message that no fault here causes.
"""

import collections
import json
import pathlib
import shutil

import numpy as np
import pytest

from kerasseg import images
from tests.support import commands, corrupt, remedies, trees
from tfrecords_tools import build, inspect

MAINS = {"tfrecords_tools.build": build.main, "tfrecords_tools.inspect": inspect.main}
SIX = ",".join(corrupt.CLASSES)
AWKWARD = "it's [1] a, $HOME & «b»"
SEEN: dict[str, list] = collections.defaultdict(list)  # Texts by fault.


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return corrupt.write(tmp_path_factory.mktemp("clean"), corrupt.drawn(4, 2))


def run(capsys, module, arguments):
    capsys.readouterr()
    status = commands.run(MAINS[module], *arguments)
    texts = capsys.readouterr()
    return status, f"{texts.out}\n{texts.err}"


def own(folder, classes=SIX, masks="masks"):
    images = f"--images={folder}/images/{{split}}/*"
    return [images, f"--masks={folder}/{masks}/{{split}}/*", f"--classes={classes}"]


def flat(folder, classes="a,b"):
    """Two small pairs without splits; returns their flags."""
    for i in range(2):
        trees.save(folder / f"i/{i}.png", trees.image(i, 20, 32))
        trees.save(folder / f"m/{i}.png", trees.label(i, 2, 20, 32))
    masks = f"--masks={folder}/m"
    return [f"--images={folder}/i", masks, f"--classes={classes}", "--val_fraction=0"]


def annotated(folder, name="car", kind="polygon"):
    """Two labelme files, of which the first has another shape; returns their flags."""
    points = [[0, 0], [8, 0], [8, 8], [0, 8]]
    car = {"label": "car", "points": points, "shape_type": "polygon"}
    if kind == "point":
        points = points[:1]
    other = {"label": name, "points": points, "shape_type": kind}
    (folder / "a").mkdir()
    for i, shapes in enumerate([[car, other], [car]], start=1):
        trees.save(folder / f"i/{i}.png", trees.image(i, 20, 32))
        content = {"imagePath": f"{i}.png", "imageHeight": 20, "imageWidth": 32}
        text = json.dumps({**content, "shapes": shapes})
        (folder / f"a/{i}.json").write_text(text)
    return [f"--images={folder}/i", f"--annotations={folder}/a", "--val_fraction=0"]


# Faults of masks and images that the doctor finds. Each changes a clean copy.


def _unchanged(folder):
    assert folder.is_dir()


def _each(change):
    return lambda folder: change(corrupt.mask_paths(folder))


def _renamed(image, mask):
    def change(folder):
        for form, paths in ((image, corrupt.image_paths), (mask, corrupt.mask_paths)):
            for path in paths(folder):
                path.rename(path.with_name(form.format(path.stem)))

    return change


def _values(function):
    def change(folder):
        for path in corrupt.mask_paths(folder):
            trees.save(path, function(corrupt.read(path)))

    return change


def _two_colors(folder):
    corrupt.two_classes(corrupt.mask_paths(folder))
    corrupt.zero_and_255(corrupt.mask_paths(folder))


def _deep(folder):
    """One image has 16 bits, the others 8."""
    path = corrupt.image_paths(folder, "train")[0]
    deep = images.read_image(path).astype(np.uint16) * 257
    path.unlink()
    trees.save(path.with_suffix(".png"), deep)


SHAPES = corrupt.colors_of(
    np.array([[10 * i + 7, 200 - 30 * i, i] for i in range(6)], np.uint8)
)
DOCTOR = {
    "nothing": (_unchanged, []),
    "off_by_one": (_each(corrupt.off_by_one), []),
    "palette": (_each(corrupt.palette), []),
    "colors": (lambda f: corrupt.colors(corrupt.mask_paths(f), SHAPES), []),
    "jpeg": (lambda f: corrupt.jpeg(corrupt.mask_paths(f), SHAPES), []),
    "half_size": (lambda f: corrupt.half_size(corrupt.mask_paths(f)), []),
    "rotated": (lambda f: corrupt.rotated(corrupt.image_paths(f), 6), []),
    "leak": (lambda f: corrupt.leak(f, 1), []),
    "unpaired": (corrupt.add_unpaired, []),
    "void": (corrupt.add_void, []),
    "prefix": (_renamed("img {}.png", "[mask] {}.png"), []),
    "suffix": (_renamed("{}.png", "{}'s mask.png"), []),
    "case": (_renamed("A{}.png", "a{}.png"), []),
    "wide": (_values(lambda x: x.astype(np.uint16) + 300), []),
    "levels": (_values(lambda x: np.where(x == 255, 255, x * 40).astype(np.uint8)), []),
    "one_more": (_unchanged, ["--classes=a,b,c,d,e"]),
    "from_1": (
        _values(lambda x: np.where(x == 255, 7, x + 1).astype(np.uint8)),
        ["--classes=a,b,c,d,e,f"],
    ),
    "0_and_255": (_two_colors, ["--classes=a,b"]),
    "comma": (_unchanged, [f'--classes="a, b",c,"d ""x""",{"e,f,$g"}']),
    "unnamed": (_unchanged, ["--classes="]),
    "colors_unnamed": (
        lambda f: corrupt.colors(corrupt.mask_paths(f), SHAPES),
        ["--classes="],
    ),
    "deep": (_deep, []),
    "noise": (_values(lambda x: trees.image(1, *x.shape)), []),
    "unknown": (_values(lambda x: np.where(x == 1, 77, x).astype(np.uint8)), []),
    "colors_given": (
        lambda f: corrupt.colors(corrupt.mask_paths(f), SHAPES),
        ["--colormap=07c800,11aa01,1b8c02,256e03,2f5004,393205"],
    ),
    "mixed": (
        lambda f: [
            trees.save(path.with_suffix(".jpg"), corrupt.read(path) * np.uint8(255))
            or path.unlink()
            for path in [
                corrupt.two_classes(corrupt.mask_paths(f)) or path
                for path in corrupt.mask_paths(f)[:2]
            ]
        ],
        ["--classes=a,b"],
    ),
}


@pytest.mark.parametrize("fault", DOCTOR)
def test_the_build_command_of_the_doctor_works(
    fault, clean, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / AWKWARD
    shutil.copytree(clean, folder)
    change, more = DOCTOR[fault]
    change(folder)
    monkeypatch.chdir(tmp_path)
    given = remedies.replaced(own(folder), more)
    status, text = run(capsys, "tfrecords_tools.inspect", given)
    SEEN[f"doctor {fault}"].append(text)
    printed = remedies.commands(text)
    assert ("Build with" in text) == bool(printed), text
    for module, words in printed:
        built, output = run(capsys, module, [*words, "--workers=1"])
        assert built == 0, (words, output)
        SEEN[f"doctor {fault}"].append(output)
        # The build prints the command that inspects its records.
        for other, arguments in remedies.commands(output):
            assert run(capsys, other, arguments)[0] == 0, arguments
        again = [word for word in words if not word.startswith("--records_dir")]
        assert run(capsys, "tfrecords_tools.inspect", again)[0] == 0
    if not printed and fault not in ("unnamed",):
        assert status == 2
    for words in remedies.alternatives(text, given):
        if "instead" in text or fault in ("rotated",):
            changed = remedies.replaced(given, words)
            assert run(capsys, "tfrecords_tools.inspect", changed)[0] in (0, 2), words


# Faults that stop a build. Each writes files and returns the flags.


def zero_and_255(folder):
    given = flat(folder)
    for path in (folder / "m").iterdir():
        trees.save(path, trees.label(1, 2, 20, 32) * np.uint8(255))
    return given


def offset(folder):
    given = flat(folder)
    trees.save(folder / "m/0.png", trees.label(0, 1, 20, 32) + np.uint8(1))
    trees.save(folder / "m/1.png", trees.label(1, 2, 20, 32))
    return [*given, "--label_offset=-1"]


def broken(folder):
    given = flat(folder)
    (folder / "i/0.png").write_bytes(b"x")
    return given


def rotated(folder):
    given = flat(folder)
    corrupt.rotated(sorted((folder / "i").iterdir())[:1], 3)
    return given


def one_class(folder):
    return flat(folder, "road")


def unnamed(folder):
    return flat(folder, "")


def list_from_1(folder):
    (folder / "c.txt").write_text("1 a\n2 b\n")
    return flat(folder, f"{folder}/c.txt")


def colormap(folder):
    (folder / "c.txt").write_text('0 0 0 a\n1 1 1 b\n2 2 2 door, "double" d\'or\n')
    return [*flat(folder), f'--colormap="{str(folder).replace(chr(34), "")}/c.txt"']


def one_name(folder):
    return [*annotated(folder, 'door, "d" d\'or: 1'), "--classes=background,car"]


def two_names(folder):
    more = ["--classes=background,car", "--label_map=tree:255"]
    given = annotated(folder, "x, y")
    path = folder / "a/1.json"
    path.write_text(path.read_text().replace('"car"', '"tree"', 1))
    return [*given, *more]


def point(folder):
    return annotated(folder, kind="point")


def missing(folder):
    trees.camvid(folder)
    (folder / "val/val_00.png").unlink()
    return ["--dataset=camvid", f"--source_dir={folder}"]


def lists(folder):
    (folder / "train.txt").write_text("0\n1\n")
    return [*flat(folder), f'--lists="{folder}/train.txt"', "--splits=val"]


def one_image(folder):
    given = flat(folder)
    for path in (folder / "i/1.png", folder / "m/1.png"):
        path.unlink()
    return [*given[:-1], "--splits=val"]


def nothing(folder):
    return [f"--images={folder}", f"--masks={folder}", "--classes=a,b"]


BUILD = {
    zero_and_255: ["--label_map=255:1", "--label_map=255:255"],
    offset: ["--label_map=0:255"],
    broken: ["--on_error=skip"],
    rotated: ["--apply_exif", "--ignore_exif"],
    one_class: ["--classes=background,road"],
    unnamed: ["--classes=background,road"],
    list_from_1: [],  # Needs other changes, too.
    colormap: ['--label_map="door, ""double"" d\'or:255"'],
    one_name: ['--label_map="door, ""d"" d\'or: 1:255"'],
    two_names: ['--label_map=tree:255,"x, y:255"'],
    point: ["--skip_shapes=point"],
    missing: ["--on_error=skip"],
    lists: ["--splits=train"],
    one_image: ["--splits=train"],
    nothing: [],
}


@pytest.mark.parametrize("fault", BUILD, ids=lambda fault: fault.__name__)
def test_the_flags_that_an_error_proposes_work(fault, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / AWKWARD.replace(",", "")
    folder.mkdir()
    given = [*fault(folder), "--workers=1", "--records_dir=r"]
    if not given[0].startswith("--dataset"):
        given.insert(0, "--dataset=folder")
    status, text = run(capsys, "tfrecords_tools.build", given)
    SEEN[fault.__name__].append(text)
    assert status == 2 and "Traceback" not in text
    groups = [
        words
        for words in remedies.alternatives(text, given)
        if not any(map(remedies.PLACEHOLDERS.search, words))
    ]
    proposed = [word for words in groups for word in words]
    assert {*BUILD[fault]} <= {*proposed}, (proposed, text)
    for words in groups if BUILD[fault] else []:
        changed = remedies.replaced(given, words)
        status, text = run(capsys, "tfrecords_tools.build", changed)
        assert status == 0, (words, text)
        shutil.rmtree("r")


# Why the flags of a message are not run here.
NOT_RUN = {
    "Pixels of no class": "one_class",
    "Number of synthetic images": "help text",
    "Build labels with several classes": "help text",
    "With --engine=beam, the": "help text",
    "Path of the contact sheet": "help text",
    "--beam_options needs": "tests/tfrecords_tools/test_beam_engine.py",
    "For your own annotations, use": "names this page's whole command",
    "does not name the classes of its": "tests/tfrecords_tools/test_tfds.py",
    "does not name the classes. Name": "tests/tfrecords_tools/test_webdataset.py",
    "would merge two values": "repeats the option of a finding",
    "cannot be written": "tests/tfrecords_tools/test_inspect.py",
    "not written (": "tests/tfrecords_tools/test_inspect.py",
    "For a contact sheet": "tests/tfrecords_tools/test_odd_folders.py",
    "seeds need the logits": "tests/tfrecords_tools/test_seeds.py",
    "pip install": "tests/project/test_remedies.py",
    "engine=beam` needs Apache": "tests/project/test_remedies.py",
}


def test_every_message_with_a_command_is_run():
    if len(SEEN) < len(DOCTOR) + len(BUILD):
        pytest.skip("needs the other tests of this file in the same process")
    texts = [" ".join(text.split()) for each in SEEN.values() for text in each]
    missing = []
    for path, line, template in remedies.templates("tfrecords_tools"):
        if not any(text in template for text in NOT_RUN) and (
            "=" in template and ("`" in template or "--" in template)
        ):
            expression = remedies.pattern(" ".join(template.split()))
            if not any(expression.search(text) for text in texts):
                missing.append(f"{path}:{line}: {template!r}")
    assert not missing, "\n".join(missing)


def test_commands_and_flags_are_read_as_a_shell_reads_them():
    text = """Run python -m tfrecords_tools.build --a='x y' \\
        --b="it's" --c. It's then done. python -m tfrecords_tools.inspect helps."""
    assert remedies.commands(text) == [
        ("tfrecords_tools.build", ["--a=x y", "--b=it's", "--c"])
    ]
    text = "Give --label_map=255:1 if 1, or --label_offset=-1 --label_map='0, 1:2'. "
    text += "Or --apply_exif, not --classes alone."
    assert remedies.alternatives(text, []) == [
        *(["--label_map=255:1"], ["--label_offset=-1", "--label_map=0, 1:2"]),
        ["--apply_exif"],
    ]
    assert pathlib.Path(remedies.ROOT, "tests").is_dir()
