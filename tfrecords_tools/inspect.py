r"""Checks a folder of records, or a data set before it is built, and describes it.

python -m tfrecords_tools.inspect --records_dir=DIR
python -m tfrecords_tools.inspect --records_dir=DIR --dataset=pascal_voc
python -m tfrecords_tools.inspect --dataset=camvid --source_dir=DIR
python -m tfrecords_tools.inspect --images='photos/*.jpg' --masks='masks/*.png' \
    --classes=background,road,car

The last is the data doctor, for own pictures: it says what is wrong with them and
prints the flags that the build then takes. It changes nothing.

Records that TF DeepLab's scripts wrote need --dataset, which names their classes.
Prints sizes, class frequencies and class weights, and writes a contact sheet.
"""

import dataclasses
import itertools
import os
import pathlib

from absl import app, flags

from kerasseg import cli, images, records
from kerasseg.system import files
from tfrecords_tools import doctor
from tfrecords_tools.cli import own_flags
from tfrecords_tools.converters import pairs
from tfrecords_tools.doctor import describing as diagnosis
from tfrecords_tools.doctor import sheet, split_report, survey

_CONTACT_SHEET = flags.DEFINE_string(
    "contact_sheet", "contact_sheet.png", "Picture to write; none if empty."
)
_LEAVE_OUT_FILE = flags.DEFINE_string(
    "leave_out_file",
    "leave_out.txt",
    "File to write for --leave_out, if own pictures can only be left out.",
)
_SHEET_PICTURES = flags.DEFINE_integer(
    "sheet_pictures", 4, "Pictures of each split on it.", lower_bound=1
)
for _name in ("dataset", "records_dir", "max_pixels", *own_flags.SHARED):
    flags.declare_key_flag(_name)


def main(argv):
    """Turns flags into plain arguments, and prints what was found."""
    del argv
    records_dir, dataset = cli.RECORDS_DIR.value, cli.DATASET.value
    faults: list[str] = []
    if records_dir:
        found = survey.find_records(records_dir, dataset)
    else:
        source, reading = own_flags.read(dataset)
        own = source.own
        if dataset == pairs.OWN or (own and own.images):
            _examine(source, reading)
            return
        if not dataset:
            raise app.UsageError(
                "Needed: --records_dir, or --dataset and --source_dir. For own "
                "pictures: --images and --masks."
            )
        rules = reading.read(cli.MAX_PIXELS.value).rules
        found = survey.find_source(dataset, source, rules)
    for pictures in found:
        result = survey.survey(pictures)
        print(split_report.describe(pictures, result))
        faults += result.faults
    _write_sheet(found, faults)
    if faults:
        raise records.RecordError(split_report.list_faults(faults))


def _examine(source, reading):
    """Looks at own pictures, and tries the flags that it prints."""
    examined = doctor.examine(source, reading, cli.MAX_PIXELS.value)
    print(diagnosis.describe(examined))
    own = examined.own
    if examined.leave_out:
        own = dataclasses.replace(own, leave_out=_write_left_out(examined))
        examined = dataclasses.replace(examined, own=own)
    print(f"\nBuild with\n\n{diagnosis.command(examined, source.seed)}\n")
    faults = []
    if own.classes:
        rules = examined.reading.read(cli.MAX_PIXELS.value).rules
        source = dataclasses.replace(source, own=own)
        _write_examples(examined, pairs.facts(pairs.OWN, source), rules)
        faults = _try(source, rules, examined)
    else:
        print("The classes are not named yet: give --classes, and look again.")
    if examined.to_settle:
        raise records.RecordError(diagnosis.summary(examined.to_settle))
    if faults:
        raise records.RecordError(split_report.list_faults(faults))


def _write_left_out(examined):
    """Writes the file for --leave_out, never over another one; returns its path."""
    given = examined.own.leave_out
    earlier = files.read_text(given) if given else ""
    data = diagnosis.leave_out_file(examined, earlier).encode()
    wanted = path = pathlib.Path(_LEAVE_OUT_FILE.value)
    for number in itertools.count(2):
        if not path.exists() or path.read_bytes() == data:
            break
        path = wanted.with_stem(f"{wanted.stem}_{number}")
    files.write_bytes(path, data)
    return str(path)


def _try(source, rules, examined):
    """Reads every pair as the build will, and describes the splits."""
    if not all(finding.is_settled for finding in examined.found):
        return []
    faults: list[str] = []
    for pictures in survey.find_source(pairs.OWN, source, rules):
        result = survey.survey(pictures)
        print(split_report.describe(pictures, result))
        faults += result.faults
    return faults


def _write_examples(examined, spec, rules):
    path = _CONTACT_SHEET.value
    picture = sheet.draw(examined, spec, rules) if path else None
    if picture is not None:
        files.write_bytes(pathlib.Path(path), images.encode_image(picture))
        print(f"What was found, in pictures: {os.path.abspath(path)}")


def _write_sheet(found, faults):
    path = _CONTACT_SHEET.value
    if not path or faults:
        return
    sheet = split_report.contact_sheet(found, _SHEET_PICTURES.value)
    files.write_bytes(pathlib.Path(path), images.encode_image(sheet))
    print(f"Pictures with their labels: {os.path.abspath(path)}")


if __name__ == "__main__":
    cli.run(main)
