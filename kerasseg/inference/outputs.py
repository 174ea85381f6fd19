"""What is written about a picture: one kind of file each."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable

import numpy as np

from kerasseg import errors, images
from kerasseg.images import visualization
from kerasseg.inference import contours
from kerasseg.system import files

_ROWS = 256  # Of probabilities, at a time.


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A picture and what the network says of it.

    Attributes:
        name: Of the file it comes from.
        image: RGB, uint8 `[height, width, 3]`.
        label: Class numbers, uint8 `[height, width]`.
        probabilities: float32 `[height, width, num_classes]`, where they are wanted.
        class_names: In the order of the class numbers.
        palette: RGB of each class, uint8 `[num_classes, 3]`.
    """

    name: str
    image: np.ndarray
    label: np.ndarray
    probabilities: np.ndarray | None
    class_names: tuple[str, ...]
    palette: np.ndarray


def _index(file, seen):
    file.write(images.encode_palette_png(seen.label, seen.palette))


# Pictures of RGB, which those of a video's frames become videos of.
MOVING: dict[str, Callable] = {
    "color": lambda seen: visualization.colorize(seen.label, seen.palette),
    "overlay": lambda seen: visualization.overlay(seen.image, seen.label, seen.palette),
}


def _color(file, seen):
    file.write(images.encode_image(MOVING["color"](seen)))


def _overlay(file, seen):
    file.write(images.encode_image(MOVING["overlay"](seen)))


def _probabilities(file, seen):
    header = {"descr": "<f2", "fortran_order": False, "shape": seen.probabilities.shape}
    np.lib.format.write_array_header_1_0(file, header)
    for top in range(0, len(seen.probabilities), _ROWS):
        rows = seen.probabilities[top : top + _ROWS]
        file.write(np.ascontiguousarray(rows, "<f2").tobytes())


def _contours(file, seen):
    height, width = seen.label.shape
    categories = [
        {"id": number, "name": name} for number, name in enumerate(seen.class_names)
    ]
    found = [{"image_id": 1, **a} for a in contours.annotations(seen.label)]
    picture = {"id": 1, "file_name": seen.name, "width": width, "height": height}
    text = json.dumps(
        {"images": [picture], "categories": categories, "annotations": found}
    )
    file.write(text.encode())


# Folder, ending and writer of each kind.
KINDS: dict[str, tuple[str, Callable]] = {
    "index": (".png", _index),  # Class numbers, with a palette.
    "color": (".png", _color),  # RGB: the classes in their colours.
    "overlay": (".png", _overlay),  # RGB: the picture under these colours.
    "probabilities": (".npy", _probabilities),  # float16 [height, width, num_classes].
    "contours": (".json", _contours),  # Polygons, in the manner of COCO.
}


def check(kinds) -> None:
    """Raises ValueError where a kind is not one of `KINDS`, or none is given."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise errors.UserError(
            f"No such output: {', '.join(unknown) or 'none was given'}. Known: "
            f"{', '.join(KINDS)}."
        )


def paths(output_dir: str | os.PathLike, name: str, kinds) -> dict[str, pathlib.Path]:
    """Returns the file of each kind, for a result of this name."""
    folder = pathlib.Path(output_dir)
    return {kind: folder / kind / f"{name}{KINDS[kind][0]}" for kind in kinds}


def video_paths(
    output_dir: str | os.PathLike, name: str, kinds
) -> dict[str, pathlib.Path]:
    """Returns the results of a video: videos, and folders of a file a frame."""
    folder = pathlib.Path(output_dir)
    endings = {kind: ".mp4" if kind in MOVING else "" for kind in kinds}
    return {kind: folder / kind / f"{name}{endings[kind]}" for kind in kinds}


def remove(output_dir: str | os.PathLike, name: str) -> None:
    """Removes the results of a picture or video of all kinds, where there are any."""
    for path in paths(output_dir, name, KINDS).values():
        path.unlink(missing_ok=True)
    for path in video_paths(output_dir, name, KINDS).values():
        if path.is_file():
            path.unlink()


def write(output_dir: str | os.PathLike, name: str, kinds, seen: Prediction) -> None:
    """Writes the files of a picture, each as a whole or not at all."""
    for kind, path in paths(output_dir, name, kinds).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.open_file(path) as file:
            KINDS[kind][1](file, seen)
