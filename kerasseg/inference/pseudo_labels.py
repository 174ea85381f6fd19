"""Pseudo-labels: confident predictions as the labels of images that have none.

A network is trained again on its own predictions (self-training). They are computed
from the results "index" and "confidence" of all images, so that other thresholds need
no new prediction.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from kerasseg import datasets, errors, images, records
from kerasseg.inference import class_thresholds, outputs
from kerasseg.inference.inputs import is_video
from kerasseg.system import files, processes, progress

MIN_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class PseudoLabelOptions:
    """Which predicted pixels become pseudo-labels; all others are ignored.

    Attributes:
        min_confidence: Smallest probability of the predicted class, from 0 to 1; None
            for `MIN_CONFIDENCE`, or for `confident_fraction` if that is given.
        confident_fraction: Above 0 and at most 1: of each class, the most confident
            pixels are kept, this fraction of the pixels of all images that are
            predicted as the class. Class-balanced self-training (CBST),
            https://arxiv.org/abs/1810.07911, algorithm 2.
        labels_dir: Folder of labels to compare with, PNG files of class numbers with
            the names of the results; None for no comparison.

    Raises:
        errors.UserError: A value is out of range, or both thresholds are given.
    """

    min_confidence: float | None = None
    confident_fraction: float | None = None
    labels_dir: str | None = None

    def __post_init__(self):
        """Checks the ranges."""
        least, fraction = self.min_confidence, self.confident_fraction
        if least is not None and fraction is not None:
            raise errors.UserError(
                f"`min_confidence={least:g}` and `confident_fraction={fraction:g}` "
                "both give the threshold of pseudo-labels. Give one of them."
            )
        if least is not None and not 0 <= least <= 1:
            raise errors.UserError(
                f"`min_confidence={least:g}`: expected a probability from 0 to 1. "
                "Choose for example 0.9."
            )
        if fraction is not None and not 0 < fraction <= 1:
            raise errors.UserError(
                f"`confident_fraction={fraction:g}`: expected a fraction above 0 and "
                "at most 1. Choose for example 0.5."
            )

    def check_kinds(self, kinds: Collection[str]) -> None:
        """Raises `errors.UserError` for options without the kind of result."""
        values = dataclasses.asdict(self)
        given = [name for name in values if values[name] is not None]
        if given and outputs.PSEUDO_LABELS not in kinds:
            raise errors.UserError(
                f"`{given[0]}={values[given[0]]}` applies to pseudo-labels, and "
                f"`output={','.join(kinds)}` does not write them. Add pseudo_labels "
                "to `output`, or leave it out."
            )

    def check_labels(self, names: Iterable[str]) -> None:
        """Raises `errors.UserError` if `labels_dir` has the label of no image.

        Args:
            names: Names of the images' results, see `inputs.find_images`.
        """
        names = list(names)
        if self.labels_dir is None or any(map(self.label_path, names)):
            return
        raise errors.UserError(
            f"`labels_dir={self.labels_dir}` has no label of the {len(names):,} "
            f"images. Give a folder of PNG files with their names, such as "
            f"{names[0]}.png."
        )

    def label_path(self, name: str) -> pathlib.Path | None:
        """Returns the file of an image's label; None if there is none."""
        if self.labels_dir is None:
            return None
        path = pathlib.Path(self.labels_dir, f"{name}.png")
        return path if path.is_file() else None


