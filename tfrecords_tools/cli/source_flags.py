"""The flags of a source, which build and inspect share."""

import dataclasses
import pathlib

from absl import flags

from kerasseg import cli, errors
from tfrecords_tools.converters import (
    archives,
    exports,
    own_data,
    pairs,
    pascal_voc,
    registry,
    yolo,
)
from tfrecords_tools.writing import label_options

_INSTANCES = flags.DEFINE_bool(
    "instances",
    False,
    "Also read the instances, for instance segmentation: of data sets that have them, "
    "and of your own images with --annotations or --instance_masks.",
)
# Of build and inspect. `images` is a field of `OwnData`, and of label_next, too.
SHARED = cli.IMAGES.name, "source_dir", "sbd_dir", "seed", "instances"

cli.define_fields(own_data.OwnData)
cli.define_fields(label_options.LabelOptions)


def read(dataset: str | None) -> tuple[pairs.Source, label_options.LabelOptions]:
    """Returns the source that the flags give, and how its labels are read.

    Archives are unpacked.

    Args:
        dataset: Name of the data set, or None.

    Raises:
        errors.UserError: Flags of own images are given for another data set, a flag
            cannot be parsed, or an archive is refused.
    """
    options = cli.read_fields(label_options.LabelOptions)
    if options.palette_colors and not options.colormap:
        raise errors.UserError(
            "`palette_colors` needs `colormap`, which gives the class of each color. "
            "Without both, masks with a palette are read by their values."
        )
    own = cli.read_fields(own_data.OwnData)
    source_dir = _path(cli.SOURCE_DIR.value)
    if dataset == pairs.OWN and source_dir and exports.has_no_files(own):
        own, options = _read_export(source_dir, own, options)
    own = options.add_classes(own)
    is_open = registry.has_open_classes(dataset or pairs.OWN)
    if dataset not in (None, pairs.OWN) and (
        own.images or (own.classes and not is_open)
    ):
        raise errors.UserError(
            f"`images` and `classes` are for your own images, but `dataset={dataset}` "
            f"is another data set. Give `dataset={pairs.OWN}`, or omit them."
        )
    if own.instance_masks and not _INSTANCES.value:
        raise errors.UserError(
            f"`instance_masks={own.instance_masks}` needs `instances`. Give both, or "
            "none."
        )
    source = pairs.Source(
        source_dir=source_dir,
        sbd_dir=_path(cli.SBD_DIR.value),
        seed=cli.SEED.value,
        own=own,
        instances=_INSTANCES.value,
    )
    return _unpack_archives(dataset, source), options


def _read_export(path, own, options):
    """Returns the options with those that the folder of an export needs."""
    if not yolo.is_data_yaml(str(path)):
        path = _unpack(path, exports.is_known)
    export = exports.expand(path, own, options.classes)
    return export.own, dataclasses.replace(options, classes=export.classes)


def _unpack_archives(dataset, source):
    """Returns a source of folders, after unpacking archives."""
    if dataset in (None, pairs.OWN, *pairs.SHARDED):
        return source

    def accepts(folder):
        try:
            registry.find_splits(
                dataset, dataclasses.replace(source, source_dir=folder)
            )
        except FileNotFoundError:
            return False
        return True

    return dataclasses.replace(
        source,
        sbd_dir=_unpack(source.sbd_dir, pascal_voc.is_sbd),
        source_dir=_unpack(source.source_dir, accepts),
    )


def _path(text):
    return pathlib.Path(text) if text else None


def _unpack(path, accepts):
    """Unpacks archives, and returns the folder of the data set in them."""
    paths = archives.find(str(path))
    if not paths:
        return path
    print(f"Unpacked next to the archives: {', '.join(map(str, paths))}")
    return archives.find_folder(archives.unpack(paths), accepts)
