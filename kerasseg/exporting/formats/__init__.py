"""Export formats: one module each, found by scanning this folder.

A module defines `FORMATS`, a list of `Format`. It imports TensorFlow and other packages
inside its functions, so that names can be checked before TensorFlow starts, and a
worker process imports only what it needs.
"""

import dataclasses
import functools
import importlib
import importlib.util
import itertools
import os
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from kerasseg import errors
from kerasseg.exporting.options import DetectionOptions, TestTimeOptions
from kerasseg.exporting.samples import Sample
from kerasseg.images import RGB, ImageKind
from kerasseg.images.class_rules import DEFAULT_RULE, ClassRule

FILE_DESCRIPTION = """\
The files take `image`, float32 [1, height, width, 3], RGB from 0 to 255, of any size,
and return `logits`, float32 [1, height, width, {num_logits}].
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A trained model, as a format needs it.

    Attributes:
        model: The Keras model, with the logits as its only output.
        folded: The same model in float32, with batch normalization folded into the
            convolutions; one that detects objects also resizes its images.
        class_names: Name of each class.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.
        samples: Images of the data set; may be empty.
        calibration_images: Images for quantization, RGB, uint8 `[height, width, 3]`, or
            of `image_kind`.
        options: Test-time options of the exported graph, or None.
        rule: How the logits become masks.
        detection: How a model that detects objects is exported; None for others.
        image_kind: Channels and type of the images.
    """

    model: Any
    folded: Any
    class_names: Sequence[str]
    palette: Any
    samples: Sequence[Sample] = ()
    calibration_images: Sequence[np.ndarray] = ()
    options: TestTimeOptions | None = None
    rule: ClassRule = DEFAULT_RULE
    detection: DetectionOptions | None = None
    image_kind: ImageKind = RGB


@dataclasses.dataclass(frozen=True)
class Loaded:
    """An exported model that was loaded again.

    Attributes:
        tensor: Function of RGB images, float32 `[1, height, width, 3]` from 0 to 255,
            to arrays by name: "logits", float32 `[1, height, width, num_classes]`; of a
            SavedModel also "classes"; of a network that detects objects its detections,
            see `signatures.named`.
        serving: Function of a list of JPEG or PNG files to the outputs of the signature
            `serving_default` by name; None except for a SavedModel of 8-bit RGB.
    """

    tensor: Callable
    serving: Callable | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """One export format.

    Attributes:
        name: Its name in `--format` and in metadata.json.
        file: Name of its file in the folder of the version; "" for the folder itself.
        write: Function of a `Source` and the path of the file that writes it.
        load: Function of the path that returns `Loaded`.
        usage: Python code for the model card that predicts a mask, with the
            placeholders `{path}` (of the version) and `{file}`, in double quotes, and
            `{to_mask}` after the logits of an image.
        tolerance: Allowed difference of the logits, relative to the largest logit.
        iou_tolerance: Allowed difference of the mean IoU.
        group: Name that stands for all formats of the group, or "".
        extra: Extra of kerasseg that installs `packages`.
        packages: Packages that writing and loading need.
        description: Inputs and outputs, for the model card, with the placeholders
            `{num_classes}`, `{num_logits}`, `{mask_pixels}` and `{max_pixels}`.
        detection_usage: `usage` for a network that detects objects, also with the
            placeholder `{sides}`, see `instance_card.values`; "" if the format cannot
            hold one.
        detection_description: `description` for such a network, with the placeholders
            `{max_pixels}` and those of `instance_card.values`.
        needs_samples: Whether the format is accurate only on images like the
            calibration images, and therefore must be compared on samples.
        keeps_model: Whether the format keeps the Keras model as it is: in half
            precision, and without resizing the images of one that detects objects.
    """

    name: str
    file: str
    write: Callable[[Source, str], None]
    load: Callable[[str], Loaded]
    usage: str
    tolerance: float
    iou_tolerance: float = 0.001
    group: str = ""
    extra: str = ""
    packages: tuple[str, ...] = ()
    description: str = FILE_DESCRIPTION
    detection_usage: str = ""
    detection_description: str = ""
    needs_samples: bool = False
    keeps_model: bool = False


