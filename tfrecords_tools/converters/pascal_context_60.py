"""Lists the pairs of PASCAL-Context with a background class."""

from tfrecords_tools.converters import pairs, pascal_context, renumbering

_TABLE = renumbering.make_table(
    (0, *pascal_context.NUMBERS), pascal_context.NUM_SOURCE_CLASSES + 1, others=0
)

list_pairs = pascal_context.list_pairs


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads a pair. Other pixels than those of the 59 classes are background.

    Raises:
        ImageError: The label cannot be read or holds other values.
    """
    return pascal_context.read_as(pair, _TABLE)
