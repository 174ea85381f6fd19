"""Lists the pairs of Parquet files with a column of images and one of masks.

A value is the bytes of an image file, or a struct with these as "bytes", as the
library datasets of Hugging Face stores images:
https://huggingface.co/docs/datasets/about_dataset_features, "Image feature".
"""

import functools
import os
import pathlib

from kerasseg import datasets, errors, images
from tfrecords_tools.converters import pairs, shard_files

_NAME = "parquet"
_IMAGES = ("image", "pixel_values", "img")
_MASKS = ("mask", "segmentation_mask", "label", "annotation", "seg")


def make_spec(source: pairs.Source) -> datasets.DatasetSpec:
    """Returns the spec, see `shard_files.make_spec`."""
    return shard_files.make_spec(source, _NAME)


def list_splits(source: pairs.Source) -> list[str]:
    """Lists the splits."""
    return list(shard_files.find(source, _NAME, ".parquet"))


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Lists the rows of a split, as FILE/ROW.

    Raises:
        errors.MissingFileError: There is no Parquet file.
        errors.UserError: There is no such split, a file is damaged, or it has not one
            column of images and one of masks.
        errors.MissingPackageError: pyarrow is not installed.
    """
    found = shard_files.find(source, _NAME, ".parquet")
    listed = []
    for path in shard_files.of_split(found, split, _NAME):
        groups, _ = _layout(path)
        stem = pathlib.Path(path).stem
        listed += [
            pairs.Pair(f"{stem}/{row:06d}", path, path) for row in range(sum(groups))
        ]
    return listed


def find_passed_over(source: pairs.Source) -> tuple[str, ...]:
    """Returns no file: `shard_files.find` reads all that end with .parquet."""
    del source
    return ()


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads the image and the mask of a row.

    Raises:
        ImageError: A value is missing, or holds no bytes.
    """
    row = int(pair.name.rsplit("/", 1)[1])
    groups, columns = _layout(pair.image)
    group = 0
    while row >= groups[group]:
        row -= groups[group]
        group += 1
    stat = os.stat(pair.image)
    table = _read_group(pair.image, group, columns, stat.st_mtime_ns)
    image, label = (_bytes(table, column, row, pair) for column in columns)
    return pairs.Contents(image, label)


def _bytes(table, column, row, pair):
    value = table.column(column)[row].as_py()
    if isinstance(value, dict):
        value = value.get("bytes")
    if not isinstance(value, bytes):
        raise images.ImageError(
            f"{pair.image}: row {pair.name} has no bytes in the column {column}. Save "
            "the files in the table, not their paths"
        )
    return value


def _layout(path):
    stat = os.stat(path)
    return _read_layout(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=4096)
def _read_layout(path, *_):
    """Returns the number of rows of each row group, and the two columns."""
    file = _open(path)
    names = file.schema_arrow.names
    chosen = [[name for name in names if name in known] for known in (_IMAGES, _MASKS)]
    if [len(each) for each in chosen] != [1, 1]:
        raise errors.UserError(
            f"{path} has the columns {', '.join(names)}, expected one of images, named "
            f"{' or '.join(_IMAGES)}, and one of masks, named {' or '.join(_MASKS)}. "
            "Rename or drop columns."
        )
    meta = file.metadata
    groups = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
    return groups, tuple(name for (name,) in chosen)


def _open(path):
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise errors.MissingPackageError(
            "Parquet files need pyarrow. It is not installed: pip install "
            "'kerasseg[parquet]'."
        ) from error
    try:
        return parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise errors.UserError(
            f"{path} is damaged, or no Parquet file ({error}). Get the file again."
        ) from error


@functools.lru_cache(maxsize=1)
def _read_group(path, group, columns, _):
    try:
        return _open(path).read_row_group(group, columns=list(columns))
    except (OSError, ValueError) as error:  # Those of pyarrow are among these.
        raise images.ImageError(
            f"{path}: row group {group} is damaged ({error}). Get the file again"
        ) from error
