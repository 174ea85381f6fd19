r"""Trains a network on your images in a given time, evaluates and exports it.

kerasseg fit --images='photos/*.jpg' --masks='masks/*.png' --minutes=30 --workdir=run
kerasseg fit --annotations=data.yaml --workdir=run
kerasseg fit --dataset=camvid --source_dir=DIR --workdir=run
kerasseg fit --images='photos/*.jpg' --masks='masks/*.png' --workdir=run --dry_run

Checks the images and masks, and stops with the flags to give where something is wrong;
builds records; measures the time of a training step; writes the plan, a flag file with
a reason for each line, to plan.flags in --workdir; trains; evaluates, with a report;
and exports. All of it takes about --minutes on this machine. Without --classes, the
classes are named by their numbers. The flags of the images are those of
tfrecords_tools.build, see docs/data.md.

Run the same command again to continue an interrupted run: what is complete is kept.
docs/own_images.md describes what is chosen and how to change it.
"""

import dataclasses
import sys
import time
from collections.abc import Sequence

from absl import flags

from kerasseg import cli, errors
from kerasseg.cli.fitting import run_file, source, stages
from kerasseg.system import option_fields, path_checks, progress
from tfrecords_tools.cli import build_flags, source_flags
from tfrecords_tools.converters import own_data, pairs
from tfrecords_tools.writing import label_options

_MINUTES = flags.DEFINE_float(
    "minutes",
    30.0,
    "Minutes from the start of the command to the export. They are divided once, by "
    "the plan; an interrupted run continues with the same plan.",
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run",
    False,
    "Print the plan, and stop before the training. The records are built, and the plan "
    "is kept for the same command without this flag.",
)
_READ = "dataset", "workdir", "max_pixels", "workers"
for _name in (*_READ, *build_flags.NAMES, *source_flags.SHARED):
    flags.declare_key_flag(_name)


def main(argv: Sequence[str]) -> None:
    """Turns flags into arguments, and runs the stages."""
    del argv
    began = time.time()
    (workdir,) = cli.required(workdir=cli.WORKDIR.value)
    path_checks.check_model(workdir, "workdir")
    path_checks.check_text(workdir, "workdir")
    if not 0 < _MINUTES.value < float("inf"):
        raise errors.UserError(
            f"`minutes={_MINUTES.value:g}` is no duration. Give a number above 0, such "
            "as 30."
        )
    run = run_file.open_run(workdir, _data_flags(), _MINUTES.value)
    stages.stage(run, "records", lambda: _build(run))
    seed = cli.SEED.value
    stages.stage(run, "plan", lambda: stages.make_plan(run, seed=seed, began=began))
    if _DRY_RUN.value:
        print(run.plan.read_text("utf-8"), end="")
        return
    _train(run, seed)
    stages.stage(run, "evaluation", lambda: stages.evaluate(run))
    stages.stage(run, "export", lambda: stages.export(run))
    progress.log(stages.summary(run, cli.IMAGES.value))
    progress.log(f"Time of this command: {(time.time() - began) / 60:.1f} minutes.")


def _data_flags():
    """Returns the flags that give the data and that differ from their defaults."""
    names = ["dataset", "max_pixels", *build_flags.NAMES, *source_flags.SHARED]
    for options in (own_data.OwnData, label_options.LabelOptions):
        names += [field.name for field, _ in option_fields.fields(options)]
    given = (flags.FLAGS[name] for name in sorted({*names}))
    return [each.serialize() for each in given if each.value != each.default]


def _build(run):
    """Checks the images and builds the records."""
    dataset = cli.DATASET.value or pairs.OWN
    read, options = source_flags.read(dataset)
    given = source.Images(
        dataset=dataset,
        source=dataclasses.replace(read, num_drawn=build_flags.NUM_DRAWN.value),
        options=options,
        max_pixels=cli.MAX_PIXELS.value,
        skip_bad=build_flags.ON_ERROR.value == "skip",
        num_workers=cli.WORKERS.value,
        scale=options.image_scale if flags.FLAGS["image_scale"].present else None,
    )
    began = time.perf_counter()
    given = source.examine(given, run.workdir)
    source.check_splits(given)
    if not run.image_scale:
        run.image_scale, run.reason = source.choose_scale(given)
        run.write()
    if dataset == pairs.OWN:  # The build checks other data sets.
        seconds = time.perf_counter() - began
        progress.log(f"check: no problems found ({seconds:.0f} seconds).")
    return source.build(given, run)


def _train(run, seed):
    """Trains; ends the program where a signal came, as kerasseg.train does."""

    def work():
        from kerasseg import training

        try:
            return stages.train(run, seed)
        except training.Interrupted as interrupted:
            print(interrupted, file=sys.stderr)
            sys.exit(interrupted.status)

    stages.stage(run, "training", work)


if __name__ == "__main__":
    cli.run(main)
