"""dataset.json: what a folder of records must hold; written last, read first."""

import dataclasses
import json
import os
import pathlib

from kerasseg import datasets, errors
from kerasseg.records import shards
from kerasseg.system import files

SCHEMA_VERSION = 1
INFO_FILE = "dataset.json"

Shard = shards.Shard


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What dataset.json says.

    Attributes:
        spec: Facts of the data set that the records were built with.
        splits: The files of each split, in order.
        schema_version: Version of the record schema, `SCHEMA_VERSION` when written.
    """

    spec: datasets.DatasetSpec
    splits: dict[str, list[Shard]]
    schema_version: int = SCHEMA_VERSION


def write_info(records_dir: str | os.PathLike, info: DatasetInfo) -> None:
    """Writes dataset.json in one step, the same bytes for the same facts."""
    splits = {
        split: [dataclasses.asdict(shard) for shard in info.splits[split]]
        for split in sorted(info.splits)
    }
    facts = {
        "schema_version": info.schema_version,
        "dataset": info.spec.to_json(),
        "splits": splits,
    }
    text = json.dumps(facts, indent=2) + "\n"
    with files.open_file(pathlib.Path(records_dir, INFO_FILE)) as file:
        file.write(text.encode())


def read_info(records_dir: str | os.PathLike) -> DatasetInfo:
    """Reads dataset.json.

    Raises:
        FileNotFoundError: There is none: nothing was built, or a build did not end.
        ValueError: It is damaged, or of another schema version.
    """
    path = pathlib.Path(records_dir, INFO_FILE)
    try:
        facts = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise errors.MissingFileError(
            f"{path} does not exist. Write the records first, with "
            "python -m tfrecords_tools.build."
        ) from None
    except ValueError as error:
        raise errors.UserError(f"{path} is no JSON ({error}). {_AGAIN}") from error
    version = facts.get("schema_version") if isinstance(facts, dict) else None
    if version != SCHEMA_VERSION:
        raise errors.UserError(
            f"{path} has schema version {version}, this kerasseg reads version "
            f"{SCHEMA_VERSION}. {_AGAIN}"
        )
    try:
        spec = datasets.DatasetSpec.from_json(facts["dataset"])
        splits = {
            split: [Shard(**shard) for shard in found]
            for split, found in facts["splits"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise errors.UserError(f"{path} is incomplete: {error!r}. {_AGAIN}") from error
    return DatasetInfo(spec=spec, splits=splits, schema_version=version)


_AGAIN = "Build the records again with python -m tfrecords_tools.build."
