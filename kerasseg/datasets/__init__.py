"""Data sets: one file each, a frozen table of facts and nothing else.

The folder is the list: every module here that has a `SPEC` is a data set of that name.
"""

import dataclasses
import importlib
import pkgutil

import numpy as np

from kerasseg import errors

IGNORE_LABEL = 255  # In records, whatever number the source used.


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """What depends on the classes: models, losses, scores and colours ask here.

    Attributes:
        source: Where the pictures come from: an address or the name of a program.
        classes: Name of each class and its RGB colour, 0..255, in the order of the
            class numbers. Colours are for pictures only.
        num_images: Pictures of each split.
        source_ignore: Numbers in the source's labels that become `IGNORE_LABEL`.
        name: Name of the data set's module; `get` fills it in.
    """

    source: str
    classes: dict[str, tuple[int, int, int]]
    num_images: dict[str, int]
    source_ignore: tuple[int, ...] = ()
    name: str = ""

    @property
    def num_classes(self) -> int:
        """Number of classes, without the ignore label."""
        return len(self.classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the class numbers."""
        return tuple(self.classes)

    @property
    def palette(self) -> np.ndarray:
        """RGB colours, uint8 `[num_classes, 3]`."""
        return np.array(list(self.classes.values()), np.uint8).reshape(-1, 3)

    def to_json(self) -> dict:
        """Returns plain lists, numbers and strings that `from_json` reads back."""
        colors = self.classes.items()
        return {
            "name": self.name,
            "source": self.source,
            "classes": [{"name": name, "color": list(rgb)} for name, rgb in colors],
            "num_images": dict(self.num_images),
            "source_ignore": list(self.source_ignore),
        }

    @classmethod
    def from_json(cls, facts: dict) -> "DatasetSpec":
        """Reads what `to_json` made; a missing fact is a KeyError."""
        return cls(
            name=facts["name"],
            source=facts["source"],
            classes={item["name"]: tuple(item["color"]) for item in facts["classes"]},
            num_images=dict(facts["num_images"]),
            source_ignore=tuple(facts["source_ignore"]),
        )


def list_datasets() -> list[str]:
    """Names of the data sets, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> DatasetSpec:
    """Finds the facts of a data set.

    Raises:
        ValueError: No module of this folder has that name.
    """
    if name not in list_datasets():
        raise errors.UserError(
            f"Unknown data set '{name}'; known are {', '.join(list_datasets())}. "
            "A new one is a new file in kerasseg/datasets."
        )
    module = importlib.import_module(f"{__name__}.{name}")
    return dataclasses.replace(module.SPEC, name=name)
