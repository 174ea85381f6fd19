"""The results of a prediction: one file of each kind per image."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Collection, Iterable

import numpy as np

from kerasseg import errors, images
from kerasseg.images import geo, instance_drawing, visualization
from kerasseg.images.class_rules import DEFAULT_RULE, ClassRule
from kerasseg.inference import contours, geographic, instance_outputs
from kerasseg.system import files

_ROWS = 256  # Of probabilities, written at a time.


@dataclasses.dataclass(frozen=True)
class Prediction:
    """An image and its predictions.

    Attributes:
        name: Name of the image's file.
        image: RGB, uint8 `[height, width, 3]`, for display.
        mask: Class numbers, uint8 `[height, width]`, or bits of classes, uint16.
        probabilities: float32 `[height, width, num_classes]`, or None if no kind of
            result needs them.
        class_names: Name of each class.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.
        detections: The detected instances, for a network that detects instances; None
            for others. `mask` is the map that they are pasted into.
        min_score: Detections below it are neither in the map of ids nor in the overlay.
        confidence: Probability of the predicted class, float32 `[height, width]`, or
            None if no kind of result needs it.
        place: Where the image lies on Earth, of a GeoTIFF file; None for others.
        rule: How the mask was made.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray
    probabilities: np.ndarray | None
    class_names: tuple[str, ...]
    palette: np.ndarray
    detections: images.Detections | None = None
    min_score: float = images.MIN_SCORE
    confidence: np.ndarray | None = None
    place: geo.Place | None = None
    rule: ClassRule = DEFAULT_RULE


def _geotiff(file, prediction):
    file.write(geo.encode_mask(prediction.mask, prediction.place))


def _geojson(file, prediction):
    content = geographic.collection(
        prediction.mask,
        prediction.class_names,
        prediction.place,
        masks=_class_masks(prediction),
    )
    file.write(json.dumps(content).encode())


def _index(file, prediction):
    content = prediction.mask, prediction.palette, prediction.rule
    file.write(images.encode_mask(*content))


def _colorized(prediction):
    return visualization.colorize(
        prediction.mask, prediction.palette, multi_label=prediction.rule.multi_label
    )


def _overlaid(prediction):
    if prediction.detections is not None:
        return instance_drawing.overlay_detections(
            prediction.image,
            prediction.detections,
            prediction.class_names,
            prediction.palette,
            min_score=prediction.min_score,
        )
    return visualization.overlay(
        prediction.image,
        prediction.mask,
        prediction.palette,
        multi_label=prediction.rule.multi_label,
    )


# Kinds that are RGB images. For a video they are written as videos.
MOVING: dict[str, Callable] = {"color": _colorized, "overlay": _overlaid}


def _color(file, prediction):
    file.write(images.encode_image(_colorized(prediction)))


def _overlay(file, prediction):
    file.write(images.encode_image(_overlaid(prediction)))


def _probabilities(file, prediction):
    _write_array(file, prediction.probabilities, "<f2")


def _confidence(file, prediction):
    _write_array(file, prediction.confidence, "<f4")


def _write_array(file, array, dtype):
    header = {"descr": dtype, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, header)
    for top in range(0, array.shape[0], _ROWS):
        rows = array[top : top + _ROWS]
        file.write(np.ascontiguousarray(rows, dtype).tobytes())


def _class_masks(prediction):
    """Returns the masks of the classes of a multi-label network, else None."""
    rule, count = prediction.rule, len(prediction.class_names)
    return rule.masks(prediction.mask, count) if rule.multi_label else None


def _class_mask(file, prediction, folder):
    number = _folders(prediction.class_names).index(folder)
    mask = prediction.rule.masks(prediction.mask, len(prediction.class_names))
    mask = mask[..., number]
    file.write(images.encode_label(np.where(mask, 255, 0).astype(np.uint8)))


def _contours(file, prediction):
    height, width = prediction.mask.shape
    image = {"id": 1, "file_name": prediction.name, "width": width, "height": height}
    categories = [
        {"id": number, "name": name}
        for number, name in enumerate(prediction.class_names)
    ]
    annotations = [
        {"image_id": 1, **region}
        for region in contours.annotations(
            prediction.mask, masks=_class_masks(prediction)
        )
    ]
    text = json.dumps(
        {"images": [image], "categories": categories, "annotations": annotations}
    )
    file.write(text.encode())


def _instances(file, prediction):
    content = instance_outputs.coco(
        prediction.name,
        prediction.image.shape[:2],
        prediction.detections,
        prediction.class_names,
    )
    file.write(json.dumps(content).encode())


