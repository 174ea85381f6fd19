"""Comparison of an exported model, loaded again, with the trained one."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasseg import blocks, crf, errors, images, inference, metrics
from kerasseg.exporting import folding, formats, runtimes, signatures
from kerasseg.exporting.options import TestTimeOptions
from kerasseg.exporting.samples import Sample
from kerasseg.images import bit_masks, class_rules
from kerasseg.images.class_rules import DEFAULT_RULE, ClassRule
from kerasseg.metrics import multi_label
from kerasseg.system import processes

# Where two maxima are equal up to rounding, an unpooling layer may put a value into
# another pixel. In SegNet, one cell of the deepest map reaches half the image: noise of
# 0.0001 gray levels changes 10 % of its logits by up to 0.004 of the largest logit, and
# a few by 0.2. So these shares of the pixels may exceed the tolerance, and exceed it by
# far.
_MANY, _FEW = 0.5, 0.05
_FAR = 0.05
_HALF_TOLERANCE = 0.05  # Of half precision: 8 bits of mantissa in each layer.
_MAX_DECODER_DIFFERENCE = 2  # Of 255: there are two conversions from CMYK to RGB.


class Reference:
    """The trained model that exported ones are compared with.

    Args:
        model: The Keras model, with the logits as its only output.
        options: Test-time options of the exported graph; None: its logits.
        rule: How the logits become masks.

    Attributes:
        model: The Keras model.
        rule: As given.
        num_classes: Number of classes.
        unpools: Whether the model has unpooling layers that use indices of maxima.
    """

    def __init__(
        self,
        model: keras.Model,
        options: TestTimeOptions | None = None,
        rule: ClassRule = DEFAULT_RULE,
    ):
        self.model, self.rule = model, rule
        self.num_classes = class_rules.num_classes(model.output.shape[-1])
        self._options = options
        self._in_float32 = folding.in_float32(model)
        self.unpools = any(
            isinstance(layer, blocks.MaxPoolWithIndices) for layer in model.layers
        )
        options = options or TestTimeOptions()
        self._predictor = inference.Predictor(
            model,
            scales=options.scales,
            flip=options.flip,
            fusion=options.fusion,
            rule=rule,
        )

    def check(self, form: formats.Format) -> "_Check":
        """Returns the comparison with a format."""
        return _Check(form, self)

    def predict(
        self, image: np.ndarray, *, as_trained: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predicts an image, `[height, width, channels]`, as `kerasseg.evaluate` does.

        Args:
            image: The image.
            as_trained: Whether the logits are not computed in float32.

        Returns:
            What is compared, float32 `[height, width, num_classes]`: the logits, or
            the probabilities of the test-time options; and the mask, class numbers
            `[height, width]`.
        """
        batch = image[np.newaxis]
        if self._options is None:
            network = self.model if as_trained else self._in_float32
            logits = network(batch.astype(np.float32), training=False)
            logits = class_rules.class_logits(np.asarray(logits)[0])
            return logits, self._predictor.classes(batch)[0]
        probabilities = self._predictor.probabilities(batch)[0]
        if self._options.crf is not None:
            probabilities = crf.dense_crf(
                image, probabilities, engine="keras", **self._options.crf
            )
        return probabilities, self.rule.mask(probabilities)

    def comparable(self, logits: np.ndarray) -> np.ndarray:
        """Converts exported logits into what `predict` returns."""
        scores = class_rules.class_logits(logits)
        if self._options is None:
            return scores
        return np.asarray(self.rule.probabilities(scores, ops))

    def margin_lost(self, mask: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Returns by how much a mask contradicts what is expected, at each pixel.

        Args:
            mask: Exported mask, integers `[height, width]`.
            expected: First result of `predict`.

        Returns:
            float `[height, width]`: how far the logits or probabilities that decide are
            from another decision; 0 where the mask is right.
        """
        rule = self.rule
        if rule == DEFAULT_RULE:
            chosen = np.take_along_axis(expected, mask[..., np.newaxis], axis=-1)
            return expected.max(axis=-1) - chosen[..., 0]
        limits = np.array(rule.thresholds or 0.5)
        if self._options is None:
            with np.errstate(divide="ignore"):  # A threshold of 0.
                limits = np.log(limits / (1 - limits))
        if rule.multi_label:
            has = bit_masks.decode(mask, self.num_classes)
        else:
            has, expected = mask[..., np.newaxis] == 1, expected[..., 1:]
        margins = expected - limits
        return np.max(np.where(has == (margins > 0), 0, np.abs(margins)), axis=-1)

    def mask(self, logits: np.ndarray) -> np.ndarray:
        """Returns the mask of exported logits, see `class_rules`."""
        return np.asarray(signatures.decide(logits, self.rule)[1])


def compare(
    folder: str,
    name: str,
    reference: Any,
    samples: Iterable[Sample],
    *,
    fresh_process: bool = True,
) -> dict:
    """Loads an exported model and compares it with the trained one.

    Args:
        folder: Folder of the version.
        name: Name of the format.
        reference: The trained model: a `Reference`, or one of `instance_checking`.
        samples: Images to compare on.
        fresh_process: Whether to load the model in a new process; False is faster.

    Returns:
        The result of the reference's check, see its `result`.

    Raises:
        errors.UserError: They differ by more than the check allows.
    """
    form = formats.all_formats()[name]
    if form.keeps_model and folding.is_half(reference.model):
        form = dataclasses.replace(form, tolerance=_HALF_TOLERANCE)
    check = reference.check(form)
    with _loaded(formats.file_of(folder, name), fresh_process) as predict:
        for sample in samples:
            check.add(sample, predict)
    return check.result()


def _loaded(path, fresh_process):
    """Returns a context of `runtimes.predict` for an exported model."""
    if fresh_process:
        return processes.Processes(functools.partial(runtimes.predict, path), 1)
    return contextlib.nullcontext(runtimes.ExportedModel(path).predict)


class _Check:
    """Compares one format sample by sample.

    The logits may differ by the tolerance of the format, relative to the largest logit,
    and so may the mean IoU over the labeled images. Where a mask of a SavedModel
    differs from the argmax, the trained model's logits of both classes must be that
    close: then rounding decides. In a network that unpools with indices, up to half of
    each image's pixels may differ by more.
    """

    def __init__(self, form: formats.Format, reference: Reference):
        self._form, self._reference = form, reference
        # Shares of an image's pixels that are excluded, and the others' tolerances.
        self._bounds = [(0.0, form.tolerance)]
        if reference.unpools:
            far = max(4 * form.tolerance, _FAR)
            self._bounds = [(_MANY, form.tolerance), (_FEW, far)]
        self._num_samples = self._num_labeled = 0
        self._num_pixels = self._num_differing = 0
        self._largest = 0.0
        self._confusion: Any = metrics.Confusion(reference.num_classes)
        self._iou_counts = metrics.iou_counts
        if reference.rule.multi_label:
            self._confusion = metrics.MultiLabelConfusion(reference.num_classes)
            self._iou_counts = multi_label.iou_counts
        self._actual, self._expected = np.zeros((2, *self._confusion.shape), np.int64)

    def add(self, sample: Sample, predict: Callable) -> None:
        """Compares one sample; raises `errors.UserError` if it differs too much."""
        image = decode(sample.file)
        outputs = predict(image, sample.file)
        expected, expected_mask = self._reference.predict(
            image, as_trained=self._form.keeps_model
        )
        scale = max(np.abs(expected).max(), 1e-6)
        self._check_logits(
            self._reference.comparable(outputs["logits"]), expected, scale
        )
        mask = self._reference.mask(outputs["logits"])
        if "classes" in outputs:
            self._check_mask("classes", outputs["classes"], expected, scale)
        if "mask" in outputs:
            mask = images.read_label(
                outputs["mask"], multi_label=self._reference.rule.multi_label
            )
            self._check_mask("mask", mask, expected, scale)
        self._num_samples += 1
        self._num_pixels += expected_mask.size
        self._num_differing += int(np.sum(expected_mask != mask))
        if sample.label is not None:
            self._num_labeled += 1
            self._actual += self._confusion.measure(sample.label, mask)
            self._expected += self._confusion.measure(sample.label, expected_mask)

    def _check_logits(self, logits, expected, scale):
        if logits.shape != expected.shape:
            self._fail(
                f"the logits have the shape {logits.shape}, not {expected.shape}"
            )
        differences = np.abs(logits - expected).max(axis=-1) / scale
        for excluded, tolerance in self._bounds:
            difference = float(np.quantile(differences, 1 - excluded, method="higher"))
            if not difference <= tolerance:  # Also for NaN.
                self._fail(
                    f"the logits by {difference:.1e} of the largest one, the tolerance "
                    f"is {tolerance}"
                )
            self._largest = max(self._largest, difference)

    def _check_mask(self, output, mask, expected, scale):
        if mask.shape != expected.shape[:2]:
            size = expected.shape[:2]
            self._fail(f"the output {output} has the size {mask.shape}, not {size}")
        lost = self._reference.margin_lost(mask, expected)
        for excluded, tolerance in self._bounds:
            worse = lost > 2 * tolerance * scale
            num_wrong = int(np.sum(worse))
            if num_wrong > excluded * mask.size:
                self._fail(f"the output {output} in {num_wrong} of {mask.size} pixels")

    def result(self) -> dict:
        """Returns what the format has in metadata.json.

        Returns:
            Dict of "pictures", the number of samples; "largest_difference" of the
            logits, relative to the largest logit, and its "tolerance" (in a network
            that unpools, for 95 % of each image's pixels); "pixels" and
            "pixels_that_differ"; with labels also "mean_iou", "mean_iou_of_the_model"
            and "mean_iou_tolerance".

        Raises:
            errors.UserError: The mean IoU differs by more.
        """
        result = {
            "pictures": self._num_samples,
            "tolerance": self._bounds[-1][1],
            "largest_difference": self._largest,
            "pixels": self._num_pixels,
            "pixels_that_differ": self._num_differing,
        }
        counts = [self._iou_counts(each) for each in (self._actual, self._expected)]
        actual, expected = [float(metrics.mean_iou(each)) for each in counts]
        if np.isnan(actual) and np.isnan(expected):  # No pixel was labeled.
            return result
        if not abs(actual - expected) <= self._form.iou_tolerance:
            self._fail(
                f"the mean IoU over {self._num_labeled} images is {actual:.4f}, not "
                f"{expected:.4f}; the tolerance is {self._form.iou_tolerance}"
            )
        return result | {
            "mean_iou": actual,
            "mean_iou_of_the_model": expected,
            "mean_iou_tolerance": self._form.iou_tolerance,
        }

    def _fail(self, difference):
        raise differs(self._form.name, difference)


def differs(name: str, difference: str) -> errors.UserError:
    """Returns the error of a format that differs from the trained model."""
    return errors.UserError(
        f"The exported {name} and the trained model differ: {difference}. Nothing was "
        f"exported; leave {name} out of `format`, or report the problem with the "
        f"model's options."
    )


def decode(data: bytes) -> np.ndarray:
    """Decodes like the graph; raises `errors.UserError` if evaluation differs."""
    if images.is_npy(data):  # The graph takes the pixels.
        return images.decode_npy(data)
    decoded = signatures.decode(tf.constant(data)).numpy()
    evaluated = images.read_image(data, apply_exif=False)
    difference = int(np.abs(decoded.astype(int) - evaluated).max())
    if difference > _MAX_DECODER_DIFFERENCE:
        raise errors.UserError(
            f"The exported graph decodes images differently from evaluation: the "
            f"decoded images differ by {difference} of 255. Nothing was exported; "
            f"report the problem with the image."
        )
    return decoded
