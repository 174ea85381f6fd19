"""Assigns the pairs of a split to files, depending only on the list of pairs."""

import dataclasses
import hashlib
import itertools
import json
import math
import pathlib

from kerasseg import datasets, errors, records
from tfrecords_tools.converters import image_classes, pairs, registry, source_files
from tfrecords_tools.writing import encoding

SHARD_IMAGES = 256  # Largest number of images in a file.
_SHARD_BYTES = 64 << 20  # Approximate size of the images in a file.


class BuildError(errors.UserError):
    """A build that cannot continue."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """The files of one split.

    Attributes:
        dataset: Name of the data set.
        split: Name of the split.
        shards: The pairs of each file, in order.
        stats: Size and modification time of each image and label, see `stat_file`.
        key: Hash of everything that the records depend on. Equal keys mean equal
            records.
    """

    dataset: str
    split: str
    shards: tuple[tuple[pairs.Pair, ...], ...]
    stats: dict[str, tuple[int, int]]
    key: str

    @property
    def pairs(self) -> list[pairs.Pair]:
        """All pairs, in order."""
        return [pair for shard in self.shards for pair in shard]

    @property
    def missing(self) -> list[str]:
        """Paths of images and labels that do not exist."""
        return [path for path, stat in self.stats.items() if stat == _MISSING]

    @property
    def num_objects(self) -> list[int]:
        """Number of masks of each pair whose objects have files of their own."""
        listed = (pair for shard in self.shards for pair in shard)
        return [len(pair.objects) for pair in listed if pair.objects is not None]

    @property
    def num_pairs(self) -> int:
        """Number of pairs in all files."""
        return sum(len(shard) for shard in self.shards)

    @property
    def shard_names(self) -> list[str]:
        """Names of the files, in order."""
        num_shards = len(self.shards)
        return [
            records.shard_name(self.split, i, num_shards) for i in range(num_shards)
        ]


def make_plan(
    spec: datasets.DatasetSpec,
    split: str,
    source: pairs.Source,
    rules: encoding.Rules,
    classes: image_classes.ImageClasses | None = None,
) -> Plan:
    """Sorts the pairs of a split by name and divides them into files.

    Args:
        spec: Spec of the data set.
        split: Name of the split.
        source: Where the images are.
        rules: How images and labels are read.
        classes: Image-level classes by name; None for those that occur in the labels.

    Raises:
        BuildError: Two pairs have the same name, or there is no pair.
        errors.MissingFileError: A folder or a list is missing.
    """
    listed = sorted(registry.converter(spec.name).list_pairs(split, source))
    listed = image_classes.add(listed, classes) if classes else listed
    duplicates = pairs.find_duplicates(listed)
    if duplicates:
        raise BuildError(
            f"Split '{split}' lists {source_files.count(duplicates, 'name')} more than "
            f"once: "
            f"{', '.join(duplicates[:10])}. Names must differ. Remove the duplicates."
        )
    if not listed:
        raise BuildError(f"Split '{split}' lists no image. Give the right folder.")
    stats = {path: stat_file(path) for pair in listed for path in pair.files}
    num_bytes = sum(size for size, _ in stats.values())
    num_shards = max(
        math.ceil(len(listed) / SHARD_IMAGES), math.ceil(num_bytes / _SHARD_BYTES)
    )
    content = [
        [records.SCHEMA_VERSION, spec.to_json(), _rules_key(rules), num_shards],
        [pair.key for pair in listed],
        sorted(stats.items()),
    ]
    return Plan(
        dataset=spec.name,
        split=split,
        shards=_divide(listed, num_shards),
        stats=stats,
        key=hashlib.sha256(json.dumps(content).encode()).hexdigest(),
    )


def _rules_key(rules):
    """Returns the rules; without a scale of 1, which earlier builds did not know."""
    values = dataclasses.asdict(rules)
    if rules.scale == 1:
        del values["scale"]
    return values


_MISSING = (0, -1)


def stat_file(path: str) -> tuple[int, int]:
    """Returns the size in bytes and modification time in ns; (0, -1) if missing."""
    try:
        stat = pathlib.Path(path).stat()
    except OSError:
        return _MISSING
    return stat.st_size, stat.st_mtime_ns


def _divide(listed, num_shards):
    ends = [len(listed) * i // num_shards for i in range(num_shards + 1)]
    return tuple(tuple(listed[start:end]) for start, end in itertools.pairwise(ends))