def _instance_ids(file, prediction):
    # The ids are those of "instances", so the detections keep their places.
    detections, size = prediction.detections, prediction.image.shape[:2]
    is_pasted = np.asarray(detections.scores) >= prediction.min_score
    numbers = np.append(0, 1 + np.flatnonzero(is_pasted)).astype(np.uint16)
    ids = detections.above(prediction.min_score).id_map(size)
    file.write(images.encode_label(numbers[ids]))


# Extension and writer of each kind; its name is that of its folder.
KINDS: dict[str, tuple[str, Callable]] = {
    "index": (".png", _index),  # The mask, with a palette.
    "color": (".png", _color),  # RGB: the classes' colors.
    "overlay": (".png", _overlay),  # RGB: the image blended with these colors.
    "probabilities": (".npy", _probabilities),  # float16 [height, width, num_classes].
    "confidence": (".npy", _confidence),  # float32 [height, width], of the mask.
    "contours": (".json", _contours),  # Polygons in COCO's format.
    "geotiff": (".tif", _geotiff),  # The mask, with the place of a GeoTIFF image.
    "geojson": (".geojson", _geojson),  # Polygons in the coordinates of the image.
    "instances": (".json", _instances),  # Detections in COCO's format.
    "instance_ids": (".png", _instance_ids),  # 16 bits, of "instances"; 0 for none.
}
PSEUDO_LABELS = "pseudo_labels"  # Computed from other kinds of all images.
MASKS = "masks"  # A kind "masks/CLASS" for each class: PNG of 0 and 255.
_SUFFIXES = {PSEUDO_LABELS: ".png", **{kind: KINDS[kind][0] for kind in KINDS}}
NAMES = (*KINDS, PSEUDO_LABELS, MASKS)
_OF_INSTANCES = frozenset({"instances", "instance_ids"})
_OF_PIXELS = frozenset({"probabilities", "confidence", PSEUDO_LABELS, MASKS})
_OF_EXCLUSIVE = frozenset({"confidence", PSEUDO_LABELS})


def predicted(kinds: Iterable[str]) -> tuple[str, ...]:
    """Returns the kinds that are written image by image, for those of `NAMES`."""
    sources = {PSEUDO_LABELS: ("index", "confidence")}
    needed = [each for kind in kinds for each in sources.get(kind, (kind,))]
    return tuple(dict.fromkeys(needed))


def with_classes(kinds: Iterable[str], class_names: Iterable[str]) -> tuple[str, ...]:
    """Returns the kinds with one for each class in place of "masks".

    Args:
        kinds: Some of `NAMES`.
        class_names: Name of each class, which become folders: characters that a folder
            cannot have are replaced.
    """
    each = [f"{MASKS}/{folder}" for folder in _folders(class_names)]
    parts = [each if kind == MASKS else [kind] for kind in kinds]
    return tuple(kind for part in parts for kind in part)


def _folders(class_names):
    """Returns the folder of each class: its name, without characters like /."""
    folders: list[str] = []
    for i, name in enumerate(class_names):
        folder = re.sub(r"[^\w .+-]", "_", name).strip(". ") or "class"
        known = {each.casefold() for each in folders}
        folders.append(f"{folder}_{i}" if folder.casefold() in known else folder)
    return folders


def writer(kind: str) -> Callable:
    """Returns the function of a file and a `Prediction` that writes a kind.

    Args:
        kind: A key of `KINDS`, or one of `with_classes`.
    """
    if not kind.startswith(f"{MASKS}/"):
        return KINDS[kind][1]
    return functools.partial(_class_mask, folder=kind.removeprefix(f"{MASKS}/"))


def suffix(kind: str) -> str:
    """Returns the ending of the files of a kind, see `writer`."""
    return ".png" if kind.startswith(MASKS) else _SUFFIXES[kind]


def check(kinds: Iterable[str], known: Collection[str] = tuple(KINDS)) -> None:
    """Raises `errors.UserError` for an unknown kind of result, or if there is none."""
    kinds = list(kinds)
    unknown = [kind for kind in kinds if kind not in known]
    if unknown or not kinds:
        raise errors.UserError(
            f"`output={','.join(unknown)}`: expected one or more of "
            f"{', '.join(known)}. Correct the list."
        )
    if "instances" in kinds:
        instance_outputs.check_package()
    if "geotiff" in kinds:
        geo.tifffile("The kind `geotiff`")


