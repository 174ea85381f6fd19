"""Finds the converter, the spec and the splits of a data set by its name."""

import importlib
import typing

from kerasseg import datasets, errors
from tfrecords_tools.converters import pairs


def has_open_classes(dataset: str) -> bool:
    """Returns whether the classes of a data set come from its source."""
    return dataset == pairs.OWN or dataset.startswith(pairs.TFDS)


def converter(dataset: str) -> typing.Any:
    """Returns the converter of a data set, a module or an object.

    It has a function `list_pairs(split, source)`, which lists the pairs of a split. It
    may have `read_pair(pair)`, where `pairs.read_files` is not enough. If
    `has_open_classes`, it also has `make_spec(source)` and `list_splits(source)`.

    Raises:
        errors.UserError: The data set is unknown, or has no converter.
    """
    if dataset.startswith(pairs.TFDS):
        tfds = importlib.import_module("tfrecords_tools.converters.tfds")
        return tfds.Converter(dataset)
    if dataset != pairs.OWN:
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


def find_passed_over(dataset: str, source: pairs.Source) -> tuple[str, ...]:
    """Returns files that match the patterns of own images, but have other endings."""
    if dataset != pairs.OWN:
        return ()
    return converter(dataset).find(source).match.passed_over
