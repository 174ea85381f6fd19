"""dataset.json: the data set and the files of a folder of records.

It is written last, so that a folder with this file is complete.
"""

import dataclasses
import json
import os
import pathlib

from kerasseg import datasets, errors
from kerasseg.records import labeled_lists, shards
from kerasseg.system import files, json_values

SCHEMA_VERSION = 1
# Of records with instances as objects, see `schema`, without labels, with a list of
# labeled images, or with images other than 8-bit RGB, which versions of kerasseg that
# read version 1 would not respect.
OBJECTS_VERSION = 2
INFO_FILE = "dataset.json"
# Numbers of pseudo-labels, beside them and beside the records that have them.
PSEUDO_LABELS_FILE = "pseudo_labels.json"

Shard = shards.Shard


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """The content of dataset.json.

    Attributes:
        spec: The data set from which the records were built.
        splits: The files of each split, in order.
        schema_version: Version of the record schema: `SCHEMA_VERSION`, or
            `OBJECTS_VERSION` if the records have objects, are multi-label, or have
            images other than 8-bit RGB, or one of the fields `labeled` and
            `num_unlabeled` is not empty.
        instance_classes: Names of the classes that have instances; empty if the records
            were built without instances.
        labeled: Lists of the images whose labels are used, of the splits that have one.
        num_unlabeled: Number of records without a label, of the splits that have some.
    """

    spec: datasets.DatasetSpec
    splits: dict[str, list[Shard]]
    schema_version: int = SCHEMA_VERSION
    instance_classes: tuple[str, ...] = ()
    labeled: dict[str, labeled_lists.LabeledList] = dataclasses.field(
        default_factory=dict
    )
    num_unlabeled: dict[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.spec.multi_label:  # Earlier versions would take bits as class numbers.
            object.__setattr__(self, "schema_version", OBJECTS_VERSION)


def write_info(records_dir: str | os.PathLike, info: DatasetInfo) -> None:
    """Writes dataset.json atomically; equal contents give equal bytes."""
    splits = {
        split: [dataclasses.asdict(shard) for shard in info.splits[split]]
        for split in sorted(info.splits)
    }
    content = {
        "schema_version": info.schema_version,
        "dataset": info.spec.to_json(),
        "splits": splits,
    }
    if info.instance_classes:
        content["instance_classes"] = list(info.instance_classes)
    if info.num_unlabeled:
        content["num_unlabeled"] = dict(sorted(info.num_unlabeled.items()))
    if info.labeled:
        content["labeled"] = {
            split: {
                "count": len(listed),
                "sha256": listed.checksum,
                "origin": listed.origin,
                "names": list(listed.names),
            }
            for split, listed in sorted(info.labeled.items())
        }
    text = json.dumps(content, indent=2) + "\n"
    with files.open_file(pathlib.Path(records_dir, INFO_FILE)) as file:
        file.write(text.encode())


def read_info(records_dir: str | os.PathLike) -> DatasetInfo:
    """Reads dataset.json.

    Raises:
        errors.MissingFileError: The file does not exist: nothing was built, or a build
            did not finish.
        errors.UserError: It is damaged, names files outside of the folder, or has
            another schema version.
    """
    path = pathlib.Path(records_dir, INFO_FILE)
    if not path.exists():
        raise errors.MissingFileError(
            f"{path} does not exist. Build the records first, with "
            "python -m tfrecords_tools.build."
        )
    try:
        content = files.read_json(path)
    except errors.UserError as error:
        raise errors.UserError(f"{error} {_AGAIN}") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version not in _READABLE or isinstance(version, bool):
        version = json_values.shorten(version)
        raise errors.UserError(
            f"{path} has schema version {version}, this kerasseg reads versions "
            f"{_VERSIONS}. {_AGAIN}"
        )
    try:
        metadata = json_values.get(content, "dataset", dict, "it")
        spec = datasets.DatasetSpec.from_json(metadata)
        splits = _read_splits(json_values.get(content, "splits", dict, "it"))
        instance_classes = _read_instance_classes(content, spec)
        labeled = _read_labeled(content, splits)
        num_unlabeled = _read_num_unlabeled(content, splits)
    except errors.UserError as error:
        raise errors.UserError(
            f"{path} is incomplete or damaged: {error}. {_AGAIN}"
        ) from error
    return DatasetInfo(spec, splits, version, instance_classes, labeled, num_unlabeled)


_READABLE = (SCHEMA_VERSION, OBJECTS_VERSION)
_VERSIONS = " and ".join(map(str, _READABLE))
_AGAIN = "Build the records again with python -m tfrecords_tools.build."


def _read_instance_classes(content, spec):
    listed = json_values.check(
        content.get("instance_classes", []), list, '"instance_classes"'
    )
    unknown = [name for name in listed if name not in spec.class_names]
    if unknown:
        raise errors.UserError(
            f'"instance_classes" has {json_values.shorten(unknown[0])}, which is not '
            "a class"
        )
    return tuple(listed)


def _read_num_unlabeled(content, splits):
    counts = json_values.check(
        content.get("num_unlabeled", {}), dict, '"num_unlabeled"'
    )
    _check_splits(counts, splits, "num_unlabeled")
    for split, count in counts.items():
        num_records = sum(shard.records for shard in splits[split])
        json_values.integer(count, f"the unlabeled of {split!r}", high=num_records)
    return counts


def _read_labeled(content, splits):
    listed = json_values.check(content.get("labeled", {}), dict, '"labeled"')
    _check_splits(listed, splits, "labeled")
    return {split: _read_list(item, split) for split, item in listed.items()}


def _check_splits(listed, splits, key):
    unknown = sorted(listed.keys() - splits.keys())
    if unknown:
        raise errors.UserError(
            f'"{key}" has {json_values.shorten(unknown[0])}, which is not a split'
        )


def _read_list(item, split):
    what = f"the labeled images of {split!r}"
    image_names = json_values.get(item, "names", list, what)
    for name in image_names:
        json_values.check(name, str, f"a name of {what}")
    origin = json_values.get(item, "origin", str, what)
    labeled = labeled_lists.LabeledList(tuple(image_names), origin)
    if not image_names or image_names != sorted(set(image_names)):
        raise errors.UserError(
            f"the names of {what} are none, not sorted, or not unique"
        )
    if json_values.get(item, "sha256", str, what) != labeled.checksum:
        raise errors.UserError(f"the checksum of {what} is wrong")
    return labeled


def _read_splits(listed):
    names: set[str] = set()
    splits = {}
    for split, items in listed.items():
        json_values.file_name(split, "the name of a split")
        json_values.check(items, list, f"the list of files of {split!r}")
        splits[split] = [_read_shard(item, f"a file of {split!r}") for item in items]
        for shard in splits[split]:
            if shard.name in names:
                raise errors.UserError(f"{shard.name} is listed twice")
            names.add(shard.name)
    return splits


def _read_shard(item, what):
    name = json_values.file_name(json_values.get(item, "name", str, what), what)
    numbers = {
        key: json_values.integer(
            json_values.get(item, key, int, name), f'"{key}" of {name}', high=high
        )
        for key, high in _HIGHEST.items()
    }
    return Shard(name=name, **numbers)


_HIGHEST = {"records": 2**53, "bytes": 2**63 - 1, "crc32c": 2**32 - 1}
