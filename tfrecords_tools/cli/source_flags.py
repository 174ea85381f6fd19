"""The flags of own pictures, which build and inspect share."""

import dataclasses

from kerasseg import cli, errors
from tfrecords_tools.cli import label_flags
from tfrecords_tools.converters import archives, own_data, pairs, pascal_voc

SHARED = "source_dir", "sbd_dir", "seed"  # Of the flags that more programs share.

cli.define_fields(own_data.OwnData)
cli.define_fields(label_flags.LabelFlags)


def read(dataset: str | None) -> tuple[pairs.Source, label_flags.LabelFlags]:
    """Makes the source and the flags that say how it is read.

    Raises:
        ValueError: Flags of own pictures with another data set, what cannot be read, or
            an archive that is refused.
    """
    reading = cli.read_fields(label_flags.LabelFlags)
    if reading.palette_colors and not reading.colormap:
        raise errors.UserError(
            "`palette_colors` needs `colormap`, which says what class a colour is; "
            "without both, masks with a palette are read by their numbers"
        )
    own = label_flags.with_classes(cli.read_fields(own_data.OwnData), reading)
    wrong = own.images or (own.classes and not pairs.is_open(dataset or pairs.OWN))
    if dataset not in (None, pairs.OWN) and wrong:
        raise errors.UserError(
            f"`images` and `classes` are of own pictures, `dataset={dataset}` is "
            f"another data set. Give `dataset={pairs.OWN}`, or leave them out"
        )
    source = pairs.make_source(
        cli.SOURCE_DIR.value,
        cli.SBD_DIR.value,
        cli.SEED.value,
        own=own,
    )
    if dataset is None:
        return source, reading

    def accepts(folder):
        try:
            pairs.find_splits(dataset, dataclasses.replace(source, source_dir=folder))
        except FileNotFoundError:
            return False
        return True

    sbd_dir = _unpacked(source.sbd_dir, pascal_voc.is_sbd)
    source_dir = _unpacked(source.source_dir, accepts)
    return dataclasses.replace(source, source_dir=source_dir, sbd_dir=sbd_dir), reading


def _unpacked(path, accepts):
    """Unpacks what a flag names where it is archives, and finds the folder in them."""
    paths = archives.find(str(path))
    if not paths:
        return path
    print(f"Unpacked beside themselves: {', '.join(map(str, paths))}")
    return archives.find_folder(archives.unpack(paths), accepts)
