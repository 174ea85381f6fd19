"""Comparison of an exported detector, loaded again, with the trained one.

A detection of the trained network matches one of the export if their classes are equal
and their scores, boxes and masks are nearly so; the order of nearly equal scores does
not count. Rounding decides which of two nearly equal boxes is a proposal or a
detection, and at which level of a pyramid its features are, so a few detections may
have no match. Where the list is full, this holds for all at its end.
"""

import logging
from collections.abc import Callable, Mapping

import cv2
import keras
import numpy as np

from kerasseg import images
from kerasseg.exporting import checking, folding, formats, signatures
from kerasseg.exporting.options import DetectionOptions
from kerasseg.exporting.samples import Sample
from kerasseg.inference import detector

_NAMES = ("boxes", "classes", "mask_probabilities", "scores", "valid")
# Scores and masks are probabilities, whose logits differ by the format's tolerance of
# the largest one, about 10.
_LARGEST_LOGIT = 10
_FEW = 0.02  # Share of the detections that may have no match.
_FEW_PIXELS = 0.001  # Share of pixels where rounding decides about a mask.
_SMALLEST_SIDE = 100  # Pixels. In smaller images the tolerance is that of this side.


class Reference:
    """The trained detector that exported ones are compared with.

    Args:
        model: The Keras model.
        options: How the exported graph detects objects.

    Attributes:
        model: The Keras model.
    """

    def __init__(self, model: keras.Model, options: DetectionOptions):
        self.model = model
        self._as_trained = detector.Detector(model)
        self._detector = detector.Detector(
            folding.in_float32(model),
            min_side=options.min_side,
            max_side=options.max_side,
        )

    def check(self, form: formats.Format) -> "Check":
        """Returns the comparison with a format."""
        return Check(form, self)

    def predict(self, image: np.ndarray, *, as_trained: bool) -> dict:
        """Detects the objects of an image, uint8 `[height, width, 3]`.

        Args:
            image: The image.
            as_trained: Whether to leave the network as it is: it does not compute in
                float32, and images are not resized.

        Returns:
            The outputs of `signatures.named`, without the dimension of the batch.
        """
        chosen = self._as_trained if as_trained else self._detector
        return signatures.named(chosen.outputs(image))


