"""What the networks of MMSegmentation have in common."""

from collections.abc import Mapping
from typing import Any

from kerasseg import datasets
from kerasseg.weights import families
from kerasseg.weights.networks import Shapes

UNUSED = (r".*\.num_batches_tracked",)
_DATASETS = {19: "cityscapes", 21: "pascal_voc", 150: "ade20k"}
_CONTEXT = {"clothes": "cloth", "diningtable": "table"}  # Their names of classes.


def head_parts(shapes: Shapes, prefix: str = "decode_head.") -> frozenset[str]:
    """Returns the names of the modules of a head."""
    names = (name.removeprefix(prefix) for name in shapes if name.startswith(prefix))
    return frozenset(name.split(".")[0] for name in names)


def resize(config: Mapping[str, Any]) -> str:
    """Returns the option `resize` of the models."""
    return "corners" if config.get("align_corners") else "half_pixel"


def classes(num_classes: int) -> dict[str, Any]:
    """Returns `num_classes`, `class_names` and `palette` of a `Network`.

    The classes are known by their number: the library has few data sets.
    """
    found = {"num_classes": num_classes}
    if num_classes in _DATASETS:
        found.update(families.classes_of(_DATASETS[num_classes], num_classes))
    elif num_classes in (59, 60):
        found.update(_pascal_context(num_classes == 60))
    return found


def _pascal_context(has_background):
    """Returns the classes of PASCAL-Context in their order, that of the alphabet."""
    classes = datasets.get("pascal_context").classes
    colors = {_CONTEXT.get(name, name): classes[name] for name in classes}
    names = sorted(colors)
    if has_background:
        names, colors["background"] = ["background", *names], (0, 0, 0)
    return {"class_names": names, "palette": [list(colors[name]) for name in names]}
