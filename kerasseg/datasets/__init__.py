"""Metadata of data sets: one module each, with its `DatasetSpec` as `SPEC`.

The name of the module is the name of the data set.
"""

import dataclasses
import importlib
import pkgutil

import numpy as np

from kerasseg import errors
from kerasseg.system import image_kinds, json_values

IGNORE_LABEL = 255  # In records, for any number in the source.


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """Metadata of a data set.

    Attributes:
        source: URL of the images, or name of the program that creates them.
        classes: RGB color of each class, 0 to 255, by its name, in the order of the
            class numbers. Colors are used only for visualization.
        num_images: Number of images of each split, by its name.
        source_ignore: Numbers in the source's labels that become `IGNORE_LABEL`.
        name: Name of the data set's module, set by `get`.
        image_kind: Channels, type and statistics of the images.
        multi_label: Whether a pixel may have several classes, or none: labels are then
            those of `images.bit_masks`.
    """

    source: str
    classes: dict[str, tuple[int, int, int]]
    num_images: dict[str, int]
    source_ignore: tuple[int, ...] = ()
    name: str = ""
    image_kind: image_kinds.ImageKind = image_kinds.RGB
    multi_label: bool = False

    @property
    def num_classes(self) -> int:
        """Number of classes, without the ignore label."""
        return len(self.classes)

    @property
    def label_dtype(self) -> type[np.unsignedinteger]:
        """Type of decoded labels: uint16 holds the bits of several classes."""
        return np.uint16 if self.multi_label else np.uint8

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the class numbers."""
        return tuple(self.classes)

    @property
    def palette(self) -> np.ndarray:
        """RGB colors, uint8 `[num_classes, 3]`."""
        return np.array(list(self.classes.values()), np.uint8).reshape(-1, 3)

    def to_json(self) -> dict:
        """Returns the metadata as a dict for JSON; the inverse of `from_json`."""
        colors = self.classes.items()
        is_rgb = self.image_kind == image_kinds.RGB  # Absent in earlier releases.
        return {
            "name": self.name,
            "source": self.source,
            "classes": [{"name": name, "color": list(rgb)} for name, rgb in colors],
            "num_images": dict(self.num_images),
            "source_ignore": list(self.source_ignore),
            **({} if is_rgb else {"images": self.image_kind.to_json()}),
            **({"multi_label": True} if self.multi_label else {}),
        }

    @classmethod
    def from_json(cls, metadata: dict) -> "DatasetSpec":
        """Creates a spec from the dict returned by `to_json`.

        Raises:
            errors.UserError: A value is missing, of another type or out of range.
        """
        what = "the data set"
        listed = json_values.get(metadata, "num_images", dict, what)
        ignored = json_values.get(metadata, "source_ignore", list, what)
        return cls(
            name=json_values.get(metadata, "name", str, what),
            source=json_values.get(metadata, "source", str, what),
            classes=_read_classes(json_values.get(metadata, "classes", list, what)),
            num_images={
                split: json_values.integer(count, f"the number of images of {split!r}")
                for split, count in listed.items()
            },
            source_ignore=tuple(
                json_values.integer(i, '"source_ignore"', high=255) for i in ignored
            ),
            image_kind=image_kinds.ImageKind.from_json(metadata.get("images", {})),
            multi_label=bool(metadata.get("multi_label", False)),
        )


def _read_classes(listed):
    if not 1 <= len(listed) <= IGNORE_LABEL:
        raise errors.UserError(
            f"there are {len(listed)} classes, expected 1 to {IGNORE_LABEL}"
        )
    classes = {}
    for i, item in enumerate(listed):
        what = f"class {i}"
        name = json_values.get(item, "name", str, what)
        color = json_values.get(item, "color", list, what)
        if name in classes or not name:
            raise errors.UserError(f"{what} has the name {name!r}, which is not unique")
        if len(color) != 3:
            raise errors.UserError(f"the color of {what} has {len(color)} values")
        classes[name] = tuple(
            json_values.integer(value, f"the color of {what}", high=255)
            for value in color
        )
    return classes


def list_datasets() -> list[str]:
    """Returns the names of the data sets, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> DatasetSpec:
    """Returns the metadata of a data set.

    Raises:
        UserError: There is no data set of that name.
    """
    if name not in list_datasets():
        raise errors.UserError(
            f"Unknown data set '{name}'. Choose one of: {', '.join(list_datasets())}. "
            "To add one, see 'Adding a data set' in CONTRIBUTING.md."
        )
    module = importlib.import_module(f"{__name__}.{name}")
    return dataclasses.replace(module.SPEC, name=name)
