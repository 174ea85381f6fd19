"""Checks the images, chooses how far they are reduced, and builds the records."""

import dataclasses
import functools
import math
import os
import pathlib
import shlex
from collections.abc import Callable, Sequence

from kerasseg import errors, images
from kerasseg.cli.fitting.run_file import RunFile
from kerasseg.system import patterns, processes, progress
from kerasseg.training.planning import facts
from tfrecords_tools.converters import class_lists, pairs, registry, source_files
from tfrecords_tools.doctor import describing, examining, reporting, splits
from tfrecords_tools.writing import label_options, quarantine, writer

SPLITS = "train", "val"
_LONG_SIDE = 1024  # Pixels to which large images are reduced.
_LARGE = 1.5  # Times this side, from which on they are.
_MIN_OBJECT = 8  # Pixels of the side of a small object in a reduced image.
_NUM_SAMPLES = 8


@dataclasses.dataclass(frozen=True)
class Images:
    """The images to learn from.

    Attributes:
        dataset: Name of the data set.
        source: Where its images are.
        options: How images and masks are read.
        max_pixels: Images with more pixels are refused.
        skip_bad: Whether invalid pairs are skipped.
        num_workers: Processes of the build; None for one per core.
        scale: Factor by which images are reduced; None to choose it.
    """

    dataset: str
    source: pairs.Source
    options: label_options.LabelOptions
    max_pixels: int = images.DEFAULT_MAX_PIXELS
    skip_bad: bool = False
    num_workers: int | None = None
    scale: float | None = None


def examine(given: Images, workdir: str | os.PathLike) -> Images:
    """Examines own images; returns them with the names of their classes.

    Args:
        given: The images. Other data sets are checked by the build alone.
        workdir: Folder for a list of images to leave out.

    Raises:
        errors.UserError: There are problems, which are printed; or options are missing,
            or do not fit the files.
        errors.MissingFileError: There is no image or no mask.
    """
    own = given.source.own
    if given.dataset != pairs.OWN or own is None:
        return given
    options = {
        "unlabeled": own.unlabeled,
        "instances": given.source.instances,
        "multi_label": own.multi_label,
    }
    if wrong := [name for name, value in options.items() if value]:
        raise errors.UserError(
            f"`{wrong[0]}`: kerasseg fit learns one class of each pixel from images "
            f"that all have a label. Leave it out, or use kerasseg train, see "
            f"docs/training.md."
        )
    found = examining.examine(given.source, given.options, given.max_pixels)
    if found.problems:
        progress.log(describing.describe(found))
        raise errors.UserError(_remedy(found, given, workdir))
    if own.classes or found.own.annotations:
        return given
    return _with_classes(given, _class_names(found.numbers))


