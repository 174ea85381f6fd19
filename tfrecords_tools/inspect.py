r"""Checks a folder of records, or a data set before it is built, and describes it.

python -m tfrecords_tools.inspect --records_dir=DIR
python -m tfrecords_tools.inspect --records_dir=DIR --dataset=pascal_voc
python -m tfrecords_tools.inspect --dataset=camvid --source_dir=DIR

Records that TF DeepLab's scripts wrote need --dataset, which names their classes.
Prints sizes, class frequencies and class weights, and writes a contact sheet.
"""

import os
import pathlib

from absl import app, flags

from kerasseg import common_flags, durable, images, records
from tfrecords_tools import describing, pairs, survey

_CONTACT_SHEET = flags.DEFINE_string(
    "contact_sheet", "contact_sheet.png", "Picture to write; none if empty."
)
_SHEET_PICTURES = flags.DEFINE_integer(
    "sheet_pictures", 4, "Pictures of each split on it.", lower_bound=1
)


def main(argv):
    """Turns flags into plain arguments, and prints what was found."""
    del argv
    records_dir, dataset = common_flags.RECORDS_DIR.value, common_flags.DATASET.value
    if records_dir:
        found = survey.find_records(records_dir, dataset)
    elif dataset:
        source = pairs.make_source(
            common_flags.SOURCE_DIR.value,
            common_flags.SBD_DIR.value,
            common_flags.SEED.value,
        )
        found = survey.find_source(dataset, source)
    else:
        raise app.UsageError("Needed: --records_dir, or --dataset and --source_dir.")
    faults: list[str] = []
    for pictures in found:
        result = survey.survey(pictures)
        print(describing.describe(pictures, result))
        faults += result.faults
    _write_sheet(found, faults)
    if faults:
        raise records.RecordError(describing.list_faults(faults))


def _write_sheet(found, faults):
    path = _CONTACT_SHEET.value
    if not path or faults:
        return
    sheet = describing.contact_sheet(found, _SHEET_PICTURES.value)
    durable.write_bytes(pathlib.Path(path), images.encode_picture(sheet))
    print(f"Pictures with their labels: {os.path.abspath(path)}")


if __name__ == "__main__":
    flags.adopt_module_key_flags(common_flags)
    common_flags.run(main)
