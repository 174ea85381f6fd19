"""Finds the converter, the spec and the splits of a data set by its name."""

import importlib
import typing

from kerasseg import datasets, errors
from tfrecords_tools.converters import pairs


def has_open_classes(dataset: str) -> bool:
    """Returns whether the classes of a data set come from its source."""
    return dataset in (pairs.OWN, *pairs.SHARDED) or dataset.startswith(pairs.TFDS)


def converter(dataset: str) -> typing.Any:
    """Returns the converter of a data set, a module or an object.

    It has a function `list_pairs(split, source)`, which lists the pairs of a split. It
    may have `read_pair(pair)`, where `pairs.read_files` is not enough. If
    `has_open_classes`, it also has `make_spec(source)` and `list_splits(source)`.
    If it reads instances, it has `instance_format(source)`, see there, and perhaps
    `INSTANCE_CLASSES`, the names of the classes that have instances; without it, all
    but class 0 have.

    Raises:
        errors.UserError: The data set is unknown, or has no converter.
    """
    if dataset.startswith(pairs.TFDS):
        tfds = importlib.import_module("tfrecords_tools.converters.tfds")
        return tfds.Converter(dataset)
    if not has_open_classes(dataset):
        datasets.get(dataset)
    name = f"tfrecords_tools.converters.{dataset}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise errors.UserError(
            f"The data set '{dataset}' has no converter. Write "
            f"tfrecords_tools/converters/{dataset}.py with a function "
            "list_pairs(split, source)."
        ) from error


def get_spec(dataset: str, source: pairs.Source) -> datasets.DatasetSpec:
    """Returns the spec of a data set; if `has_open_classes`, it depends on the source.

    Raises:
        errors.UserError: The data set is unknown, or options do not fit together.
        FileNotFoundError: Own images are not where the options say.
    """
    if has_open_classes(dataset):
        return converter(dataset).make_spec(source)
    return datasets.get(dataset)


def instance_format(dataset: str, source: pairs.Source) -> str:
    """Returns how a build stores instances.

    Returns:
        "map" for a PNG of instance ids, "objects" for masks that may overlap, "" if
        none are to be read.

    Raises:
        errors.UserError: The data set has no instances, or options are missing.
    """
    if not source.instances:
        return ""
    found = converter(dataset)
    if not hasattr(found, "instance_format"):
        able = [each for each in datasets.list_datasets() if _has_instances(each)]
        raise errors.UserError(
            f"`instances`: kerasseg reads no instances of `dataset={dataset}`, only of "
            f"{', '.join(sorted([*able, pairs.OWN]))}. Omit `instances`."
        )
    return found.instance_format(source)


def _has_instances(dataset):
    return hasattr(converter(dataset), "instance_format")


def instance_classes(
    dataset: str, source: pairs.Source, spec: datasets.DatasetSpec
) -> tuple[str, ...]:
    """Returns the names of the classes that have instances."""
    found = converter(dataset)
    if dataset == pairs.OWN:
        stuff = found.stuff(source)
        return tuple(name for name in spec.class_names[1:] if name not in stuff)
    return getattr(found, "INSTANCE_CLASSES", spec.class_names[1:])


def find_splits(dataset: str, source: pairs.Source) -> dict[str, str]:
    """Returns why the source lacks each split of a data set; "" if it has the split.

    Raises:
        FileNotFoundError: The source lacks all splits.
    """
    reasons = {}
    for split in _list_splits(dataset, source):
        try:
            converter(dataset).list_pairs(split, source)
            reasons[split] = ""
        except FileNotFoundError as error:
            reasons[split] = str(error)
    if all(reasons.values()):
        raise errors.MissingFileError(next(iter(reasons.values())))
    return reasons


def _list_splits(dataset, source):
    if has_open_classes(dataset):
        return converter(dataset).list_splits(source)
    return datasets.get(dataset).num_images


def image_names(dataset: str, source: pairs.Source) -> set[str]:
    """Returns the names of the images of all splits, also of those left out."""
    if dataset == pairs.OWN:
        return {name for _, name in converter(dataset).find(source).match.images}
    found = converter(dataset)
    reasons = find_splits(dataset, source)
    splits = [split for split, reason in reasons.items() if not reason]
    return {pair.name for split in splits for pair in found.list_pairs(split, source)}


def find_passed_over(dataset: str, source: pairs.Source) -> tuple[str, ...]:
    """Returns files of own images, or of tar files, that have other endings."""
    if dataset not in (pairs.OWN, *pairs.SHARDED):
        return ()
    return converter(dataset).find_passed_over(source)
