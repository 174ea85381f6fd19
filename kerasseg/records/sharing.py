"""Images that two splits share: of evaluation and training, they are data leakage."""

import collections
import hashlib
from collections.abc import Sequence

import numpy as np

from kerasseg import errors
from kerasseg.records import reading, schema, shards
from kerasseg.system import processes


def shared_images(first: reading.Split, second: reading.Split) -> list[tuple[int, int]]:
    """Finds images with equal pixels, whatever their names and file formats.

    Reads every record of both splits, and decodes the images of those sizes that occur
    in both. Images that were saved again with loss or at another size are not found.

    Args:
        first: A split.
        second: Another split, which may have other classes.

    Returns:
        Pairs of a record index of each split, sorted.

    Raises:
        records.RecordError: A record is damaged. The message names shard and record.
    """
    sizes = [[tuple(size) for size in each.sizes.tolist()] for each in (first, second)]
    common = set(sizes[0]) & set(sizes[1])
    chosen = [[i for i, s in enumerate(each) if s in common] for each in sizes]
    indices = collections.defaultdict(list)
    for j, content in zip(chosen[1], hash_images(second, chosen[1]), strict=True):
        indices[content].append(j)
    contents = zip(chosen[0], hash_images(first, chosen[0]), strict=True)
    return [(i, j) for i, content in contents for j in indices[content]]


def hash_images(
    split: reading.Split, indices: Sequence[int] | np.ndarray
) -> list[bytes]:
    """Returns a hash of the size and the pixels of each of some images.

    Raises:
        records.RecordError: A record is damaged. The message names shard and record.
    """

    def hash_image(i):
        try:
            pixels = schema.decode_image(schema.parse_example(split.read(i))["image"])
        except shards.RecordError:
            raise
        except errors.UserError as error:
            raise shards.RecordError(f"{split.locate(i)}: {error}") from error
        return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).digest()

    num_threads = processes.num_cores()
    return list(processes.in_order(hash_image, indices, num_threads=num_threads))
