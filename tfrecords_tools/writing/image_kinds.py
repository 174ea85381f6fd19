"""Finds out channels and type of the images of a data set, before it is built."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from kerasseg import datasets, errors, images, records
from kerasseg.system.image_kinds import MAX_CHANNELS
from tfrecords_tools.converters import pairs, registry
from tfrecords_tools.writing import encoding, tasks

_RGB = "rgb"
_READ = 20  # Images that are tried, if the first ones are damaged.


def parse(channels: str) -> int | None:
    """Reads the option `channels`.

    Returns:
        Number of channels; 0 for "rgb", and None for "", those of the images.

    Raises:
        errors.UserError: It is none of these.
    """
    if channels == _RGB:
        return 0
    if not channels:
        return None
    known = {str(number): number for number in range(1, MAX_CHANNELS + 1)}
    if channels not in known:
        raise errors.UserError(
            f"`channels={channels}` must be a number from 1 to {MAX_CHANNELS}, or rgb "
            "for 8-bit RGB. Leave it out for the channels of the images."
        )
    return known[channels]


def find(
    dataset: str, source: pairs.Source, splits: Sequence[str], rules: encoding.Rules
) -> images.ImageKind:
    """Returns channels and type of the first image that can be read.

    All images of a data set must be of one kind. Published data sets are 8-bit RGB.

    Args:
        dataset: Name of the data set.
        source: Where its images are.
        splits: Names of splits; that of the first image is the first.
        rules: How images are read.

    Raises:
        errors.UserError: `rules.channels` is wrong, or for a published data set.
    """
    channels = parse(rules.channels)
    if dataset != pairs.OWN:
        if channels:
            raise errors.UserError(
                f"`channels={rules.channels}` is for your own images; those of "
                f"{dataset} are 8-bit RGB. Leave it out."
            )
        return images.RGB
    if channels == 0:
        return images.RGB
    listed = (
        pair
        for split in splits
        for pair in sorted(registry.converter(dataset).list_pairs(split, source))
    )
    for pair, _ in zip(listed, range(_READ), strict=False):
        try:
            return images.read_kind(
                pair.image, channels=channels, max_pixels=rules.max_pixels
            )
        except errors.MissingPackageError:
            raise
        except tasks.BAD:  # The build names it.
            continue
    return images.RGB if channels is None else images.ImageKind(channels)


def is_same(one: datasets.DatasetSpec, other: datasets.DatasetSpec) -> bool:
    """Returns whether two specs are equal but for the statistics of channels."""
    kinds = [(spec.image_kind.channels, spec.image_kind.dtype) for spec in (one, other)]
    same = dataclasses.replace(one, image_kind=other.image_kind)
    return same == other and kinds[0] == kinds[1]


def title(spec: datasets.DatasetSpec) -> str:
    """Returns name, number of classes, and kind of images other than 8-bit RGB."""
    kind = "" if spec.image_kind.is_rgb else f" ({spec.image_kind})"
    return f"'{spec.name}' with {spec.num_classes} classes{kind}"


def measured(
    folder: pathlib.Path,
    spec: datasets.DatasetSpec,
    splits: Mapping[str, list[records.Shard]],
    before: records.DatasetInfo | None,
) -> datasets.DatasetSpec:
    """Returns `records.with_statistics`, or what was known if the files are the same.

    Args:
        folder: Folder of the records.
        spec: The spec.
        splits: Files of each split.
        before: What was known before, or None.
    """
    names = records.of_training(splits)
    if splits and before and all(before.splits.get(x) == splits[x] for x in names):
        return spec if spec.image_kind.is_rgb else before.spec
    return records.with_statistics(spec, folder, splits)
