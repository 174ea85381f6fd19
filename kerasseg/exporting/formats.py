"""The forms that a model is exported in: their files, and how near they must be."""

import dataclasses
import importlib.util
import os

from kerasseg import errors


@dataclasses.dataclass(frozen=True)
class Format:
    """One form of an exported model.

    Attributes:
        file: Its name in the folder of the version; "" is the folder itself.
        tolerance: By how much logits may differ, as a share of the largest one.
        iou_tolerance: By how much the mean IoU over some pictures may differ.
    """

    file: str
    tolerance: float
    iou_tolerance: float = 0.001


# What float32 loses in another order of sums is 1e-6 to 1e-5 of the largest logit. With
# 8 bits single pixels may be far off: the mean IoU decides.
FORMATS = {
    "saved_model": Format("", 1e-4),
    "tflite_float32": Format("model_float32.tflite", 1e-4),
    "tflite_float16": Format("model_float16.tflite", 0.05),
    "tflite_int8": Format("model_int8.tflite", 1.0, iou_tolerance=0.02),
    "onnx": Format("model.onnx", 1e-4),
    "keras": Format("model.keras", 1e-4),
}
_PACKAGES = {  # That write and run a format, by the extra that brings them.
    "tflite": ["ai_edge_litert"],
    "onnx": ["onnx", "tf2onnx", "onnxruntime"],
}
_GROUPS = {"tflite": ["tflite_float32", "tflite_float16", "tflite_int8"]}


def file_of(path, name) -> str:
    """Returns where a format lies in a version.

    Args:
        path: Of the version.
        name: A key of `FORMATS`.
    """
    file = FORMATS[name].file
    return os.path.join(path, file) if file else os.fspath(path)


def expand(names) -> list[str]:
    """Lists the names of formats; "tflite" stands for all of its three.

    Raises:
        ValueError: There is no such format, or none is named.
    """
    unknown = [name for name in names if name not in FORMATS and name not in _GROUPS]
    if unknown or not names:
        raise errors.UserError(
            f"No such format: {', '.join(unknown) or 'none was given'}. Known are "
            f"{', '.join([*FORMATS, *_GROUPS])}."
        )
    found = [part for name in names for part in _GROUPS.get(name, [name])]
    return list(dict.fromkeys(found))


def check_installed(names) -> None:
    """Looks whether what writes and runs some formats is installed.

    Raises:
        ImportError: It is not.
    """
    for name in names:
        extra = name.partition("_")[0]
        for package in _PACKAGES.get(extra, []):
            if importlib.util.find_spec(package) is None:
                raise errors.MissingPackageError(
                    f"{name} needs {package}: pip install 'kerasseg[{extra}]', or "
                    f"leave {name} out of the formats."
                )