@dataclasses.dataclass(frozen=True)
class Counts:
    """Numbers of pixels of pseudo-labels by class.

    Attributes:
        class_names: Name of each class.
        num_images: Number of images, or frames of videos.
        num_compared: Number of those with a label to compare with.
        thresholds: Smallest confidence of each class, float32 `[num_classes]`; infinite
            for a class that is never predicted.
        predicted: Pixels that are predicted as the class, int64 `[num_classes]`.
        kept: Those of them that have a pseudo-label.
        compared: Those of the kept pixels whose label is known and not ignored.
        correct: Those of the compared pixels whose label is the class.
    """

    class_names: tuple[str, ...]
    num_images: int
    num_compared: int
    thresholds: np.ndarray
    predicted: np.ndarray
    kept: np.ndarray
    compared: np.ndarray
    correct: np.ndarray

    @property
    def coverage(self) -> float | None:
        """The fraction of all pixels that have a pseudo-label."""
        return _ratio(self.kept.sum(), self.predicted.sum())

    @property
    def precision(self) -> float | None:
        """The fraction of the compared pixels that are correct; None without any."""
        return _ratio(self.correct.sum(), self.compared.sum())

    def to_json(self) -> dict:
        """Returns all numbers as JSON values; undefined fractions are None."""
        columns = self.thresholds, self.predicted, self.kept, self.compared
        classes = {}
        for name, threshold, predicted, kept, compared, correct in zip(
            self.class_names, *columns, self.correct, strict=True
        ):
            classes[name] = {
                "threshold": float(threshold) if predicted else None,
                "predicted_pixels": int(predicted),
                "kept_pixels": int(kept),
                "coverage": _ratio(kept, predicted),
                "compared_pixels": int(compared),
                "precision": _ratio(correct, compared),
            }
        return {
            "images": self.num_images,
            "compared_images": self.num_compared,
            "pixels": int(self.predicted.sum()),
            "coverage": self.coverage,
            "precision": self.precision,
            "classes": classes,
        }

    def table(self) -> str:
        """Returns a table of the classes, and of all pixels, as text."""
        content = self.to_json()
        rows: list[tuple[str, ...]] = [
            ("class", "threshold", "predicted", "kept", "precision")
        ]
        total = max(content["pixels"], 1)
        for name, values in content["classes"].items():
            share = values["predicted_pixels"] / total
            threshold = values["threshold"]
            rows.append(
                (
                    name,
                    "-" if threshold is None else f"{threshold:.4f}",
                    *map(_percent, (share, values["coverage"], values["precision"])),
                )
            )
        last = content["coverage"], content["precision"]
        rows.append(("all", "-", "100.0 %", *map(_percent, last)))
        rows = rows if self.num_compared else [row[:-1] for row in rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(
                text.rjust(width) if i else text.ljust(width)
                for i, (text, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        )


def _ratio(part, whole):
    return float(part / whole) if whole else None


def _percent(value):
    return "-" if value is None else f"{100 * value:.1f} %"


def write(
    output_dir: str | os.PathLike,
    paths: Mapping[str, pathlib.Path],
    options: PseudoLabelOptions,
    class_names: Sequence[str],
    palette: np.ndarray,
) -> Counts:
    """Writes the pseudo-labels of images whose class and confidence are predicted.

    Each is a palette PNG of class numbers, with 255 where the confidence is below the
    threshold of the class. Earlier ones are replaced. Their numbers are written last,
    into pseudo_labels.json in the folder of the results.

    Args:
        output_dir: Folder of the results.
        paths: Images and videos by name; those that failed have no results.
        options: The threshold, and the labels to compare with.
        class_names: Name of each class.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.

    Returns:
        The numbers of pixels.

    Raises:
        errors.UserError: A result or a label is damaged, or of another size.
        OSError: A file cannot be written.
    """
    summary = pathlib.Path(output_dir, records.PSEUDO_LABELS_FILE)
    summary.unlink(missing_ok=True)
    results = [
        _Result(output_dir, name, len(class_names))
        for name in _names(output_dir, paths)
    ]
    if options.confident_fraction is not None:
        fraction = options.confident_fraction
        thresholds = class_thresholds.balanced_thresholds(
            results, len(class_names), fraction
        )
    else:
        least = options.min_confidence
        least = MIN_CONFIDENCE if least is None else least
        thresholds = np.full(len(class_names), least, np.float32)

    def finish(result):
        return result.write(thresholds, palette, options)

    numbers = np.zeros((4, len(class_names)), np.int64)
    num_compared = 0
    with progress.track(len(results), unit="image", text="pseudo-labels") as bar:
        threads = processes.num_cores()
        each = processes.in_order(finish, results, num_threads=threads)
        for counts, is_compared in each:
            numbers += counts
            num_compared += is_compared
            bar.update()
    found = Counts(tuple(class_names), len(results), num_compared, thresholds, *numbers)
    content = {"options": dataclasses.asdict(options), **found.to_json()}
    files.write_bytes(summary, f"{json.dumps(content, indent=2)}\n".encode())
    return found


def _names(output_dir, paths):
    """Yields the names of images, and of frames, that have been predicted."""
    for name, path in paths.items():
        if not is_video(path):
            frames = [name]
        else:
            folder = outputs.video_paths(output_dir, name, ["index"])["index"]
            frames = [f"{name}/{frame.stem}" for frame in sorted(folder.glob("*.png"))]
        for frame in frames:
            if outputs.paths(output_dir, frame, ["index"])["index"].is_file():
                yield frame


class _Result:
    """The predicted classes and confidences of an image, and its pseudo-label."""

    def __init__(self, output_dir, name, num_classes):
        kinds = "index", "confidence", outputs.PSEUDO_LABELS
        self.name, self._num_classes = name, num_classes
        self._paths = outputs.paths(output_dir, name, kinds)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns class numbers, uint8, and confidences, float32, `[height, width]`."""
        index, path = self._paths["index"], self._paths["confidence"]
        mask = images.read_label(index)
        try:
            confidence = np.load(path)
        except (OSError, ValueError, EOFError) as error:
            raise errors.UserError(f"{path}: {error}. {_AGAIN}") from error
        if confidence.shape != mask.shape or confidence.dtype != np.float32:
            raise errors.UserError(
                f"{path} is {confidence.dtype} {list(confidence.shape)}, expected "
                f"float32 {list(mask.shape)} as {index}. {_AGAIN}"
            )
        if mask.size and mask.max() >= self._num_classes:
            raise errors.UserError(
                f"{index} has class {mask.max()}, the network has classes 0 to "
                f"{self._num_classes - 1}. {_AGAIN}"
            )
        return mask, confidence

    def write(self, thresholds, palette, options) -> tuple[np.ndarray, bool]:
        """Writes the pseudo-label.

        Returns:
            Rows `predicted`, `kept`, `compared` and `correct` of `Counts`, and whether
            there is a label to compare with.
        """
        mask, confidence = self.read()
        kept = confidence >= thresholds[mask]
        pseudo_label = np.where(kept, mask, np.uint8(datasets.IGNORE_LABEL))
        path = self._paths[outputs.PSEUDO_LABELS]
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, images.encode_palette_png(pseudo_label, palette))
        known = correct = np.zeros_like(kept)
        label_path = options.label_path(self.name)
        if label_path is not None:
            label = self._read_label(label_path, mask.shape)
            known = kept & (label != datasets.IGNORE_LABEL)
            correct = kept & (label == mask)
        pixels = mask, mask[kept], mask[known], mask[correct]
        counts = [np.bincount(x.ravel(), minlength=len(thresholds)) for x in pixels]
        return np.array(counts), label_path is not None

    def _read_label(self, path, shape):
        label = images.read_label(path)
        images.check_label_range(label, self._num_classes, name=os.fspath(path))
        if label.shape != shape:
            raise errors.UserError(
                f"{path} is {label.shape[1]}x{label.shape[0]}, its image "
                f"{shape[1]}x{shape[0]}. Give the labels of these images."
            )
        return label


_AGAIN = "Predict again, with `overwrite`."