def _remedy(found, given, workdir):
    """Returns the error, with the flags that correct the problems."""
    if not found.is_fixable:
        return describing.summarize(found.problems)
    proposed = {}
    for before, after in (
        (given.source.own, found.own),
        (given.options, found.options),
    ):
        for field in dataclasses.fields(before):
            value = getattr(after, field.name)
            if "help" in field.metadata and value != getattr(before, field.name):
                proposed[field.name] = value
    if found.leave_out:
        path = pathlib.Path(workdir, "leave_out.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        proposed["leave_out"] = reporting.write_leave_out(found, path)
    kinds = ", ".join(finding.kind for finding in found.problems)
    return (
        f"The images have problems ({kinds}), which are listed above. Correct the "
        f"files, or run the same command with these flags: "
        f"{' '.join(describing.as_flags(proposed))}"
    )


def _class_names(numbers: Sequence[int]) -> list[str]:
    """Returns names for class numbers that no option names.

    Raises:
        errors.UserError: The numbers are not 0, 1, 2 and so on.
    """
    known = [number for number in numbers if number != 255]
    if known != list(range(len(known))) or len(known) < 2:
        values = source_files.shorten([str(number) for number in known])
        raise errors.UserError(
            f"The masks hold the values {values or 'of colors'}, which are not the "
            "numbers 0, 1, 2 and so on of two or more classes. Name the classes with "
            "`classes=background,road`, in the order of their numbers; "
            "kerasseg inspect proposes options for other values."
        )
    if len(known) == 2:
        return ["background", "foreground"]
    return ["background", *(f"class{number}" for number in known[1:])]


def _with_classes(given, names):
    listed = class_lists.make_list([(name, None) for name in names], "the masks")
    progress.log(
        f"Classes: {', '.join(names)}, by the values of the masks. Name them with "
        "--classes."
    )
    own = dataclasses.replace(given.source.own, classes=listed)
    options = dataclasses.replace(given.options, classes=",".join(names))
    return dataclasses.replace(
        given, source=dataclasses.replace(given.source, own=own), options=options
    )


def check_splits(given: Images) -> None:
    """Checks that there are images to train on, and images for the validation.

    Raises:
        errors.UserError: There are no such splits.
        errors.MissingFileError: There are no images.
    """
    reasons = registry.find_splits(given.dataset, given.source)
    missing = [name for name in SPLITS if reasons.get(name, "none")]
    if not missing:
        return
    found = ", ".join(name for name, reason in reasons.items() if not reason)
    advice = "Give a data set that has both."
    if given.dataset == pairs.OWN:
        advice = (
            "At least two images are needed, of which `val_fraction` are held out for "
            "val. Splits of other names are renamed as in `rename_splits=valid:val`; "
            "with * in place of {split} in the patterns, images are divided at random."
        )
    raise errors.UserError(
        f"The images have no split {' and '.join(missing)}, only {found}. {advice}"
    )


def choose_scale(given: Images) -> tuple[float, str]:
    """Returns the factor by which images are reduced, and why."""
    if given.scale is not None:
        return given.scale, "it was given"
    readers = splits.open_source(
        given.dataset, given.source, given.options.read(given.max_pixels).rules
    )
    reader = next(reader for reader in readers if reader.split == SPLITS[0])
    sizes, objects = [], []
    step = max(1, reader.count // _NUM_SAMPLES)
    for i in range(0, reader.count, step)[:_NUM_SAMPLES]:
        try:
            image, label = reader.decode(i)
        except (ValueError, OSError):
            continue  # The build reports it.
        sizes.append(image.shape[:2])
        if label is not None:
            objects += facts.object_sizes(label, reader.spec.class_names)
    if not sizes:
        return 1.0, "no image could be read"
    return scale_for(facts.typical_size(sizes)[0], min(objects, default=None))


def scale_for(size: tuple[int, int], object_size: float | None) -> tuple[float, str]:
    """Returns the factor for images of a size, and why.

    Args:
        size: Typical height and width in pixels.
        object_size: Side of the smallest objects in pixels, or None.
    """
    side = max(size)
    if side <= _LARGE * _LONG_SIDE:
        return 1.0, f"images of {side} pixels are not large"
    scale, reason = _LONG_SIDE / side, f"a longer side of {_LONG_SIDE} pixels"
    if object_size is not None and scale * object_size < _MIN_OBJECT:
        scale = min(1.0, _MIN_OBJECT / object_size)
        reason = f"small objects keep {_MIN_OBJECT} pixels"
    return math.ceil(100 * scale) / 100, reason


def build(given: Images, run: RunFile) -> str:
    """Builds the records; returns a description."""
    options = dataclasses.replace(given.options, image_scale=run.image_scale)
    num_workers = given.num_workers or processes.num_cores()
    engine: Callable = functools.partial(quarantine.run, num_workers=num_workers)
    result = writer.build_records(
        given.dataset,
        given.source,
        run.records_dir,
        splits=SPLITS,
        rules=options.read(given.max_pixels).rules,
        skip_bad=given.skip_bad,
        engine=engine,
    )
    numbers = (f"{split} {count:,}" for split, count in result.num_records.items())
    text = f"images: {', '.join(numbers)}"
    if result.rejected:
        path = os.path.join(run.records_dir, writer.REJECTED_FILE)
        text += f"; skipped, as listed in {shlex.quote(path)}: {len(result.rejected)}"
    passed_over = registry.find_passed_over(given.dataset, given.source)
    if passed_over:
        text += f"; passed over by ending: {patterns.count_by_suffix(passed_over)}"
    if run.image_scale != 1:
        text += f"; reduced by the factor {run.image_scale:g} ({run.reason})"
    return text