def check_network(
    kinds: Iterable[str],
    *,
    detects_instances: bool,
    min_score: float | None = None,
    multi_label: bool = False,
) -> None:
    """Checks that a network has the results of each kind.

    Args:
        kinds: Some of `NAMES`.
        detects_instances: Whether the network detects instances, or else predicts the
            class of each pixel.
        min_score: The smallest score of an instance, if one was given.
        multi_label: Whether the network predicts several classes for each pixel.

    Raises:
        errors.UserError: It has not, or has no scores.
    """
    kinds = list(kinds)
    if min_score is not None and not detects_instances:
        raise errors.UserError(
            f"`min_score={min_score:g}` applies to networks that detect instances, and "
            "this one predicts the class of each pixel. Leave it out."
        )
    exclusive = [kind for kind in kinds if kind in _OF_EXCLUSIVE]
    if multi_label and exclusive:
        raise errors.UserError(
            f"`output`: {' and '.join(exclusive)} need a network of classes that "
            "exclude each other, and this one is multi-label. Choose probabilities."
        )
    of_pixels = [kind for kind in kinds if kind in _OF_PIXELS]
    if detects_instances and of_pixels:
        raise errors.UserError(
            f"`output`: {' and '.join(of_pixels)} need a network that predicts the "
            "class of each pixel, and this one detects instances. Choose instances, "
            "which has their scores."
        )
    missing = [kind for kind in kinds if kind in _OF_INSTANCES]
    if missing and not detects_instances:
        raise errors.UserError(
            f"`output`: {' and '.join(missing)} need a network that detects instances, "
            "and this one predicts the class of each pixel. Choose contours for its "
            "connected regions."
        )


def paths(
    output_dir: str | os.PathLike, name: str, kinds: Iterable[str]
) -> dict[str, pathlib.Path]:
    """Returns the file of each kind for an image.

    Args:
        output_dir: Folder of the results.
        name: Name of the result, see `inputs.find_images`.
        kinds: Some of `NAMES`.
    """
    folder = pathlib.Path(output_dir)
    return {kind: folder / kind / f"{name}{suffix(kind)}" for kind in kinds}


def video_paths(
    output_dir: str | os.PathLike, name: str, kinds: Iterable[str]
) -> dict[str, pathlib.Path]:
    """Returns the results of a video: video files, and folders with a file per frame.

    Args:
        output_dir: Folder of the results.
        name: Name of the result, see `inputs.find_images`.
        kinds: Keys of `KINDS`.
    """
    folder = pathlib.Path(output_dir)
    return {
        kind: folder / kind / (f"{name}.mp4" if kind in MOVING else name)
        for kind in kinds
    }


def partial_path(path: pathlib.Path, name: str, kind: str) -> pathlib.Path:
    """Returns where a result of a video is written until it is complete.

    Args:
        path: The result, of `video_paths`.
        name: Name of the result, see `inputs.find_images`.
        kind: A key of `KINDS`.
    """
    short = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return path.with_name(f".{short}.part{'.mp4' if kind in MOVING else ''}")


_PARTIAL = re.compile(r"\.[0-9a-f]{16}\.part(\.mp4)?")


def remove_partial(output_dir: str | os.PathLike) -> None:
    """Removes what a prediction that was killed left behind, which is incomplete."""
    for kind in NAMES:
        for parent, folders, names in os.walk(os.path.join(output_dir, kind)):
            partial = [name for name in folders if _PARTIAL.fullmatch(name)]
            folders[:] = [name for name in folders if name not in partial]
            for name in partial:
                shutil.rmtree(os.path.join(parent, name))
            for name in names:
                if _PARTIAL.fullmatch(name) or files.is_temporary(name):
                    os.unlink(os.path.join(parent, name))
    for name in os.listdir(output_dir):
        if files.is_temporary(name):
            os.unlink(os.path.join(output_dir, name))


def remove(output_dir: str | os.PathLike, name: str) -> None:
    """Removes the results of an image or video, of every kind."""
    of_classes = pathlib.Path(output_dir, MASKS).glob("*/")
    kinds = [*NAMES[:-1], *(f"{MASKS}/{each.name}" for each in of_classes)]
    for each in (paths, video_paths):
        for path in each(output_dir, name, kinds).values():
            # Also false where there can be no such file, such as of too long a name.
            if os.path.isfile(path) or os.path.islink(path):
                path.unlink(missing_ok=True)


def write(
    output_dir: str | os.PathLike,
    name: str,
    kinds: Iterable[str],
    prediction: Prediction,
) -> None:
    """Writes the results of an image, each file completely or not at all.

    Args:
        output_dir: Folder of the results.
        name: Name of the result, see `inputs.find_images`.
        kinds: Keys of `KINDS`.
        prediction: The image and its predictions.
    """
    for kind, path in paths(output_dir, name, kinds).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.open_file(path) as file:
            writer(kind)(file, prediction)
