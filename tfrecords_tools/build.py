r"""Builds TFRecords from a published data set or from your own images.

  python -m tfrecords_tools.build --dataset=camvid --source_dir=DIR --records_dir=DIR
  python -m tfrecords_tools.build --dataset=pascal_voc \
      --source_dir=VOCdevkit/VOC2012 --sbd_dir=benchmark_RELEASE/dataset \
      --records_dir=DIR
  python -m tfrecords_tools.build --dataset=cityscapes --source_dir=A.zip,B.zip \
      --records_dir=DIR
  python -m tfrecords_tools.build --dataset=tfds:NAME --source_dir=DIR --records_dir=DIR
  python -m tfrecords_tools.build --dataset=shapes --records_dir=DIR
  python -m tfrecords_tools.build --dataset=folder --images='photos/*.jpg' \
      --masks='masks/*.png' --classes=background,road,car --records_dir=DIR

The last command is for your own images, see docs/data.md. Run python -m
tfrecords_tools.inspect with the same --images, --masks and --classes first: it reports
which other flags they need. docs/datasets.md lists the published data sets and where to
get them. Images without labels are built with --unlabeled; --labeled_fraction chooses
the images whose labels are used.

The build checks every image and its label, and writes record files and, at the end,
dataset.json. Run the same command again to resume an interrupted build.
"""

import dataclasses
import functools
import os
import pathlib
import shlex

from absl import app, flags

from kerasseg import cli
from kerasseg.records import labeled_lists
from kerasseg.system import files, image_kinds, patterns, processes
from tfrecords_tools.cli import build_flags, source_flags
from tfrecords_tools.converters import registry, source_files
from tfrecords_tools.writing import beam_engine, labeled_options, quarantine, writer

_SPLITS = flags.DEFINE_list(
    "splits", None, "Comma-separated splits to build. Default: all that are found."
)
_BEAM_OPTIONS = flags.DEFINE_string(
    "beam_options",
    "",
    "With --engine=beam, the pipeline options of Apache Beam, such as "
    "'--runner=FlinkRunner --parallelism=64'. All machines must have access to the "
    "source files and to --records_dir.",
)
_IMAGE_CLASSES = flags.DEFINE_string(
    "image_classes",
    "",
    "Image-level classes: a CSV file of image names and their classes, separated by "
    "semicolons; or the folder VOCdevkit/VOC2012, for ImageSets/Main. Default: the "
    "classes that occur in the label.",
)
cli.define_fields(labeled_options.LabeledOptions)
_READ = "dataset", "records_dir", "labeled_list", "max_pixels", "workers", "engine"
for _name in (*_READ, *build_flags.NAMES, *source_flags.SHARED):
    flags.declare_key_flag(_name)


def main(argv: list[str]) -> None:
    """Builds the records, and prints their number."""
    del argv
    dataset, records_dir = cli.required(
        dataset=cli.DATASET.value, records_dir=cli.RECORDS_DIR.value
    )
    engine = _engine()
    labeled = cli.read_fields(
        labeled_options.LabeledOptions, labeled_list=cli.LABELED_LIST.value
    )
    source, options = source_flags.read(dataset)
    source = dataclasses.replace(
        source,
        num_drawn=build_flags.NUM_DRAWN.value,
        image_classes=_IMAGE_CLASSES.value,
    )
    passed_over = registry.find_passed_over(dataset, source)
    result = writer.build_records(
        dataset,
        source,
        records_dir,
        splits=_SPLITS.value,
        rules=options.read(cli.MAX_PIXELS.value).rules,
        labeled=labeled,
        skip_bad=build_flags.ON_ERROR.value == "skip",
        engine=engine,
    )
    if passed_over:
        print(f"Passed over by ending: {patterns.count_by_suffix(passed_over)}.")
    _report(result, records_dir)
    _report_labeled(result, labeled, records_dir)
    folder = shlex.quote(os.fspath(records_dir))
    print(f"Inspect: python -m tfrecords_tools.inspect --records_dir={folder}")


def _engine():
    """Returns the function that runs the tasks."""
    if cli.engine("beam") == "beam":
        return functools.partial(beam_engine.run, options=_BEAM_OPTIONS.value)
    if _BEAM_OPTIONS.value:
        raise app.UsageError("--beam_options needs --engine=beam.")
    num_workers = cli.WORKERS.value or processes.num_cores()
    return functools.partial(quarantine.run, num_workers=num_workers)


def _report(result, records_dir):
    if not result.image_kind.is_rgb:
        print(f"Images: {result.image_kind}.")
        for line in image_kinds.describe(result.image_kind):
            print(f"  {line}")
    for split, reason in result.missing_splits.items():
        print(f"{split} is skipped: {reason}")
    for split, count in result.num_records.items():
        without = result.num_unlabeled.get(split)
        more = f", {without:,} of them without a label" if without else ""
        print(f"{split}: {source_files.count(count, 'record')}{more}")
        if _IMAGE_CLASSES.value:
            classified = result.num_classified.get(split, 0)
            print(f"  image-level classes from {_IMAGE_CLASSES.value}: {classified:,}")
        if split in result.num_converted:
            converted = source_files.count(result.num_converted[split], "image")
            form = "PNG" if result.image_kind.is_rgb else "arrays"
            print(f"  stored as {form}, from BMP, WebP or TIFF files: {converted}")
        if split in result.num_objects:
            print(f"  {_describe_objects(result.num_objects[split])}")
    if result.num_kept:
        print(f"{result.num_kept} of them were built before.")
    if result.rejected:
        path = os.path.join(records_dir, writer.REJECTED_FILE)
        bad = source_files.count(result.rejected, "bad pair was", "bad pairs were")
        print(f"{bad} skipped, see {path}")


def _report_labeled(result, options, records_dir):
    """Prints the list of labeled images, and writes a drawn one as a file."""
    for split, listed in result.labeled.items():
        print(listed.describe(split, result.num_records[split]))
        if options.labeled_list is None:
            name = f"labeled_{split}_{len(listed)}_seed_{options.split_seed}.txt"
            path = pathlib.Path(records_dir, name)
            files.write_bytes(path, labeled_lists.as_text(listed).encode())
            print(f"The list, for --labeled_list: {path}")


def _describe_objects(numbers):
    """Returns the number of masks of objects, and of images without any."""
    masks = source_files.count(sum(numbers), "mask of an object", "masks of objects")
    images = source_files.count(sum(map(bool, numbers)), "image")
    without = numbers.count(0)
    none = source_files.count(without, "image has none", "images have none")
    return f"{masks} in the folders of {images}; {none}."


if __name__ == "__main__":
    cli.run(main)
