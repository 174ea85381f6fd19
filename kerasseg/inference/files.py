"""Folders of pictures to folders of masks."""

import collections
import functools
import glob
import itertools
import os
import pathlib

import cv2
import tensorflow as tf

from kerasseg import durable, images, progress, visualize, workers

# Of a folder these are pictures; the formats that cannot be read are told at the end.
_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
)


def find_pictures(given: str, output_dir: str) -> dict[str, pathlib.Path]:
    """Lists what shall be predicted.

    Args:
        given: A file, a folder (searched with its sub-folders for pictures, by their
            endings), or a pattern such as `DIR/**/*.jpg`.
        output_dir: Where results go; those of an earlier run are left out.

    Returns:
        Paths by the name of their result, sorted: the path below the folder or below
        the part of the pattern without wildcards, the ending replaced by `.png`.

    Raises:
        FileNotFoundError: There is nothing to predict.
        ValueError: Results of two pictures would have one name.
    """
    root, found = _find(given, _result_folders(output_dir))
    if not found:
        raise FileNotFoundError(
            f"--input={given}: no picture is there. Give a JPEG or PNG file, a folder "
            f"of them, or a pattern in quotes such as 'DIR/*.jpg'."
        )
    groups = collections.defaultdict(list)
    for path in sorted(found):
        groups[os.fspath(path.relative_to(root).with_suffix(".png"))].append(path)
    for name, paths in groups.items():
        if len(paths) > 1:
            raise ValueError(
                f"{' and '.join(map(str, paths))} would both become {name}. Rename "
                f"one, or predict them into different folders."
            )
    return {name: paths[0] for name, paths in groups.items()}


def _result_folders(output_dir):
    return [pathlib.Path(output_dir, name).resolve() for name in ("index", "overlay")]


def _find(given, left_out):
    """Returns the folder that names are relative to, and the files."""
    path = pathlib.Path(given)
    if path.is_file():
        return path.parent, [path]
    if path.is_dir():
        root, found = path, (p for p in _walk(path) if p.suffix.lower() in _SUFFIXES)
    else:
        plain = itertools.takewhile(lambda part: glob.escape(part) == part, path.parts)
        matches = map(pathlib.Path, glob.glob(given, recursive=True))
        root, found = pathlib.Path(*plain), (p for p in matches if p.is_file())
    resolved = ((p, p.resolve()) for p in found)
    return root, [
        p for p, full in resolved if not any(map(full.is_relative_to, left_out))
    ]


def _walk(folder):
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (
            pathlib.Path(parent, name) for name in names if not name.startswith(".")
        )


def predict_files(
    segmenter,
    pictures,
    output_dir,
    *,
    refine=None,
    max_pixels=images.DEFAULT_MAX_PIXELS,
) -> list[str]:
    """Writes `index/NAME` and `overlay/NAME` for each picture, at its own size.

    `index` holds PNG files with a palette whose values are the class numbers,
    `overlay` the picture under these colours. Each file is there as a whole or not
    at all.

    Args:
        segmenter: `Segmenter`.
        pictures: What `find_pictures` returned.
        output_dir: Folder of both folders.
        refine: See `evaluation.evaluate`; or None.
        max_pixels: Larger pictures are not decoded.

    Returns:
        What could not be predicted, "NAME: reason" each.
    """
    failures = []
    output_dir = pathlib.Path(output_dir)

    def segment(item):
        """Adds what the network says to a name and its picture."""
        name, image, reason = item
        if reason:
            return name, image, None, reason
        ask = segmenter.probabilities if refine else segmenter.predict
        try:
            return name, image, ask(image), ""
        except tf.errors.ResourceExhaustedError:
            height, width, _ = image.shape
            reason = f"{name}: {width} x {height} pixels need too much memory"
            return name, image, None, reason

    def finish(item):
        name, image, found, reason = item
        if not reason:
            label = refine(image, found) if refine else found
            _write(output_dir, name, image, label, segmenter.palette)
        return reason

    read = workers.in_order(
        functools.partial(_read, max_pixels), pictures.items(), num_threads=2
    )
    with progress.track(len(pictures), unit="picture", text="predicting") as bar:
        for reason in workers.in_order(
            finish, map(segment, read), num_threads=workers.num_cores()
        ):
            failures += [reason] if reason else []
            bar.update()
    return failures


def _read(max_pixels, item):
    """Returns the name, the picture or None, and the reason why there is none."""
    name, path = item
    try:
        image = images.read_image(path, max_pixels=max_pixels, name=str(path))
        return name, image, ""
    except images.ImageError as error:
        return name, None, str(error)
    except OSError as error:
        return name, None, f"{path}: {error.strerror}"


def _write(output_dir, name, image, label, palette):
    index, overlay = output_dir / "index" / name, output_dir / "overlay" / name
    for path in (index, overlay):
        path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(index, images.encode_palette_png(label, palette))
    shown = visualize.overlay(image, label, palette)
    shown = cv2.cvtColor(shown, cv2.COLOR_RGB2BGR)
    durable.write_bytes(overlay, cv2.imencode(".png", shown)[1].tobytes())
