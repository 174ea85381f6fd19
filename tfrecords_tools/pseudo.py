r"""Copies records, and gives the images without a label pseudo-labels.

python -m tfrecords_tools.pseudo --records_dir=DIR --labels_dir=DIR/pseudo_labels \
    --output_records_dir=DIR

Of the split --train_split, records whose labels are used in training are copied as they
are: those that the list of labeled images in dataset.json, or --labeled_list, names, or
all that have a label. All others get the label LABELS_DIR/NAME.png, which python -m
kerasseg.predict --output=pseudo_labels writes for the images that python -m
tfrecords_tools.extract --unlabeled_only writes; the labels that the records have are
not read. Records without such a file are copied without a label. The other splits are
copied as they are. See docs/few_labels.md.
"""

from absl import flags

from kerasseg import cli, errors
from tfrecords_tools.writing import pseudo_records

_OUTPUT_RECORDS_DIR = flags.DEFINE_string(
    "output_records_dir", None, "Folder of the copy. It must be empty or not exist."
)
_LABELED_COPIES = flags.DEFINE_integer(
    "labeled_copies",
    1,
    "How often the copy has each record that keeps its label, so that training sees "
    "it more often than one with a pseudo-label: 7 balances 46 and 321 images.",
)
for _name in ("records_dir", "labels_dir", "labeled_list", "train_split"):
    flags.declare_key_flag(_name)


def main(argv: list[str]) -> None:
    """Writes the records, and prints their numbers."""
    del argv
    records_dir, labels_dir, output_records_dir = cli.required(
        records_dir=cli.RECORDS_DIR.value,
        labels_dir=cli.LABELS_DIR.value,
        output_records_dir=_OUTPUT_RECORDS_DIR.value,
    )
    cli.check_exists(labels_dir=labels_dir, labeled_list=cli.LABELED_LIST.value)
    split = cli.TRAIN_SPLIT.value
    with errors.renamed({"split": "train_split"}):
        result = pseudo_records.write(
            records_dir,
            labels_dir,
            output_records_dir,
            split=split,
            labeled_list=cli.LABELED_LIST.value,
            labeled_copies=_LABELED_COPIES.value,
        )
    print(pseudo_records.describe(split, result))
    print(f"Records are in {output_records_dir}.")


if __name__ == "__main__":
    cli.run(main)
