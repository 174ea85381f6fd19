"""Records: TFRecord files with TF DeepLab's keys, and dataset.json beside them.

`schema` holds what one record is, `shards` how records lie in a file, `manifest` what
dataset.json says, `reading` random access to a split.
"""

from kerasseg.records.manifest import (
    INFO_FILE,
    SCHEMA_VERSION,
    DatasetInfo,
    Shard,
    read_info,
    write_info,
)
from kerasseg.records.reading import Split, find_faults, open_split
from kerasseg.records.schema import (
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
    "SCHEMA_VERSION",
    "DatasetInfo",
    "RecordError",
    "Shard",
    "Split",
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
