r"""Builds TFRecords of a data set.

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

The last is for own pictures; python -m tfrecords_tools.inspect with the same --images,
--masks and --classes says which of the other flags it needs.

docs/datasets.md says how to get each data set.

Checks every picture and its label, writes files of records and, last of all,
dataset.json. A build that was interrupted goes on when it is started again.
"""

import dataclasses
import functools
import os

from absl import app, flags

from kerasseg import cli
from tfrecords_tools.cli import own_flags
from tfrecords_tools.converters import pairs
from tfrecords_tools.doctor import precheck
from tfrecords_tools.writing import beam_engine, quarantine, writer

_SPLITS = flags.DEFINE_list("splits", None, "Splits; all that the source has if none.")
_ON_ERROR = flags.DEFINE_enum(
    "on_error",
    "stop",
    ["stop", "skip"],
    "What a bad pair does: stop the build, or be listed in rejected.jsonl.",
)
_NUM_DRAWN = flags.DEFINE_integer(
    "num_drawn",
    None,
    "Pictures of each split of --dataset=shapes, if not as many as usual.",
    lower_bound=1,
)
_BEAM_OPTIONS = flags.DEFINE_string(
    "beam_options",
    "",
    "Options of the pipeline, as in '--runner=FlinkRunner --parallelism=64'. All its "
    "machines must see the source and the records.",
)
_READ = "dataset", "records_dir", "max_pixels", "workers", "engine"
for _name in (*_READ, *own_flags.SHARED):
    flags.declare_key_flag(_name)


def main(argv):
    """Turns flags into plain arguments, and says what was built."""
    del argv
    cli.required(dataset=cli.DATASET.value, records_dir=cli.RECORDS_DIR.value)
    dataset, folder = str(cli.DATASET.value), cli.RECORDS_DIR.value
    source, reading = own_flags.read(dataset)
    source = dataclasses.replace(source, num_drawn=_NUM_DRAWN.value)
    rules = reading.read(cli.MAX_PIXELS.value).rules
    splits = _SPLITS.value or _splits_there(dataset, source)
    if dataset == pairs.OWN:
        _check_own(source, splits, rules)
    result = writer.build_records(
        dataset,
        source,
        str(folder),
        splits=splits,
        rules=rules,
        skip_bad=_ON_ERROR.value == "skip",
        engine=_engine(),
    )
    _report(result, str(folder))


def _engine():
    """Returns what runs the tasks."""
    if cli.engine("beam") == "beam":
        return functools.partial(beam_engine.run, options=_BEAM_OPTIONS.value)
    if _BEAM_OPTIONS.value:
        raise app.UsageError("--beam_options needs --engine=beam.")
    num_workers = cli.WORKERS.value or len(os.sched_getaffinity(0))
    return functools.partial(quarantine.run, num_workers=num_workers)


def _check_own(source, splits, rules):
    listed = pairs.converter(pairs.OWN).list_pairs(splits[0], source)
    num_classes = pairs.facts(pairs.OWN, source).num_classes
    precheck.refuse_0_and_255(listed, num_classes, rules.labels)


def _splits_there(dataset, source):
    found = pairs.find_splits(dataset, source)
    there = [split for split, reason in found.items() if not reason]
    for split, reason in found.items():
        if reason:
            print(f"{split} is left out: {reason}")
    return there


def _report(result, folder):
    for split, count in result.num_records.items():
        print(f"{split}: {count} records")
    if result.num_kept:
        print(f"{result.num_kept} of them were there already.")
    if result.rejected:
        path = os.path.join(folder, writer.REJECTED_FILE)
        print(f"{len(result.rejected)} bad pairs were left out, see {path}")
    print(f"Look at them with python -m tfrecords_tools.inspect --records_dir={folder}")


if __name__ == "__main__":
    cli.run(main)
