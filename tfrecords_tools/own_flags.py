"""The flags of own pictures, which build and inspect share."""

from kerasseg import common_flags
from tfrecords_tools import label_flags, own_data, pairs

common_flags.define_fields(own_data.OwnData)
common_flags.define_fields(label_flags.LabelFlags)


def read(dataset: str | None) -> tuple[pairs.Source, label_flags.LabelFlags]:
    """Makes the source and the flags that say how it is read.

    Raises:
        ValueError: Flags of own pictures with another data set, or what cannot be read.
    """
    reading = common_flags.read_fields(label_flags.LabelFlags)
    own = label_flags.with_classes(common_flags.read_fields(own_data.OwnData), reading)
    wrong = own.images or (own.classes and not pairs.is_open(dataset or pairs.OWN))
    if dataset not in (None, pairs.OWN) and wrong:
        raise ValueError(
            f"--images and --classes are of own pictures, --dataset={dataset} is "
            f"another data set. Give --dataset={pairs.OWN}, or leave them out"
        )
    source = pairs.make_source(
        common_flags.SOURCE_DIR.value,
        common_flags.SBD_DIR.value,
        common_flags.SEED.value,
        own=own,
    )
    return source, reading
