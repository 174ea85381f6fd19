"""Images that an exported model is compared on."""

import dataclasses
import os
from collections.abc import Iterable

import cv2
import numpy as np

from kerasseg import errors, images, records
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.workdir import flag_file

_SPLITS = {"eval_split": "val", "train_split": "train"}  # Of a run without flags.txt.


@dataclasses.dataclass(frozen=True)
class Sample:
    """An image to compare on.

    Attributes:
        file: The bytes of a JPEG or PNG file, or of a `.npy` file for images other than
            8-bit RGB.
        label: Ground truth, class numbers and 255 for ignored pixels, uint8
            `[height, width]`; None to compare the logits only.
    """

    file: bytes
    label: np.ndarray | None = None


def synthetic_sample(
    height: int = 33, width: int = 47, *, kind: images.ImageKind = images.RGB
) -> Sample:
    """Generates a PNG with color gradients and noise; or an array of another kind."""
    if not kind.is_rgb:
        return Sample(images.encode_npy(_synthetic(height, width, kind)))
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 64, (height, width, 3))
    ramps = np.stack([rows * 5, columns * 4, rows * 2 + columns * 2], axis=-1)
    return Sample(cv2.imencode(".png", (ramps + noise).astype(np.uint8))[1].tobytes())


def _synthetic(height, width, kind):
    """Returns noise in the range of each channel."""
    low, high = np.array(kind.ranges).T
    noise = np.random.default_rng(0).random((height, width, kind.channels))
    pixels = low + noise * (high - low)
    return pixels.astype(kind.dtype)


def read_samples(
    workdir: str | os.PathLike,
    count: int,
    split_flag: str,
    *,
    records_dir: str | os.PathLike | None = None,
    split: str | None = None,
) -> list[Sample]:
    """Reads images of a run, evenly spaced over a split.

    Args:
        workdir: Folder of the run; its flags name the records.
        count: Number of images; all if the split has fewer.
        split_flag: Flag of the run that names the split: "eval_split" or
            "train_split".
        records_dir: Folder of the records; None: that of the run.
        split: Name of the split; None: that of the run.

    Raises:
        errors.MissingFileError: The records do not exist.
    """
    if not count:
        return []
    run = flag_file.read(workdir)
    folder = records_dir or run.get("records_dir")
    if not folder or not os.path.isdir(folder):
        raise errors.MissingFileError(
            f"The records that {workdir} was trained on are not in {folder}. Give "
            f"`records_dir`, or `check_images=0` to compare on a synthetic image only."
        )
    split = split or run.get(split_flag, _SPLITS[split_flag])
    opened = records.open_split(folder, split, dataset=run.get("dataset"))
    indices = np.unique(np.linspace(0, len(opened) - 1, count).astype(int))
    multi_label = opened.spec.multi_label
    examples = [records.parse_example(opened.read(i)) for i in indices.tolist()]
    return [
        Sample(
            example["image"],
            None
            if example["label"] is None
            else records.decode_label(example["label"], multi_label=multi_label),
        )
        for example in examples
    ]


def has_labeled_pixels(samples: Iterable[Sample]) -> bool:
    """Returns whether any pixel of the samples has a label."""
    labels = [sample.label for sample in samples if sample.label is not None]
    return any(np.any(label != IGNORE_LABEL) for label in labels)
