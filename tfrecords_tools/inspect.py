r"""Inspects a folder of records, or a data set before it is built.

python -m tfrecords_tools.inspect --records_dir=DIR
python -m tfrecords_tools.inspect --records_dir=DIR --dataset=pascal_voc
python -m tfrecords_tools.inspect --records_dir=DIR --unlabeled_records_dir=DIR
python -m tfrecords_tools.inspect --dataset=camvid --source_dir=DIR
python -m tfrecords_tools.inspect --images='photos/*.jpg' --masks='masks/*.png' \
    --classes=background,road,car

Prints image sizes, class frequencies and class weights of each split, and writes a
contact sheet with samples. Records that were written by TF DeepLab's scripts contain no
class names and need --dataset. Images without labels, in --unlabeled_records_dir too,
are compared with those of the other splits: a warning names those that are also in a
split for evaluation.

The last command is the data doctor for your own images, see docs/data.md: it also lists
problems, and prints the build command with the flags that correct them. It does not
change your files.
"""

from absl import flags

from kerasseg import cli, errors
from tfrecords_tools.cli import source_flags
from tfrecords_tools.doctor import reporting

_CONTACT_SHEET = flags.DEFINE_string(
    "contact_sheet",
    None,
    "Path of the contact sheet, an image with samples and problems. Default: "
    "contact_sheet.png in --records_dir, or beside the images; none for "
    "--dataset=shapes. Empty: none is written.",
)
_LEAVE_OUT_FILE = flags.DEFINE_string(
    "leave_out_file",
    None,
    "Path of the file to write for --leave_out, if some of your images have to be "
    "left out. Default: leave_out.txt beside the images; none for --records_dir.",
)
_SHEET_IMAGES = flags.DEFINE_integer(
    "sheet_images",
    4,
    "Number of sample images per split on the contact sheet.",
    lower_bound=1,
)
flags.DEFINE_alias("sheet_pictures", "sheet_images")
_READ = "dataset", "records_dir", "unlabeled_records_dir", "max_pixels"
for _name in (*_READ, *source_flags.SHARED):
    flags.declare_key_flag(_name)


def main(argv: list[str]) -> None:
    """Inspects the records or the source, and prints a report."""
    del argv
    records_dir, dataset = cli.RECORDS_DIR.value, cli.DATASET.value
    outputs = reporting.Outputs(
        contact_sheet=_CONTACT_SHEET.value,
        sheet_images=_SHEET_IMAGES.value,
        leave_out_file=_LEAVE_OUT_FILE.value,
    )
    if records_dir:
        unlabeled_dir = cli.UNLABELED_RECORDS_DIR.value
        reporting.inspect_records(records_dir, dataset, outputs, unlabeled_dir)
    else:
        source, options = source_flags.read(dataset)
        if source.own and source.own.multi_label:
            raise errors.UserError(
                "`multi_label` masks are checked by tfrecords_tools.build. Build the "
                "records, and inspect them with `records_dir`."
            )
        reporting.inspect_source(
            dataset, source, options, outputs, max_pixels=cli.MAX_PIXELS.value
        )


if __name__ == "__main__":
    cli.run(main)
