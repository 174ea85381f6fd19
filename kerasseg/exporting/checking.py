"""What was exported, loaded again and held against what is evaluated."""

import contextlib
import copy
import dataclasses
import functools

import cv2
import numpy as np
import tensorflow as tf

from kerasseg import blocks, errors, images, inference, metrics
from kerasseg.exporting import folding, formats, runtimes, signatures
from kerasseg.system import processes

# Where two maxima are equal to rounding, an unpooling puts a whole cell elsewhere, and
# in SegNet one of the deepest map reaches half the picture: noise of 0.0001 grey levels
# changes 10 % of its logits by up to 0.004 of the largest one, single ones by 0.2. So
# this share of the pixels may differ by more than is allowed, and this one by far more.
_MANY, _FEW = 0.5, 0.05
_FAR = 0.05
_HALF_TOLERANCE = 0.05  # Eight bits of mantissa, in layer after layer.
_MAX_DECODER_DIFFERENCE = 2  # Of 255: CMYK is turned into RGB in two ways.


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture to compare on.

    Attributes:
        file: JPEG or PNG, bytes.
        label: Class numbers, uint8 `[height, width]`, 255 where none is known; None for
            a picture whose logits alone are compared.
    """

    file: bytes
    label: np.ndarray | None = None


def drawn_picture(height=33, width=47) -> Picture:
    """Draws a PNG, smooth and noisy, for want of a real one."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 64, (height, width, 3))
    ramps = np.stack([rows * 5, columns * 4, rows * 2 + columns * 2], axis=-1)
    return Picture(cv2.imencode(".png", (ramps + noise).astype(np.uint8))[1].tobytes())


class Reference:
    """What the model in memory says.

    Args:
        model: As it was before anything was folded.
        views: `views.Views`, how it looks at a picture; None for once, as it is.

    Attributes:
        num_classes: Of the model.
        unpools: Whether it unpools by the places of maxima.
    """

    def __init__(self, model, views=None):
        self.num_classes = model.output.shape[-1]
        self._views, self._model = views, model
        self._plain = folding.in_float32(model)
        self.unpools = any(
            isinstance(layer, blocks.MaxPoolWithIndices) for layer in model.layers
        )
        if views is None:
            self._predictor = inference.Predictor(model)
        else:
            self._predictor = views.predictor(model)

    @property
    def is_half(self) -> bool:
        """Whether the model computes in half precision."""
        return self._plain is not self._model

    def as_trained(self) -> "Reference":
        """Returns one whose logits are not brought to float32."""
        other = copy.copy(self)
        other._plain = self._model
        return other

    def look(self, image) -> tuple[np.ndarray, np.ndarray]:
        """Looks at a picture, uint8 `[height, width, 3]`.

        Returns:
            What is compared, float32 `[height, width, num_classes]`: logits, or the
            probabilities of views; and the class numbers that are evaluated,
            `[height, width]`.
        """
        if self._views is not None:
            probabilities = self._views.predict(self._predictor, image)
            return probabilities, probabilities.argmax(axis=-1)
        batch = image[np.newaxis]
        logits = self._plain(batch.astype(np.float32), training=False)
        return np.asarray(logits)[0], self._predictor.classes(batch)[0]

    def comparable(self, logits) -> np.ndarray:
        """Turns exported logits into what is compared."""
        return logits if self._views is None else np.exp(logits)


def compare(folder, name, reference, pictures, *, fresh_process=True) -> dict:
    """Loads what was exported and compares it with the model.

    Logits may differ by a share of the largest one, and so may the mean IoU over the
    labelled pictures. Where a SavedModel gives another class than the best one, the
    model's own scores of both must be that close, which rounding decides. In a network
    that unpools by the places of maxima half of each picture may differ more.

    Args:
        folder: The version's.
        name: A key of `formats.FORMATS`.
        reference: `Reference` of the model.
        pictures: List of `Picture`.
        fresh_process: False loads it in this process, which is quicker.

    Returns:
        Dict of "pictures", their number; "largest_difference" of logits, as a share of
        the largest one, and "tolerance", what it may be: in a network that unpools, of
        95 % of each picture; "pixels" and "pixels_that_differ"; with labels
        also "mean_iou", "mean_iou_of_the_model" and "mean_iou_tolerance".

    Raises:
        ValueError: They differ by more.
    """
    form = formats.FORMATS[name]
    if name == "keras" and reference.is_half:  # It stays so, in that format.
        reference = reference.as_trained()
        form = dataclasses.replace(form, tolerance=_HALF_TOLERANCE)
    path = formats.file_of(folder, name)
    check = _Check(name, form, reference)
    with _loaded(path, fresh_process) as look:
        for picture in pictures:
            check.add(picture, look)
    return check.result()


