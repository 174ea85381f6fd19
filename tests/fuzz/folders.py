"""Draws odd folders of images and masks, lists of images, and lists of classes."""

import os
import pathlib
import unicodedata

import cv2
import numpy as np
from hypothesis import strategies as st

from kerasseg import images

HEIGHT, WIDTH = 6, 8
_PARTS = [
    "img",
    "IMG",
    "mask",
    "é",
    "1",
    "01",
    "_",
    " ",
    "-",
    ".",
    "[1]",
    "{",
    "'",
    '"',
]
_PARTS += ["$x", ",", ";", "#", "\\", "ß", "\u202e", "%", "*"]
STEMS = st.lists(st.sampled_from(_PARTS), min_size=1, max_size=3).map("".join)
STEMS = STEMS.filter(lambda stem: not stem.startswith("."))
SUFFIXES = st.sampled_from(
    [".png", ".jpg", ".PNG", ".JPEG", ".jfif", ".mpo", ".heic", ".tif", ".txt", ""]
)
KINDS = st.sampled_from(
    ["same", "same", "same", "same", "case", "nfd", "prefix", "none", "twice"]
)
CONTENTS = st.sampled_from(
    [
        *(["plain"] * 6),
        *("16 bits", "palette", "colors", "jpeg", "junk", "empty", "size"),
        *("link", "fifo", "gone", "alpha", "cut"),
    ]
)


def _pixels(content, is_mask, seed):
    rng = np.random.default_rng(seed)
    height = HEIGHT + (content == "size")
    if content in ("colors", "alpha") or (content in ("plain", "size") and not is_mask):
        channels = 4 if content == "alpha" else 3
        return rng.integers(0, 256, (height, WIDTH, channels), np.uint8)
    kind = np.uint16 if content == "16 bits" else np.uint8
    return rng.integers(0, 2, (height, WIDTH), kind)


def write_file(path, content, is_mask, seed):
    """Writes an image or a mask of one of `CONTENTS`; returns whether it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path):
        return False
    if content == "fifo":
        os.mkfifo(path)
    elif content == "gone":
        os.symlink("nowhere", path)
    elif content == "link":
        (path.parent / ".real").write_bytes(_encoded("plain", is_mask, seed))
        os.symlink(".real", path)
    elif content in ("junk", "empty"):
        path.write_bytes(b"II*\0junk" if content == "junk" else b"")
    else:
        path.write_bytes(_encoded(content, is_mask, seed))
    return True


def _encoded(content, is_mask, seed):
    pixels = _pixels(content, is_mask, seed)
    if content == "palette":
        palette = np.array([[0, 0, 0], [9, 9, 9]], np.uint8)
        return images.encode_palette_png(pixels.astype(np.uint8), palette)
    suffix = ".jpg" if content == "jpeg" else ".png"
    data = cv2.imencode(suffix, pixels)[1].tobytes()
    return data[:-9] if content == "cut" else data


@st.composite
def trees(draw):
    """Draws a list of (folder, name, content): images in "i" and masks in "m"."""
    files = []
    for stem in draw(st.lists(STEMS, min_size=1, max_size=6, unique=True)):
        folder = draw(st.sampled_from(["", "", "x/", "set [1]/"]))
        files.append(("i", f"{folder}{stem}{draw(SUFFIXES)}", draw(CONTENTS)))
        kind, suffix = draw(KINDS), draw(st.sampled_from([".png", ".png", ".PNG"]))
        masks = {
            "case": [stem.swapcase()],
            "nfd": [unicodedata.normalize("NFD", stem)],
            "prefix": [f"mask_{stem}"],
            "none": [],
            "twice": [stem, f"x/{stem}"],
        }.get(kind, [stem])
        files += [("m", f"{folder}{mask}{suffix}", draw(CONTENTS)) for mask in masks]
    return files


@st.composite
def links(draw):
    """Draws links between the folders of a tree, perhaps to themselves."""
    targets = st.sampled_from([".", "..", "../i", "x", "../m", "/dev/null"])
    names = st.sampled_from(["i/loop", "i/x/loop", "m/loop", "m/x/up", "i/again"])
    return draw(st.lists(st.tuples(names, targets), max_size=3))


def write(root: pathlib.Path, files, linked=()):
    """Writes a tree."""
    for folder in ("i", "m"):
        (root / folder).mkdir()
    for seed, (folder, name, content) in enumerate(files):
        write_file(root / folder / name, content, folder == "m", seed)
    for name, target in linked:
        if (root / name).parent.is_dir() and not os.path.lexists(root / name):
            os.symlink(target, root / name)


_NUMBER = st.integers(-2, 300).map(str)
_SEPARATOR = st.sampled_from([" ", ",", ", ", "\t", ":", ": ", ";", "=", " - ", ". "])
_NAME = st.sampled_from(
    [
        *("road", "car park", "Road", "void", "__ignore__", "background", "a,b", "#x"),
        *("4x4", "name", "'q'", "-", "{", "ü", "<b>", "[1]", "1"),
    ]
)


@st.composite
def class_files(draw):
    """Draws the text of a list of classes, mostly of one form in all lines."""
    forms = st.permutations(["name", "number", "color"]).map(
        lambda order: order[: draw(st.integers(1, 3))]
    )
    form, separator = draw(forms), draw(_SEPARATOR)
    lines = draw(st.sampled_from([[], ["name,r,g,b"], ["id;name"], ["# comment"]]))
    for i in range(draw(st.integers(0, 5))):
        if not draw(st.integers(0, 9)):
            form = draw(forms)
        texts = {
            "name": draw(_NAME) + draw(st.sampled_from(["", "", str(i)])),
            "number": draw(st.sampled_from([str(i), str(i), str(i + 1), "255"])),
            "color": draw(
                st.sampled_from(
                    ["1 2 3", f"{i},{i},{i}", "#0102ff", "[1, 2, 3]", "1.5 2 3"]
                )
            ),
        }
        lines = [*lines, separator.join(texts[part] for part in form)]
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines)


@st.composite
def list_files(draw, names):
    """Draws a list of images, of names and of lines that name none of them."""
    forms = ["{}", "{}.png", "photos/{}.jpg", "i\\{}", "{0} {0}", "i/{0}.jpg m/{0}.png"]
    forms += ["{},{}", '"{}"', "{} 1", "x/{}", "# {}"]
    others = st.sampled_from([*names, *names, "none", "a b"])
    return "\n".join(
        draw(st.sampled_from(forms)).format(draw(others), draw(others))
        for _ in range(draw(st.integers(0, 4)))
    )
