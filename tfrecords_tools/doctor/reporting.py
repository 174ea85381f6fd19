"""Inspects records, a published data set or own images, and prints a report."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Sequence

from kerasseg import errors, images, records, runtime
from kerasseg.system import files
from tfrecords_tools.converters import pairs, registry
from tfrecords_tools.doctor import describing, examining, sheet, splits
from tfrecords_tools.writing import encoding, label_options


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Files that a report writes.

    Attributes:
        contact_sheet: Path of the contact sheet; "" for none.
        sheet_images: Number of images of each split on it.
        leave_out_file: Path of the file for `leave_out`. An existing file with other
            contents is kept, and a number is added to the name.
    """

    contact_sheet: str = "contact_sheet.png"
    sheet_images: int = 4
    leave_out_file: str = "leave_out.txt"


def inspect_records(
    records_dir: str | os.PathLike, dataset: str | None, outputs: Outputs
) -> None:
    """Prints the statistics of a folder of records, and writes a contact sheet.

    Args:
        records_dir: Folder of the records.
        dataset: Name of the data set; needed if there is no dataset.json.
        outputs: Files to write.

    Raises:
        RecordError: Records are bad.
        errors.UserError: See `splits.open_records`.
    """
    _inspect(splits.open_records(records_dir, dataset), outputs)


def inspect_source(
    dataset: str | None,
    source: pairs.Source,
    options: label_options.LabelOptions,
    outputs: Outputs,
    *,
    max_pixels: int = images.DEFAULT_MAX_PIXELS,
) -> None:
    """Prints the statistics of a data set before it is built, or examines own images.

    Args:
        dataset: Name of the data set; not needed for own images.
        source: Where its images are.
        options: How images and masks are read.
        outputs: Files to write.
        max_pixels: Images with more pixels are refused.

    Raises:
        RecordError: Pairs are bad, or own images have problems.
        errors.UserError: Options are missing, or do not fit the files.
    """
    if dataset == pairs.OWN or (source.own and source.own.images):
        _examine(source, options, outputs, max_pixels)
        return
    if not dataset:
        raise errors.UserError(
            "Nothing to inspect was given. Give `records_dir`, or `dataset` and "
            "`source_dir`, or `images` and `masks` for your own images."
        )
    rules = options.read(max_pixels).rules
    _inspect(splits.open_source(dataset, source, rules), outputs)


def _inspect(readers, outputs):
    empty = [reader.split for reader in readers if not reader.count]
    if empty:
        raise errors.UserError(
            f"Split '{empty[0]}' lists no image. Give the right folder."
        )
    faults = _survey(readers)
    if faults:
        raise records.RecordError(faults)
    if outputs.contact_sheet:
        from tfrecords_tools.doctor import split_report

        drawn = split_report.contact_sheet(readers, outputs.sheet_images)
        _write_sheet(drawn, outputs, "Images with their labels")


def _survey(readers: Sequence[splits.SplitReader]) -> str:
    """Prints the statistics of splits; returns their faults in one line."""
    runtime.start_tensorflow()  # kerasseg.pipeline imports it.
    from tfrecords_tools.doctor import split_report, survey

    faults: list[str] = []
    for reader in readers:
        surveyed = survey.survey(reader)
        print(split_report.describe(reader, surveyed))
        faults += surveyed.faults
    return split_report.list_faults(faults) if faults else ""


def _examine(source, options, outputs, max_pixels):
    """Examines own images, and tries the options that it prints."""
    examination = examining.examine(source, options, max_pixels)
    print(describing.describe(examination))
    own = examination.own
    if examination.leave_out:
        path = _write_leave_out(examination, outputs.leave_out_file)
        own = dataclasses.replace(own, leave_out=path)
        examination = dataclasses.replace(examination, own=own)
    print(f"\nBuild with\n\n{describing.command(examination, source.seed)}\n")
    faults = ""
    if own.classes:
        rules = examination.options.read(max_pixels).rules
        source = dataclasses.replace(source, own=own)
        spec = registry.get_spec(pairs.OWN, source)
        if outputs.contact_sheet:
            drawn = sheet.draw(examination, spec, rules)
            _write_sheet(drawn, outputs, "Examples of the findings")
        faults = _try_build(examination, source, rules)
    else:
        print("The classes are not named yet. Give --classes and run this again.")
    if examination.problems:
        raise records.RecordError(describing.summarize(examination.problems))
    if faults:
        raise records.RecordError(faults)


def _try_build(examination, source, rules: encoding.Rules):
    """Reads all pairs as the build does, if options fix all problems."""
    if not all(finding.is_fixable for finding in examination.findings):
        return ""
    return _survey(splits.open_source(pairs.OWN, source, rules))


def _write_leave_out(examination, file):
    """Writes the file for `leave_out`, but never over another one; returns its path."""
    given = examination.own.leave_out
    earlier = files.read_text(given) if given else ""
    data = describing.leave_out_file(examination, earlier).encode()
    first = path = pathlib.Path(file)
    for number in itertools.count(2):
        if not path.exists() or path.read_bytes() == data:
            break
        path = first.with_stem(f"{first.stem}_{number}")
    files.write_bytes(path, data)
    return str(path)


def _write_sheet(drawn, outputs, what):
    if drawn is not None:
        path = pathlib.Path(outputs.contact_sheet)
        files.write_bytes(path, images.encode_image(drawn))
        print(f"{what}: {os.path.abspath(path)}")
