r"""Extracts the images and labels of records into files.

python -m tfrecords_tools.extract --records_dir=DIR --output_dir=DIR \
    [--split=val] [--count=8]

Writes the image files, unchanged, as OUTPUT_DIR/NAME.jpg or .png. With --labels, also
writes OUTPUT_DIR/labels/NAME.png, which contains class numbers, with the colors of the
data set as palette. Slashes in a NAME become subfolders. With --unlabeled_only, only
the images are written whose labels are not used in training: those without a label, and
those that the list of labeled images in dataset.json, or --labeled_list, does not name.
"""

import os

from absl import flags

from kerasseg import cli, errors, images, records
from kerasseg.images.class_rules import ClassRule
from kerasseg.system import files
from tfrecords_tools.converters import source_files
from tfrecords_tools.writing import file_names, pseudo_records

_LABELS = flags.DEFINE_bool(
    "labels", False, "Also write the labels, into OUTPUT_DIR/labels."
)
_UNLABELED_ONLY = flags.DEFINE_bool(
    "unlabeled_only",
    False,
    "Write only the images whose labels are not used in training with few labels.",
)
for _name in ("records_dir", "output_dir", "split", "dataset", "count", "labeled_list"):
    flags.declare_key_flag(_name)


def main(argv: list[str]) -> None:
    """Writes the files, and prints their number."""
    del argv
    records_dir, output_dir = cli.required(
        records_dir=cli.RECORDS_DIR.value,
        output_dir=cli.OUTPUT_DIR.value,
    )
    split = records.open_split(
        records_dir,
        cli.SPLIT.value,
        dataset=cli.DATASET.value,
        labeled_list=cli.LABELED_LIST.value,
    )
    count = extract(
        split,
        output_dir,
        count=cli.COUNT.value,
        labels=_LABELS.value,
        unlabeled_only=_UNLABELED_ONLY.value,
    )
    print(f"Wrote {source_files.count(count, 'image')} to {output_dir}.")


def extract(
    split: records.Split,
    output_dir: str | os.PathLike,
    *,
    count: int | None = None,
    labels: bool = False,
    unlabeled_only: bool = False,
) -> int:
    """Writes the first images of a split as files.

    Args:
        split: An open split.
        output_dir: Folder of the files. It is created if it does not exist.
        count: Largest number of images; None for all.
        labels: Whether to write the labels too.
        unlabeled_only: Whether to leave out the images whose labels are used.

    Returns:
        The number of images.

    Raises:
        RecordError: A record is damaged.
        errors.UserError: The files of two images would have the same name, or with
            `unlabeled_only` the labels of all images are used.
    """
    indices = pseudo_records.unlabeled(split) if unlabeled_only else range(len(split))
    written: set[str] = set()
    chosen = indices[:count]
    for i in chosen:
        example = records.parse_example(split.read(i))
        kind = images.read_header(example["image"], name=example["name"]).format
        stem = file_names.stem(example["name"], i)
        suffix = {"jpeg": "jpg"}.get(kind, kind)
        _write(os.path.join(output_dir, f"{stem}.{suffix}"), example["image"], written)
        if labels and example["label"] is not None:
            rule = ClassRule(multi_label=split.spec.multi_label)
            label = records.decode_label(example["label"], multi_label=rule.multi_label)
            png = images.encode_mask(label, split.spec.palette, rule)
            _write(os.path.join(output_dir, "labels", f"{stem}.png"), png, written)
    return len(chosen)


def _write(path, data, written):
    if path in written:
        raise errors.UserError(
            f"Two images of the split would be written to {path}, since their names "
            "differ only in their endings or not at all. Build the records again with "
            "other names."
        )
    written.add(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    files.write_bytes(path, data)


if __name__ == "__main__":
    cli.run(main)
