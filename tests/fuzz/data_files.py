"""Damaged image, record, MATLAB, HDF5 and archive files, made from whole ones."""

import io
import json
import struct
import tarfile
import zipfile
import zlib

import cv2
import h5py
import numpy as np
from hypothesis import strategies
from scipy import io as scipy_io

from kerasseg import datasets, images, records
from tests.fuzz import values
from tests.support import tiny, trees

_PIXELS = trees.image(1, 8, 12)


def _encoded(suffix, pixels, *options):
    return cv2.imencode(suffix, pixels, options)[1].tobytes()


_GRAY = trees.label(1, 3, 8, 12)
IMAGES = {
    "rgb": images.encode_image(_PIXELS),
    "gray": images.encode_label(_GRAY),
    "gray16": images.encode_label(_GRAY.astype(np.uint16) * 999),
    "palette": images.encode_palette_png(_GRAY, datasets.get("camvid").palette),
    "alpha": _encoded(".png", np.dstack([_PIXELS, _GRAY])),
    "jpeg": _encoded(".jpg", _PIXELS),
    "progressive": _encoded(".jpg", _PIXELS, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "gray_jpeg": _encoded(".jpg", _GRAY),
}


def _chunks(data):
    """Splits a PNG file into kinds and contents."""
    position = 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        yield data[position + 4 : position + 8], data[position + 8 :][:length]
        position += 12 + length


@strategies.composite
def _valid_chunks(draw, data):
    """A PNG file with changed chunks whose checksums are right."""
    parts = [[kind, content] for kind, content in _chunks(data)]
    i = draw(strategies.integers(0, len(parts) - 1))
    parts[i][1] = draw(values.damaged(parts[i][1] or b"x"))
    names = strategies.sampled_from(
        [
            b"acTL",
            b"tEXt",
            b"zTXt",
            b"iTXt",
            b"eXIf",
            b"iCCP",
            b"PLTE",
            b"tRNS",
            b"fcTL",
        ]
    )
    if draw(strategies.booleans()):
        place = draw(strategies.integers(0, len(parts)))
        parts.insert(place, [draw(names), draw(strategies.binary(max_size=40))])
    return data[:8] + b"".join(
        struct.pack(">I", len(x)) + k + x + struct.pack(">I", zlib.crc32(k + x))
        for k, x in parts
    )


@strategies.composite
def image_files(draw):
    """Bytes of an image file."""
    data = IMAGES[draw(strategies.sampled_from(sorted(IMAGES)))]
    if data[:4] == b"\x89PNG" and draw(strategies.booleans()):
        return draw(_valid_chunks(data))
    return draw(values.damaged(data))


@strategies.composite
def examples(draw):
    """Bytes of a record, of which image and label may be any of `image_files`."""
    pick = image_files() | strategies.sampled_from(sorted(IMAGES.values()))
    data = records.encode_example(
        image=draw(pick),
        label=draw(pick),
        instance=draw(strategies.none() | pick),
        name="a.png",
        image_format="png",
        height=8,
        width=12,
    )
    return draw(strategies.just(data) | values.damaged(data))


def manifest(folder):
    """The content of a dataset.json, whose records lie in `folder`."""
    tiny.write_records(folder, train=2, val=1)
    return json.loads((folder / records.INFO_FILE).read_text())


def _mat():
    cells = np.array(["x", "yz"], object)
    file = io.BytesIO()
    scipy_io.savemat(file, {"y": {"a": np.eye(3), "b": cells}, "x": np.eye(4)})
    return file.getvalue()


def _hdf5():
    file = io.BytesIO()
    with h5py.File(file, "w") as content:
        content.create_dataset("x", data=np.eye(6), chunks=(1, 6), compression="gzip")
    return file.getvalue()


def _tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("top/a", "top/" + "b" * 150):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"abc"))
    return file.getvalue()


def _zip():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("top/a", "top/b"):
            archive.writestr(name, b"abc" * 50)
    return file.getvalue()


MATS = values.damaged(_mat())
HDF5S = values.damaged(_hdf5())
ARCHIVES = values.damaged(_tar()) | values.damaged(_zip())
