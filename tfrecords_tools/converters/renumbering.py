"""From the numbers of a source's labels to class numbers."""

import pathlib

import numpy as np

from kerasseg import datasets, images
from tfrecords_tools.converters import pairs


def make_table(classes, size: int, *, others=datasets.IGNORE_LABEL) -> np.ndarray:
    """Makes the table that `renumber` looks up.

    Args:
        classes: Number in the source of class 0, 1, and so on.
        size: The source's numbers go from 0 to `size - 1`.
        others: What numbers become that are no class.

    Returns:
        Class number by number in the source, uint8 `[size]`.
    """
    table = np.full(size, others, np.uint8)
    table[list(classes)] = range(len(classes))
    return table


def renumber(label: np.ndarray, table: np.ndarray, name: str) -> np.ndarray:
    """Looks up the class number of each pixel.

    Args:
        label: Numbers of the source, of any type, `[height, width]`.
        table: What `make_table` made.
        name: What errors call the label.

    Returns:
        Class numbers, uint8 `[height, width]`.

    Raises:
        ImageError: The label has another shape, or numbers that the source has not.
    """
    if label.ndim != 2 or label.dtype.kind not in "uif":
        raise images.ImageError(
            f"{name} is {label.dtype} {list(label.shape)}, wanted are whole numbers "
            "[height, width]. Get the file again"
        )
    unknown = ~np.isin(label, np.arange(len(table)))
    if unknown.any():
        numbers, counts = np.unique(label[unknown], return_counts=True)
        seen = zip(numbers[:10].tolist(), counts[:10].tolist(), strict=True)
        listed = ", ".join(f"{number} ({count} pixels)" for number, count in seen)
        raise images.ImageError(
            f"{name}: {listed} are no numbers of this data set's labels, which go from "
            f"0 to {len(table) - 1}. Is it the label that the authors publish?"
        )
    return table[label.astype(np.intp)]


def contents(
    pair: pairs.Pair, numbers: np.ndarray, table: np.ndarray
) -> pairs.Contents:
    """Takes a pair's picture as it is, and the numbers of its label by a table.

    Args:
        pair: The pair.
        numbers: What its label holds, see `renumber`.
        table: Likewise.

    Raises:
        ImageError: See `renumber`.
    """
    label = renumber(numbers, table, pair.label)
    return pairs.Contents(pathlib.Path(pair.image).read_bytes(), label)
