"""Records: TFRecord files with TF DeepLab's keys, and their dataset.json.

`schema` defines a single record, `shards` the TFRecord files, `manifest` dataset.json,
`labeled_lists` which labels of a split are used, and `reading` gives random access to a
split.
"""

from kerasseg.records.channel_statistics import (
    Summary,
    combine,
    measure,
    of_training,
    summarize,
    with_statistics,
)
from kerasseg.records.labeled_lists import LabeledList
from kerasseg.records.manifest import (
    INFO_FILE,
    OBJECTS_VERSION,
    PSEUDO_LABELS_FILE,
    SCHEMA_VERSION,
    DatasetInfo,
    Shard,
    read_info,
    write_info,
)
from kerasseg.records.objects import (
    EncodedObjects,
    LayerStack,
    Objects,
    encode_masks,
    from_instances,
    from_rles,
)
from kerasseg.records.reading import Split, check_split, find_faults, open_split
from kerasseg.records.schema import (
    MAX_PIXELS,
    decode_image,
    decode_instances,
    decode_label,
    decode_objects,
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
from kerasseg.records.sharing import shared_images

__all__ = [
    "INFO_FILE",
    "MAX_PIXELS",
    "OBJECTS_VERSION",
    "PSEUDO_LABELS_FILE",
    "SCHEMA_VERSION",
    "DatasetInfo",
    "EncodedObjects",
    "LabeledList",
    "LayerStack",
    "Objects",
    "RecordError",
    "Shard",
    "Split",
    "Summary",
    "check_split",
    "combine",
    "decode_image",
    "decode_instances",
    "decode_label",
    "decode_objects",
    "encode_example",
    "encode_masks",
    "file_checksum",
    "find_faults",
    "find_shards",
    "from_instances",
    "from_rles",
    "measure",
    "of_training",
    "open_split",
    "parse_example",
    "read_info",
    "scan_shard",
    "shard_name",
    "shared_images",
    "summarize",
    "with_statistics",
    "write_info",
    "write_shard",
]
