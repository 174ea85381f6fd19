"""Masks from image-level classes: the seeds of a run with `semi=cam`, as files."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kerasseg import datasets, errors, images, metrics, pipeline, records
from kerasseg.inference import predictor
from kerasseg.models import outputs
from kerasseg.system import files, progress
from kerasseg.training.few_labels import seeds
from kerasseg.workdir import best_model, flag_file, run_records
from tfrecords_tools.converters import source_files
from tfrecords_tools.writing import file_names


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedOptions:
    """How logits become masks.

    Attributes:
        threshold: See `seeds.seeds`.
        background_threshold: See `seeds.seeds`.
        scales: Scales of the image at which it is predicted; the logits are averaged.
        flip: Whether to average with those of the flipped image.
        crf_settings: Arguments of `crf.dense_crf`, which refines the seeds; None for
            the seeds themselves.
    """

    threshold: float = 0.3
    background_threshold: float | None = None
    scales: Sequence[float] = (1.0,)
    flip: bool = False
    crf_settings: dict | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """What was written.

    Attributes:
        num_written: Masks.
        skipped: Names of the images whose image-level classes are not known.
        num_compared: Masks of images with a label.
        undecided: Fraction of the pixels of the masks that are 255.
        mean_iou: Mean IoU of the masks with these labels, undecided pixels counted as
            wrong; NaN without labels.
    """

    num_written: int
    skipped: tuple[str, ...]
    num_compared: int
    undecided: float
    mean_iou: float


def write(
    workdir: str | os.PathLike,
    output_dir: str | os.PathLike,
    options: SeedOptions,
    *,
    split: str = "train",
    records_dir: str | os.PathLike | None = None,
    dataset: str | None = None,
) -> Result:
    """Writes a mask OUTPUT_DIR/NAME.png for each image whose classes are known.

    Labels of the records are only read to measure the masks.

    Args:
        workdir: Folder of a run with `semi=cam`.
        output_dir: Folder of the masks; files of earlier ones are replaced.
        options: How logits become masks.
        split: Name of the split.
        records_dir: Folder of the records; None for those of the run.
        dataset: Name of the data set, if the records have no dataset.json.

    Raises:
        errors.MissingFileError: The run or the records do not exist.
        errors.UserError: The run was trained in another way, an option is out of range,
            no image has known classes, or two masks would have the same name.
        RecordError: A record is damaged.
    """
    _check_method(workdir)
    reader = run_records.open_records(
        workdir, split, records_dir=records_dir, dataset=dataset
    )
    logits = _averaged_logits(best_model.load_best(workdir), options)
    writer = _Writer(reader, pathlib.Path(output_dir), options)
    with progress.track(len(reader.split), unit="image", text="seeds") as bar:
        for i in range(len(reader.split)):
            writer.add(i, logits)
            bar.update()
    return writer.result()


def _check_method(workdir):
    options = flag_file.read(workdir).get("semi", "none")
    if options != "cam":
        raise errors.UserError(
            f"{workdir} was trained with `semi={options}`, and seeds need the logits "
            "of `semi=cam`. Train such a run first, see docs/few_labels.md."
        )


def _averaged_logits(model, options):
    """Returns a function of an image to the mean of its logits over the views."""

    def logits(x):
        return outputs.logits(model(x, training=False))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.float32),
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([], tf.bool),
        ]
    )
    def view(image, size, flipped):
        _, resized = predictor.view_scores(
            logits, image, size, flipped, fusion="max_logits"
        )
        return resized

    def averaged(image):
        size = np.array(image.shape[:2])
        pixels = tf.constant(image[np.newaxis], tf.float32)
        views = [
            view(pixels, np.maximum(np.rint(size * scale), 1).astype(np.int32), flipped)
            for scale in options.scales
            for flipped in (False, True)[: 1 + options.flip]
        ]
        return np.mean(views, axis=0)[0]

    return averaged


class _Writer:
    """Writes the masks of a split one after the other, and counts pixels."""

    def __init__(self, reader: pipeline.ImageReader, folder, options):
        self._reader, self._folder, self._options = reader, folder, options
        self._spec = reader.split.spec
        self._skipped: list[str] = []
        self._names: dict[str, str] = {}
        self._num_compared = self._num_pixels = self._num_undecided = 0
        # Rows of labels, columns of seeds; the last column is undecided.
        classes = self._spec.num_classes
        self._confusion = np.zeros((classes, classes + 1), np.int64)

    def add(self, index, logits):
        """Writes the mask of an image; it is skipped if its classes are not known."""
        tags = self._reader.read_tags(index)
        image, name = self._reader.read_image(index)
        if tags is None:
            self._skipped.append(name)
            return
        options = self._options
        mask = seeds.seeds(
            logits(image),
            tags,
            threshold=options.threshold,
            background_threshold=options.background_threshold,
        )
        if options.crf_settings is not None:
            classes = self._spec.num_classes
            mask = seeds.refined(image, mask, classes, **options.crf_settings)
        self._write(index, name, mask)
        self._count(index, mask)

    def _write(self, index, name, mask):
        stem = file_names.stem(name, index)
        if stem in self._names:
            raise errors.UserError(
                f"The images {self._names[stem]} and {name} would have the same mask "
                f"{stem}.png. Build the records with other names."
            )
        self._names[stem] = name
        path = self._folder / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, images.encode_palette_png(mask, self._spec.palette))

    def _count(self, index, mask):
        self._num_pixels += mask.size
        self._num_undecided += int((mask == datasets.IGNORE_LABEL).sum())
        example = records.parse_example(self._reader.split.read(index))
        if example["label"] is None:
            return
        label = records.decode_label(example["label"], mask.shape)
        name = self._reader.split.locate(index)
        images.check_label_range(label, self._spec.num_classes, name=name)
        known = label != datasets.IGNORE_LABEL
        classes = self._spec.num_classes
        column = np.minimum(mask[known], classes)
        cells = label[known].astype(np.int64) * (classes + 1) + column
        counts = np.bincount(cells, minlength=self._confusion.size)
        self._confusion += counts.reshape(self._confusion.shape)
        self._num_compared += 1

    def result(self) -> Result:
        """Returns the numbers; raises `errors.UserError` if nothing was written."""
        if not self._names:
            raise errors.UserError(
                f"The image-level classes of none of the {len(self._skipped):,} images "
                "are known. Build the records with `image_classes`."
            )
        decided = self._confusion[:, :-1]
        counts = [np.diag(decided), self._confusion.sum(axis=1), decided.sum(axis=0)]
        return Result(
            len(self._names),
            tuple(self._skipped),
            self._num_compared,
            self._num_undecided / max(self._num_pixels, 1),
            float(metrics.mean_iou(np.array(counts))),
        )


def describe(result: Result, output_dir: str | os.PathLike) -> str:
    """Returns lines about the masks of a split."""
    count = source_files.count
    lines = [f"Wrote {count(result.num_written, 'mask')} to {output_dir}."]
    if result.skipped:
        shown = ", ".join(result.skipped[:5])
        more = ", ..." if len(result.skipped) > 5 else ""
        lines.append(
            f"Skipped {count(len(result.skipped), 'image')}, whose image-level classes "
            f"are not known: {shown}{more}"
        )
    lines.append(f"Undecided: {result.undecided:.1%} of the pixels.")
    if result.num_compared:
        lines.append(
            f"Compared with {count(result.num_compared, 'label')}: mean IoU "
            f"{result.mean_iou:.4f}, undecided pixels counted as wrong."
        )
    return "\n".join(lines)
