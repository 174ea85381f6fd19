"""Thresholds of the probabilities of a network with sigmoids, tuned on a split."""

import os

import numpy as np

from kerasseg import errors, pipeline
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.images import bit_masks
from kerasseg.images.class_rules import ClassRule
from kerasseg.system import progress
from kerasseg.workdir import class_rule, metadata

_STEPS = 1000  # Thresholds are multiples of 1 / _STEPS.


def check(workdir: str | os.PathLike) -> None:
    """Checks that the best model of a run has thresholds.

    Raises:
        errors.UserError: It has a softmax.
    """
    if metadata.read_metadata(workdir).get("activation") != "sigmoid":
        raise errors.UserError(
            "`tune_thresholds` applies to networks with `activation=sigmoid`, and this "
            "one chooses the class with the highest probability. Leave it out."
        )


def tune(
    workdir: str | os.PathLike, predictor, reader: pipeline.ImageReader
) -> ClassRule:
    """Finds the threshold of each class that maximizes its IoU, and writes them.

    Of several thresholds with the same IoU, the one next to 0.5 is chosen. A class
    without a labeled pixel keeps 0.5.

    Args:
        workdir: Folder of the run, whose best model gets the thresholds.
        predictor: `inference.Predictor` of the network.
        reader: Reader of the split.

    Returns:
        The rule of the network with these thresholds.
    """
    spec, split = reader.split.spec, reader.split.name
    multi_label = spec.multi_label
    names = spec.class_names if multi_label else spec.class_names[1:]
    counts = np.zeros((len(names), 2, _STEPS), np.int64)
    with progress.track(len(reader.split), unit="image", text="tuning") as bar:
        for batch in pipeline.evaluation_dataset(reader, batch_size=1):
            arrays = batch["image"].numpy(), batch["label"].numpy()[0]
            (probabilities,) = predictor.probabilities(arrays[0])
            counts += count(probabilities, arrays[1], multi_label=multi_label)
            bar.update()
    found = [best(each) for each in counts]
    tuned = dict(zip(names, (threshold for threshold, _, _ in found), strict=True))
    for name, (threshold, before, after) in zip(names, found, strict=True):
        progress.log(
            f"Threshold of {name}: {threshold:g} (IoU {after:.4f}, {before:.4f} at 0.5)"
        )
    class_rule.write(workdir, tuned, {"split": split, "images": len(reader.split)})
    return ClassRule(multi_label, tuple(tuned.values()))


def count(
    probabilities: np.ndarray, label: np.ndarray, *, multi_label: bool
) -> np.ndarray:
    """Counts the pixels of one image between successive thresholds.

    Args:
        probabilities: float `[height, width, num_classes]`, from 0 to 1.
        label: Class numbers or bits of classes, and 255, `[height, width]`.
        multi_label: Which of the two.

    Returns:
        int64 `[classes, 2, 1000]`: of each class, or of class 1 only, the pixels
        without and with the label whose probability is above `i / 1000` and at most
        `(i + 1) / 1000`.
    """
    num_classes = probabilities.shape[-1]
    if multi_label:
        has = bit_masks.decode(label, num_classes)
    else:
        has, probabilities = label[..., np.newaxis] == 1, probabilities[..., 1:]
    valid = label != IGNORE_LABEL
    places = np.ceil(probabilities[valid].astype(np.float64) * _STEPS) - 1
    places = np.clip(places, 0, _STEPS - 1).astype(np.int64)
    places += _STEPS * has[valid]
    counts = [np.bincount(each, minlength=2 * _STEPS) for each in places.T]
    return np.stack(counts).reshape(-1, 2, _STEPS)


def best(counts: np.ndarray) -> tuple[float, float, float]:
    """Returns the threshold with the highest IoU, the IoU at 0.5, and the highest.

    Args:
        counts: Those of one class, see `count`, summed over the images.
    """
    if not counts[1].any():
        return 0.5, 0.0, 0.0
    false_positives, hits = counts[:, ::-1].cumsum(axis=1)[:, ::-1]
    iou = hits / (counts[1].sum() + false_positives)
    middle = _STEPS // 2
    highest = np.flatnonzero(iou == iou.max())
    place = int(highest[np.argmin(np.abs(highest - middle))])
    return place / _STEPS, float(iou[middle]), float(iou[place])
