"""Counts the instances of a split: by class, crowds, and those without a pixel."""

import dataclasses

import numpy as np

from kerasseg import datasets, errors, records


@dataclasses.dataclass
class ObjectCounts:
    """Numbers of instances.

    Attributes:
        by_class: Instances that are no crowds, int64 `[num_classes]`.
        crowds: Crowds, int64 `[num_classes]`; those of unknown class are in item 0.
        images: Images whose records can hold instances.
        most: Most instances in an image, with crowds.
        empty: Instances without a pixel, such as thin polygons.
        unusable: Instance maps from which no classes follow.
    """

    by_class: np.ndarray
    crowds: np.ndarray
    images: int = 0
    most: int = 0
    empty: int = 0
    unusable: int = 0

    @classmethod
    def zeros(cls, num_classes: int) -> "ObjectCounts":
        """Returns the counts of no image."""
        return cls(np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64))

    def add(self, other: "ObjectCounts") -> None:
        """Adds the counts of other images."""
        for field in dataclasses.fields(self):
            values = getattr(self, field.name), getattr(other, field.name)
            total = max(values) if field.name == "most" else values[0] + values[1]
            setattr(self, field.name, total)


def count(
    example: dict, label: np.ndarray | None, spec: datasets.DatasetSpec
) -> ObjectCounts:
    """Counts the instances of one record.

    Args:
        example: What `records.parse_example` returns.
        label: Its decoded label, or None.
        spec: Spec of the data set.

    Raises:
        errors.UserError: Its objects are damaged, of another size, or of a class that
            the data set does not have.
    """
    counts = ObjectCounts.zeros(spec.num_classes)
    if label is None or (example["objects"] is None and example["instance"] is None):
        return counts
    try:
        objects = records.decode_objects(example, label)
    except ValueError:
        if example["objects"] is not None:
            raise
        return dataclasses.replace(counts, unusable=1)
    highest = objects.classes.max(initial=0)
    if highest >= spec.num_classes:
        raise errors.UserError(
            f"image '{example['name']}' has an instance of class {highest}, but "
            f"{spec.name} has 1 to {spec.num_classes - 1}. Give the right `dataset`, "
            "or build the records again."
        )

    def by_class(chosen):
        return np.bincount(objects.classes[chosen], minlength=spec.num_classes)

    return ObjectCounts(
        by_class=by_class(~objects.is_crowd),
        crowds=by_class(objects.is_crowd),
        images=1,
        most=len(objects),
        empty=int((objects.measure()[1] == 0).sum()),
    )


def describe(counts: ObjectCounts, spec: datasets.DatasetSpec) -> list[str]:
    """Returns lines of text with a table of classes; none without instances."""
    lines = []
    if counts.unusable:
        lines.append(
            f"  instance maps without a class for each instance: {counts.unusable}"
        )
    if not counts.images:
        return lines
    num_crowds = counts.crowds.sum()
    lines.append(
        f"  instances: {counts.by_class.sum():,} and {num_crowds:,} crowds in "
        f"{counts.images:,} images, at most {counts.most:,} in one; without a pixel: "
        f"{counts.empty:,}"
    )
    names = ["unknown", *spec.class_names[1:]]
    width = max(map(len, names))
    lines.append(f"  {'class':<{width}} {'instances':>9} {'crowds':>9}")
    for name, number, crowds in zip(names, counts.by_class, counts.crowds, strict=True):
        if number or crowds:
            lines.append(f"  {name:<{width}} {number:>9,} {crowds:>9,}")
    return lines