class Check:
    """Compares one format sample by sample.

    At least 98 % of the detections of all samples must have a match, see the module.
    Scores and probabilities of masks may differ by ten times the tolerance of the
    format, and boxes by its tolerance, relative to the longer side of the image. Masks
    of the size of the image, and files, must agree with the boxes of the same export,
    except for 0.1 % of the pixels.

    Args:
        form: The format.
        reference: The trained model.
    """

    def __init__(self, form: formats.Format, reference: Reference):
        self._form, self._reference = form, reference
        self._num_samples = self._num_detections = self._num_unmatched = 0
        self._num_pixels = self._num_differing = 0
        self._largest = np.zeros(3)  # Of boxes, scores and masks.

    def add(self, sample: Sample, predict: Callable) -> None:
        """Compares one sample; raises `errors.UserError` if it cannot be compared."""
        image = checking.decode(sample.file)
        expected = self._reference.predict(image, as_trained=self._form.keeps_model)
        self.compare(predict(image, sample.file), expected, image.shape[:2])

    def compare(
        self, actual: Mapping, expected: Mapping, size: tuple[int, int]
    ) -> None:
        """Compares the outputs for one sample.

        Args:
            actual: Those of the exported model, see `runtimes.ExportedModel.predict`.
            expected: Those of the trained one, see `signatures.named`.
            size: Height and width of the image.

        Raises:
            errors.UserError: See `add`.
        """
        self._check_shapes(actual, expected)
        self._match(actual, expected, size)
        found = detections(actual, size)
        if "masks" in actual:
            self._check_masks(actual["masks"], found, size)
        if "serving" in actual:
            self._check_files(actual["serving"], actual, found, size)
        masks = [each.class_map(size) for each in (found, detections(expected, size))]
        self._num_samples += 1
        self._num_pixels += masks[0].size
        self._num_differing += int(np.sum(masks[0] != masks[1]))

    def _check_shapes(self, actual, expected):
        for name in _NAMES:
            kinds = [(x[name].shape, x[name].dtype) for x in (actual, expected)]
            if kinds[0] != kinds[1]:
                self._fail(f"the output {name} is {kinds[0]}, not {kinds[1]}")
            if not np.isfinite(actual[name]).all():
                self._fail(f"the output {name} is NaN or infinite")

    def _match(self, actual, expected, size):
        limits = np.array([1, _LARGEST_LOGIT, _LARGEST_LOGIT]) * self._form.tolerance
        free = actual["valid"].copy()
        cut = actual["scores"][-1] + limits[1]  # 0 in padding.
        matched = np.zeros(len(free), bool)
        valid = expected["valid"]
        for i in np.flatnonzero(valid):
            differences = _differences(actual, expected, i, size)
            fits = free & (actual["classes"] == expected["classes"][i])
            fits &= (differences <= limits).all(axis=1)
            if fits.any():
                j = np.flatnonzero(fits)[np.argmin(differences[fits, 0])]
                free[j], matched[i] = False, True
                self._largest = np.maximum(self._largest, differences[j])
        is_cut = valid.all() & (expected["scores"] <= cut)
        without = valid & ~matched & ~is_cut
        additional = free & ~(valid.all() & (actual["scores"] <= cut))
        self._num_detections += int(valid.sum())
        self._num_unmatched += max(int(without.sum()), int(additional.sum()))

    def _check_masks(self, masks, found, size):
        shape = (*masks.shape[:1], *size)
        if masks.shape != shape or masks.dtype != bool:
            self._fail(f"the output masks is {masks.shape}, not bool {shape}")
        for i in range(len(masks)):
            mask = found.masks[i] if i < len(found) else False
            self._check_pixels("masks", masks[i], mask)

    def _check_files(self, serving, actual, found, size):
        for name in ("boxes", "scores", "classes", "valid"):
            same = np.allclose(
                serving[name],
                actual[name],
                rtol=self._form.tolerance,
                atol=self._form.tolerance,
            )
            if not same:
                self._fail(f"{name} in the signatures serving_default and tensor")
        file = np.frombuffer(serving["instance_png_bytes"], np.uint8)
        ids = np.asarray(cv2.imdecode(file, cv2.IMREAD_UNCHANGED))
        mask = images.read_label(serving["mask_png_bytes"])
        for name, numbers in (("instance_png_bytes", ids), ("mask_png_bytes", mask)):
            if numbers.shape != size:
                self._fail(f"the output {name} has the size {numbers.shape}")
        above = found.above(images.MIN_SCORE)
        self._check_pixels("instance_png_bytes", ids, above.id_map(size))
        self._check_pixels("mask_png_bytes", mask, above.class_map(size))

    def _check_pixels(self, name, actual, expected):
        num_wrong = int(np.sum(actual != expected))
        if num_wrong > max(1, _FEW_PIXELS * actual.size):
            self._fail(f"the output {name} in {num_wrong} of {actual.size} pixels")

    def result(self) -> dict:
        """Returns what the format has in metadata.json.

        Returns:
            Dict of "pictures", the number of samples; "detections" of the trained
            model, and the "detections_without_match"; "largest_box_difference",
            relative to the longer side, "largest_score_difference" and
            "largest_mask_difference" of those with a match; "tolerance" of the boxes;
            "pixels" and "pixels_that_differ" in the maps of classes.

        Raises:
            errors.UserError: Too many detections have no match.
        """
        if self._num_unmatched > _FEW * self._num_detections:
            self._fail(
                f"{self._num_unmatched} of {self._num_detections} detections have no "
                f"match, the tolerance is {_FEW:.0%}"
            )
        if not self._num_detections:
            logging.warning(
                "The network detects nothing in the %d images that %s was compared on: "
                "the comparison is empty. Train longer, or compare on more images with "
                "--check_images.",
                self._num_samples,
                self._form.name,
            )
        boxes, scores, masks = self._largest.tolist()
        return {
            "pictures": self._num_samples,
            "detections": self._num_detections,
            "detections_without_match": self._num_unmatched,
            "tolerance": self._form.tolerance,
            "largest_box_difference": boxes,
            "largest_score_difference": scores,
            "largest_mask_difference": masks,
            "pixels": self._num_pixels,
            "pixels_that_differ": self._num_differing,
        }

    def _fail(self, difference):
        raise checking.differs(self._form.name, difference)


def _differences(actual, expected, i, size):
    """Returns the differences of boxes, scores and masks from detection `i`, `[n, 3]`.

    Those of the boxes are relative to the longer side of the image.
    """
    side = max(*size, _SMALLEST_SIDE)
    boxes = np.abs(actual["boxes"] - expected["boxes"][i]).max(axis=1) / side
    scores = np.abs(actual["scores"] - expected["scores"][i])
    masks = actual["mask_probabilities"] - expected["mask_probabilities"][i]
    return np.stack([boxes, scores, np.abs(masks).max(axis=(1, 2))], axis=1)


def detections(found: Mapping, size: tuple[int, int]) -> images.Detections:
    """Returns the detections of one image without padding, with their masks."""
    outputs = {**found, "masks": found["mask_probabilities"]}
    return detector.without_padding(outputs, size)