@functools.cache
def all_formats() -> dict[str, Format]:
    """Returns the formats of all modules in this folder, by name.

    Raises:
        errors.UserError: Two formats have one name, or one extension and different
            functions `load`.
    """
    modules = pkgutil.iter_modules(__path__, f"{__name__}.")
    found = [f for m in modules for f in importlib.import_module(m.name).FORMATS]
    check_distinct(found)
    return {each.name: each for each in found}


def check_distinct(found: Sequence[Format]) -> None:
    """Checks that names differ, and that the extension of a file gives its loader.

    Raises:
        errors.UserError: See `all_formats`.
    """
    for one, other in itertools.combinations(found, 2):
        if one.name == other.name:
            raise errors.UserError(
                f"Two export formats are named '{one.name}'. Rename one of them."
            )
        if _extension(one) == _extension(other) and one.load != other.load:
            raise errors.UserError(
                f"The export formats {one.name} and {other.name} have files with the "
                f"extension '{_extension(one)}' and different functions `load`. Choose "
                "another extension for one of them, or load both with one function."
            )


def _extension(form):
    return os.path.splitext(form.file)[1]


def file_of(path: str | os.PathLike, name: str) -> str:
    """Returns the path of a format in an exported version.

    Args:
        path: Folder of the version.
        name: Name of the format.
    """
    file = all_formats()[name].file
    return os.path.join(path, file) if file else os.fspath(path)


def load(path: str | os.PathLike) -> Loaded:
    """Loads an exported model; the format is recognized by the file's extension.

    Args:
        path: A file, or the folder of a SavedModel.

    Raises:
        errors.MissingPackageError: The runtime of the format is not installed.
        errors.UserError: No format has this extension.
    """
    path = os.fspath(path)
    extension = "" if os.path.isdir(path) else os.path.splitext(path)[1]
    by_extension = {_extension(each): each for each in all_formats().values()}
    if not (extension or os.path.isdir(path)) or extension not in by_extension:
        raise errors.UserError(
            f"{path} is not an exported model. Give a file "
            f"({', '.join(filter(None, by_extension))}) or the folder of a SavedModel."
        )
    return by_extension[extension].load(path)


def expand_formats(names: Iterable[str]) -> list[str]:
    """Returns the names of formats, with groups replaced by their formats.

    Raises:
        errors.UserError: There is no such format, or there is none.
    """
    names, known = list(names), all_formats()
    groups: dict[str, list[str]] = {}
    for each in known.values():
        if each.group:
            groups.setdefault(each.group, []).append(each.name)
    unknown = [name for name in names if name not in known and name not in groups]
    if unknown or not names:
        raise errors.UserError(
            f"`format={','.join(unknown)}`: expected one or more of "
            f"{', '.join([*known, *groups])}. Correct the list."
        )
    expanded = [part for name in names for part in groups.get(name, [name])]
    return list(dict.fromkeys(expanded))


def check_installed(names: Iterable[str]) -> None:
    """Checks that the packages of some formats are installed.

    Raises:
        errors.MissingPackageError: One of them is not.
    """
    for name in names:
        each = all_formats()[name]
        for package in each.packages:
            if importlib.util.find_spec(package) is None:
                raise errors.MissingPackageError(
                    f"`format={name}` needs {package}: pip install "
                    f"'kerasseg[{each.extra}]', or leave {name} out."
                )


def missing_package(extra: str, path: str, error: ImportError) -> Exception:
    """Returns the error of a format whose runtime cannot be imported."""
    return errors.MissingPackageError(
        f"{path} cannot be loaded ({error}): pip install 'kerasseg[{extra}]'"
    )
