"""Maps the values of a source's labels to class numbers."""

from collections.abc import Sequence

import numpy as np

from kerasseg import datasets, images
from kerasseg.system import files
from tfrecords_tools.converters import pairs, source_files


def make_table(
    classes: Sequence[int], size: int, *, others: int | None = datasets.IGNORE_LABEL
) -> np.ndarray:
    """Returns the lookup table for `renumber`.

    Args:
        classes: The source's value of class 0, 1, and so on.
        size: The source's values range from 0 to `size - 1`.
        others: Class number of values that are not in `classes`; None if such values
            are errors.

    Returns:
        Class number by value, int16 `[size]`, -1 for values that are errors.
    """
    table = np.full(size, -1 if others is None else others, np.int16)
    table[list(classes)] = range(len(classes))
    return table


def renumber(label: np.ndarray, table: np.ndarray, name: str) -> np.ndarray:
    """Looks up the class number of each pixel.

    Args:
        label: Values of the source, of any numeric type, `[height, width]`.
        table: From `make_table`.
        name: Name of the label, for error messages.

    Returns:
        Class numbers, uint8 `[height, width]`.

    Raises:
        ImageError: The label has another shape, or values that are not in the table.
    """
    if label.ndim != 2 or label.dtype.kind not in "uif":
        raise images.ImageError(
            f"{name} is {label.dtype} {list(label.shape)}, expected integers [height, "
            "width]. Get the file again."
        )
    known = np.flatnonzero(table >= 0)
    unknown = ~np.isin(label, known)
    if unknown.any():
        numbers, counts = np.unique(label[unknown], return_counts=True)
        pixels = zip(numbers[:10].tolist(), counts[:10].tolist(), strict=True)
        listed = ", ".join(
            f"{number} ({source_files.count(times, 'pixel')})"
            for number, times in pixels
        )
        expected = f"range from 0 to {len(table) - 1}"
        if len(known) < len(table):
            expected = f"are {source_files.shorten(known.tolist())}"
        raise images.ImageError(
            f"{name}: {listed} are not values of this data set's labels, which "
            f"{expected}. Check that it is the label that the authors publish."
        )
    return table[label.astype(np.intp)].astype(np.uint8)


def contents(
    pair: pairs.Pair, numbers: np.ndarray, table: np.ndarray
) -> pairs.Contents:
    """Reads the image of a pair, and maps the values of its label by a table.

    Args:
        pair: The pair.
        numbers: The values of its label, see `renumber`.
        table: From `make_table`.

    Raises:
        ImageError: See `renumber`.
    """
    label = renumber(numbers, table, pair.label)
    return pairs.Contents(files.read_bytes(pair.image), label)
