"""Inspects records, a published data set or own images, and prints a report."""

import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Sequence

from kerasseg import errors, images, records
from kerasseg.system import files, runtime
from tfrecords_tools.converters import pairs, registry
from tfrecords_tools.doctor import (
    describing,
    examining,
    leaks,
    places,
    sheet,
    splits,
)
from tfrecords_tools.writing import encoding, label_options


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Files that a report writes.

    Attributes:
        contact_sheet: Path of the contact sheet; "" for none; None for a file in the
            folder of the records, or beside the images.
        sheet_images: Number of images of each split on it.
        leave_out_file: Path of the file for `leave_out`; None for a file beside the
            images. An existing file with other contents is kept, and a number is added
            to the name. The same is true for a contact sheet beside the images.
    """

    contact_sheet: str | None = None
    sheet_images: int = 4
    leave_out_file: str | None = None


def inspect_records(
    records_dir: str | os.PathLike,
    dataset: str | None,
    outputs: Outputs,
    unlabeled_records_dir: str | os.PathLike | None = None,
) -> None:
    """Prints the statistics of a folder of records, and writes a contact sheet.

    Warns of unlabeled images that are also in a split for evaluation.

    Args:
        records_dir: Folder of the records.
        dataset: Name of the data set; needed if there is no dataset.json.
        outputs: Files to write; `leave_out_file` lists the images of the warnings.
        unlabeled_records_dir: Folder of more records, which are used without labels.

    Raises:
        RecordError: Records are bad.
        errors.UserError: See `splits.open_records`.
    """
    readers = splits.open_records(records_dir, dataset)
    path = outputs.contact_sheet
    if path is None:
        path = os.path.join(records_dir, _SHEET)
    _inspect(readers, outputs, functools.partial(_write, path))
    if pathlib.Path(records_dir, records.INFO_FILE).exists():
        counts = {reader.split: reader.count for reader in readers}
        for split, listed in records.read_info(records_dir).labeled.items():
            print(listed.describe(split, counts[split]))
    shared = leaks.find(records_dir, unlabeled_records_dir, dataset)
    for each in shared:
        print(each.text)
    left_out = leaks.as_leave_out(shared).encode()
    if left_out and outputs.leave_out_file:
        path = _free_path(outputs.leave_out_file, left_out)
        print(f"Images to leave out: {_write(path, left_out)}")


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
    own = source.own
    if dataset == pairs.OWN or (own and (own.images or own.annotations)):
        _examine(source, options, outputs, max_pixels)
        return
    if not dataset:
        raise errors.UserError(
            "Nothing to inspect was given. Give `records_dir`, or `dataset` and "
            "`source_dir`, or `images` and `masks` for your own images."
        )
    rules = options.read(max_pixels).rules
    beside = source.source_dir and places.beside_folder(source.source_dir, _SHEET)
    write = _sheet_writer(outputs, beside)
    _inspect(splits.open_source(dataset, source, rules), outputs, write)


def _sheet_writer(outputs, beside):
    """Returns the function that writes the contact sheet, or None for none."""
    if outputs.contact_sheet is not None:
        path = outputs.contact_sheet
        return functools.partial(_write, path) if path else None
    return beside and functools.partial(_write_beside, beside)


def _inspect(readers, outputs, write_sheet):
    empty = [reader.split for reader in readers if not reader.count]
    if empty:
        raise errors.UserError(
            f"Split '{empty[0]}' lists no image. Give the right folder."
        )
    faults = _survey(readers)
    if faults:
        raise records.RecordError(faults)
    if not write_sheet and outputs.contact_sheet is None:
        print("For a contact sheet, give --contact_sheet=FILE.")
    if write_sheet and outputs.contact_sheet != "":
        from tfrecords_tools.doctor import split_report

        drawn = split_report.contact_sheet(readers, outputs.sheet_images)
        print(f"Images with their labels: {write_sheet(images.encode_image(drawn))}")


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
        path = write_leave_out(examination, outputs.leave_out_file)
        own = dataclasses.replace(own, leave_out=path)
        examination = dataclasses.replace(examination, own=own)
    if not own.classes and not own.annotations:
        _name_classes(examination)
        return
    rules = examination.options.read(max_pixels).rules
    source = dataclasses.replace(source, own=own)
    _draw_examples(examination, source, rules, outputs)
    faults = _try_build(examination, source, rules)
    if faults:
        raise records.RecordError(faults)
    if examination.is_fixable:
        command = describing.command(examination, source.seed, source.instances)
        print(f"\nBuild with\n\n{command}\n")
    if examination.problems:
        raise records.RecordError(describing.summarize(examination.problems))


def _name_classes(examination):
    print("\nThe classes are not named yet. Give --classes and run this again.")
    if examination.problems:
        raise records.RecordError(
            describing.summarize(examination.problems, is_complete=False)
        )


def _draw_examples(examination, source, rules, outputs):
    write = _sheet_writer(outputs, places.beside_images(source.own, _SHEET))
    if write:
        spec = registry.get_spec(pairs.OWN, source)
        spec = dataclasses.replace(spec, image_kind=examination.image_kind)
        drawn = sheet.draw(examination, spec, rules)
        if drawn is not None:
            path = write(images.encode_image(drawn))
            print(f"\nExamples of the findings: {path}")


def _try_build(examination, source, rules: encoding.Rules):
    """Reads all pairs as the build does, if options fix all problems."""
    if not examination.is_fixable:
        return ""
    return _survey(splits.open_source(pairs.OWN, source, rules))


def write_leave_out(
    examination: examining.Examination, file: str | os.PathLike | None = None
) -> str:
    """Writes the file for `leave_out`, but never over another one; returns its path.

    Args:
        examination: The images to leave out are in it.
        file: Path of the file; None for a file beside the images.

    Raises:
        errors.UserError: It cannot be written.
    """
    own = examination.own
    earlier = files.read_text(own.leave_out) if own.leave_out else ""
    data = describing.leave_out_file(examination, earlier).encode(errors=_NOT_UTF_8)
    path = _free_path(file or places.beside_images(own, _LEAVE_OUT), data)
    try:
        files.write_bytes(path, data)
    except OSError as error:
        raise errors.UserError(
            f"The file for `leave_out` cannot be written: {error}. Give another path "
            f"with `leave_out_file`."
        ) from error
    return str(path)


_NOT_UTF_8 = "surrogateescape"  # Names of files may have any bytes.


def _free_path(path, data):
    """Returns the path, with a number if another file is there."""
    first = path = pathlib.Path(path)
    for number in itertools.count(2):
        if not path.exists() or path.read_bytes() == data:
            break
        path = first.with_stem(f"{first.stem}_{number}")
    return path


def _write(path, data):
    """Writes a contact sheet; returns its path, or why it cannot be written."""
    try:
        files.write_bytes(path, data)
    except OSError as error:
        return f"not written ({error}). Give another path with --contact_sheet=FILE."
    return os.path.abspath(path)


def _write_beside(path, data):
    """Writes a contact sheet beside the user's files, of which it replaces none."""
    return _write(_free_path(path, data), data)


_SHEET = "contact_sheet.png"
_LEAVE_OUT = "leave_out.txt"
