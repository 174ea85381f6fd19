"""Which picture goes into which file: a function of the list of pairs alone."""

import dataclasses
import hashlib
import itertools
import json
import math
import pathlib

from kerasseg import datasets, errors, records
from tfrecords_tools.converters import pairs
from tfrecords_tools.writing import encoding

SHARD_PICTURES = 256  # At most in one file.
_SHARD_BYTES = 64 << 20  # Of pictures in one file, about.


class BuildError(errors.UserError):
    """A build that cannot go on; the text says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What one split becomes.

    Attributes:
        dataset: Name of the data set.
        split: Name of the split.
        shards: The pairs of each file, in order.
        stats: Size and time of the last change of each picture and label, see
            `stat_file`.
        key: Hash of everything that the records depend on; equal keys mean equal
            records.
    """

    dataset: str
    split: str
    shards: tuple[tuple[pairs.Pair, ...], ...]
    stats: dict[str, tuple[int, int]]
    key: str

    @property
    def missing(self) -> list[str]:
        """Pictures and labels that do not exist."""
        return [path for path, stat in self.stats.items() if stat == _MISSING]

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
    spec: datasets.DatasetSpec, split: str, source: pairs.Source, rules: encoding.Rules
) -> Plan:
    """Sorts the pairs of a split by name and cuts them into files.

    Raises:
        BuildError: Two pairs have one name, or there is no pair.
        FileNotFoundError: The converter lacks a folder or a list.
    """
    listed = sorted(pairs.converter(spec.name).list_pairs(split, source))
    duplicates = pairs.find_duplicates(listed)
    if duplicates:
        raise BuildError(
            f"Split '{split}' lists {len(duplicates)} names more than once: "
            f"{', '.join(duplicates[:10])}. Names must differ: remove the doubles"
        )
    if not listed:
        raise BuildError(f"Split '{split}' lists no picture. Give the right folder")
    stats = {path: stat_file(path) for pair in listed for path in pair.files}
    num_bytes = sum(size for size, _ in stats.values())
    num_shards = max(
        math.ceil(len(listed) / SHARD_PICTURES), math.ceil(num_bytes / _SHARD_BYTES)
    )
    facts = [
        [records.SCHEMA_VERSION, spec.to_json(), dataclasses.asdict(rules), num_shards],
        [dataclasses.astuple(pair) for pair in listed],
        sorted(stats.items()),
    ]
    return Plan(
        dataset=spec.name,
        split=split,
        shards=_cut(listed, num_shards),
        stats=stats,
        key=hashlib.sha256(json.dumps(facts).encode()).hexdigest(),
    )


_MISSING = (0, -1)


def stat_file(path: str) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds; (0, -1): no file."""
    try:
        found = pathlib.Path(path).stat()
    except OSError:
        return _MISSING
    return found.st_size, found.st_mtime_ns


def _cut(listed, num_shards):
    ends = [len(listed) * i // num_shards for i in range(num_shards + 1)]
    return tuple(tuple(listed[start:end]) for start, end in itertools.pairwise(ends))