def _loaded(path, fresh_process):
    if fresh_process:
        return processes.Processes(functools.partial(runtimes.look, path), 1)
    return contextlib.nullcontext(runtimes.Artefact(path).look)


class _Check:
    """Compares one format picture by picture."""

    def __init__(self, name, form, reference):
        self._name, self._form, self._reference = name, form, reference
        # Shares of a picture's pixels, and by how much all but these may differ.
        self._bounds = [(0.0, form.tolerance)]
        if reference.unpools:
            far = max(4 * form.tolerance, _FAR)
            self._bounds = [(_MANY, form.tolerance), (_FEW, far)]
        self._num_pictures = self._num_pixels = self._num_differing = 0
        self._largest = 0.0
        self._confusion = metrics.Confusion(reference.num_classes)
        self._labelled = 0
        self._found, self._wanted = np.zeros((2, *self._confusion.shape), np.int64)

    def add(self, picture, look):
        """Compares one picture; raises ValueError where it differs by too much."""
        image = _decode(picture.file)
        answer = look(image, picture.file)
        expected, evaluated = self._reference.look(image)
        scale = max(np.abs(expected).max(), 1e-6)
        found = self._reference.comparable(answer["logits"])
        self._check_logits(found, expected, scale)
        classes = answer["logits"].argmax(axis=-1)
        if "mask" in answer:
            for what, found in (
                ("classes", answer["classes"]),
                ("mask", images.read_label(answer["mask"])),
            ):
                self._check_classes(what, found, expected, scale)
                classes = found
        self._num_pictures += 1
        self._num_pixels += evaluated.size
        self._num_differing += int(np.sum(evaluated != classes))
        if picture.label is not None:
            self._labelled += 1
            self._found += self._confusion.measure(picture.label, classes)
            self._wanted += self._confusion.measure(picture.label, evaluated)

    def _check_logits(self, logits, expected, scale):
        if logits.shape != expected.shape:
            self._refuse(f"the logits by shape: {logits.shape}, {expected.shape}")
        differences = np.abs(logits - expected).max(axis=-1) / scale
        for excepted, tolerance in self._bounds:
            difference = float(np.quantile(differences, 1 - excepted, method="higher"))
            if not difference <= tolerance:  # NaN too.
                self._refuse(
                    f"logits by {difference:.1e} of the largest one, allowed is a "
                    f"share of {tolerance}"
                )
            self._largest = max(self._largest, difference)

    def _check_classes(self, what, classes, expected, scale):
        if classes.shape != expected.shape[:2]:
            self._refuse(f"the {what} by size: {classes.shape}, {expected.shape[:2]}")
        own = np.take_along_axis(expected, classes[..., np.newaxis], axis=-1)[..., 0]
        for excepted, tolerance in self._bounds:
            near = 2 * tolerance * scale
            num_wrong = int(np.sum(expected.max(axis=-1) - own > near))
            if num_wrong > excepted * classes.size:
                self._refuse(f"the {what} in {num_wrong} of {classes.size} pixels")

    def result(self):
        """Returns what `compare` returns; raises ValueError for another mean IoU."""
        found = {
            "pictures": self._num_pictures,
            "tolerance": self._bounds[-1][1],
            "largest_difference": self._largest,
            "pixels": self._num_pixels,
            "pixels_that_differ": self._num_differing,
        }
        counts = [metrics.iou_counts(each) for each in (self._found, self._wanted)]
        own, wanted = [float(metrics.mean_iou(each)) for each in counts]
        if np.isnan(own) and np.isnan(wanted):  # No pixel was labelled.
            return found
        if not abs(own - wanted) <= self._form.iou_tolerance:
            self._refuse(
                f"the mean IoU over {self._labelled} pictures is {own:.4f}, not "
                f"{wanted:.4f}; allowed is a difference of {self._form.iou_tolerance}"
            )
        return found | {
            "mean_iou": own,
            "mean_iou_of_the_model": wanted,
            "mean_iou_tolerance": self._form.iou_tolerance,
        }

    def _refuse(self, what):
        raise errors.UserError(
            f"The exported {self._name} and the model in memory differ: {what}. "
            f"Nothing was exported; leave {self._name} out of the formats, or report "
            f"it with the model's options."
        )


def _decode(data):
    """Decodes as the graph does, which must be what evaluation sees."""
    decoded = signatures.decode(tf.constant(data)).numpy()
    seen = images.read_image(data, apply_exif=False)
    difference = int(np.abs(decoded.astype(int) - seen).max())
    if difference > _MAX_DECODER_DIFFERENCE:
        raise errors.UserError(
            f"The exported graph decodes pictures otherwise than evaluation does: the "
            f"decoded pictures differ by {difference} of 255. Nothing was exported; "
            f"report it with the picture."
        )
    return decoded
