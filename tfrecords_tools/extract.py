r"""Extracts the images and labels of records into files.

python -m tfrecords_tools.extract --records_dir=DIR --output_dir=DIR \
    [--split=val] [--count=8]

Writes the image files, unchanged, as OUTPUT_DIR/NAME.jpg or .png. With --labels, also
writes OUTPUT_DIR/labels/NAME.png, which contains class numbers, with the colors of the
data set as palette. Slashes in a NAME become subfolders.
"""

import os

from absl import flags

from kerasseg import cli, images, records
from kerasseg.system import files
from tfrecords_tools.converters import matching, source_files

_LABELS = flags.DEFINE_bool(
    "labels", False, "Also write the labels, into OUTPUT_DIR/labels."
)
for _name in ("records_dir", "output_dir", "split", "dataset", "count"):
    flags.declare_key_flag(_name)


def main(argv: list[str]) -> None:
    """Writes the files, and prints their number."""
    del argv
    records_dir, output_dir = cli.required(
        records_dir=cli.RECORDS_DIR.value,
        output_dir=cli.OUTPUT_DIR.value,
    )
    split = records.open_split(records_dir, cli.SPLIT.value, dataset=cli.DATASET.value)
    count = extract(split, output_dir, count=cli.COUNT.value, labels=_LABELS.value)
    print(f"Wrote {source_files.count(count, 'image')} to {output_dir}.")


def extract(
    split: records.Split,
    output_dir: str | os.PathLike,
    *,
    count: int | None = None,
    labels: bool = False,
) -> int:
    """Writes the first images of a split as files.

    Args:
        split: An open split.
        output_dir: Folder of the files. It is created if it does not exist.
        count: Largest number of images; None for all.
        labels: Whether to write the labels too.

    Returns:
        The number of images.

    Raises:
        RecordError: A record is damaged.
    """
    total = len(split) if count is None else min(count, len(split))
    for i in range(total):
        example = records.parse_example(split.read(i))
        kind = images.probe(example["image"], name=example["name"]).format
        stem = _stem(example["name"]) or f"{i:06d}"
        suffix = {"jpeg": "jpg"}.get(kind, kind)
        _write(os.path.join(output_dir, f"{stem}.{suffix}"), example["image"])
        if labels and example["label"] is not None:
            label = records.decode_label(example["label"])
            png = images.encode_palette_png(label, split.spec.palette)
            _write(os.path.join(output_dir, "labels", f"{stem}.png"), png)
    return total


def _stem(name):
    """Returns a relative path without suffix. An untrusted name stays in the folder."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    stem, suffix = os.path.splitext("/".join(parts))
    return stem if suffix.lower() in matching.IMAGE_SUFFIXES else f"{stem}{suffix}"


def _write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    files.write_bytes(path, data)


if __name__ == "__main__":
    cli.run(main)
