"""Records: TFRecord files with TF DeepLab's keys, and their dataset.json.

`schema` defines a single record, `shards` the TFRecord files, `manifest` dataset.json,
and `reading` gives random access to a split.
"""

from kerasseg.records.manifest import (
    INFO_FILE,
    SCHEMA_VERSION,
    DatasetInfo,
    Shard,
    read_info,
    write_info,
)
from kerasseg.records.reading import Split, check_split, find_faults, open_split
from kerasseg.records.schema import (
    MAX_PIXELS,
    decode_image,
    decode_instances,
    decode_label,
    encode_example,
    parse_example,
)
from kerasseg.records.shards import (
    RecordError,
    file_checksum,
    find_shards,
    scan_shard,
    shard_name,
    write_shard,
)

__all__ = [
    "INFO_FILE",
    "MAX_PIXELS",
    "SCHEMA_VERSION",
    "DatasetInfo",
    "RecordError",
    "Shard",
    "Split",
    "check_split",
    "decode_image",
    "decode_instances",
    "decode_label",
    "encode_example",
    "file_checksum",
    "find_faults",
    "find_shards",
    "open_split",
    "parse_example",
    "read_info",
    "scan_shard",
    "shard_name",
    "write_info",
    "write_shard",
]
