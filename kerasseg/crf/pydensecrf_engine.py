"""The dense CRF by pydensecrf, the authors' own filter on a permutohedral lattice."""

import collections.abc
import math

import cv2
import numpy as np
from pydensecrf import densecrf, eigen

from kerasseg import errors
from kerasseg.crf import checks

# Up to here both kernels are not left to pydensecrf: see `_FewClasses`. With more
# classes that is no faster, unless several weights share what it takes.
_FEW_CLASSES, _FEW_TO_SHARE = 9, 13
_WIDEST_BLUR = 10.0  # In pixels; a kernel of 69.


def mean_field(image, probabilities, *, bilateral_compat, **settings) -> np.ndarray:
    """Runs the mean field on what `dense_crf` has checked; see there.

    Args:
        image: RGB, uint8 `[height, width, 3]`, in rows and writeable.
        probabilities: float32 `[height, width, classes]`, of the likely classes only,
            each at least 1e-5.
        bilateral_compat: Weight.
        **settings: See `mean_fields`.

    Returns:
        Probabilities of the same shape, float32.

    Raises:
        ValueError: The lattice would have more cells than pydensecrf can count.
    """
    settings |= {"bilateral_compats": [bilateral_compat]}
    return next(mean_fields(image, probabilities, **settings))


def mean_fields(
    image,
    probabilities,
    *,
    bilateral_compats,
    iterations,
    gaussian_sxy,
    gaussian_compat,
    bilateral_sxy,
    bilateral_srgb,
) -> collections.abc.Iterator[np.ndarray]:
    """Runs a mean field for each of several weights; of few classes they share much.

    Of ten to thirteen classes, few pixels then get another class than from one weight
    alone: measured were 2 in 10,000 of CamVid's.

    Args:
        image: See `mean_field`.
        probabilities: See `mean_field`.
        bilateral_compats: Weights.
        iterations: See `dense_crf`, as the others.
        gaussian_sxy: In pixels.
        gaussian_compat: Weight.
        bilateral_sxy: In pixels.
        bilateral_srgb: Of 255.

    Yields:
        What `mean_field` returns.

    Raises:
        ValueError: See `mean_field`.
    """
    height, width, num_classes = probabilities.shape
    _check_counters(height * width, num_classes)
    # Cells have 16 bits: 2**15 by 2 (place) or 4.47 (place and colour) cells a reach.
    if gaussian_compat:
        checks.check_reaches(16_000, (height + width) / gaussian_sxy)
    if any(bilateral_compats):
        reaches = (height + width) / bilateral_sxy + 3 * 255 / bilateral_srgb
        checks.check_reaches(7_000, reaches)
    most = _FEW_CLASSES if len(bilateral_compats) == 1 else _FEW_TO_SHARE
    few = 1 < num_classes <= most and gaussian_sxy <= _WIDEST_BLUR
    alike = {"sxy": bilateral_sxy, "srgb": bilateral_srgb, "rgbim": image}
    near = {"sxy": gaussian_sxy, "compat": gaussian_compat}
    shared = None
    for weight in bilateral_compats:
        field = densecrf.DenseCRF2D(width, height, num_classes)
        if few and weight and gaussian_compat:
            if shared is None:
                field.addPairwiseBilateral(**alike, compat=1.0)
                spatial = _Spatial(height, width, gaussian_sxy, gaussian_compat)
                shared = _FewClasses(field, spatial, probabilities)
            yield shared.run(iterations, weight)
            continue
        if weight:
            field.addPairwiseBilateral(**alike, compat=weight)
        if gaussian_compat:
            field.addPairwiseGaussian(**near)
        chances = cv2.transpose(probabilities.reshape(-1, num_classes))
        field.setUnaryEnergy(-np.log(chances))
        refined = np.asarray(field.inference(iterations))
        yield refined.T.reshape(probabilities.shape)


def _check_counters(pixels, num_classes):
    """Refuses what overflows the 32 bits that pydensecrf counts values in."""
    most = (2**31 - 1) // (6 * math.ceil(num_classes / 4))  # 6 corners, 4 at a time.
    if pixels > most:
        raise errors.UserError(
            f"{pixels} pixels with {num_classes} likely classes are more than "
            f"pydensecrf can count, {most} at most. Refine the picture in parts."
        )


class _Spatial:
    """The smoothing whatever the colours, without a lattice.

    On a lattice of places alone, a pixel's weight for another depends on where the two
    lie between the corners of triangles. Its mean over all places is a box spline. Its
    projection on x is the cubic B-spline of knots sqrt(3) standard deviations apart,
    which is taken for both x and y: of a photograph and five classes, 99.93 % of the
    pixels then get the class that they get from the lattice.
    """

    def __init__(self, height, width, deviation, weight):
        knots = math.sqrt(3.0) * deviation
        reach = math.ceil(2 * knots) - 1
        distance = np.abs(np.arange(-reach, reach + 1)) / knots
        near = (4 - 6 * distance**2 + 3 * distance**3) / 6
        kernel = np.where(distance < 1, near, (2 - distance) ** 3 / 6)
        self._kernel = (kernel / kernel.sum()).astype(np.float32)
        ones = np.ones((height, width), np.float32)
        # Symmetric: half before the blur, half after it.
        self._norm = np.sqrt(np.float32(weight) / self._blur(ones))

    def _blur(self, plane):
        return cv2.sepFilter2D(
            plane, -1, self._kernel, self._kernel, borderType=cv2.BORDER_CONSTANT
        )

    def __call__(self, plane):
        """Returns what a class gets from the chances of all pixels for it."""
        message = self._blur(plane * self._norm)
        message *= self._norm
        return message


class _FewClasses:
    """A mean field that filters one class less, and has the places blurred.

    The filters are linear and the chances of a pixel sum to 1: what the last class
    gets is what a sum of 1 gets less what the others get. pydensecrf filters four
    classes at a time, so that one less can be half the work. Logits are against those
    of the last class.
    """

    def __init__(self, field, spatial, probabilities):
        self._field, self._spatial = field, spatial
        self._shape = probabilities.shape[:2]
        *logs, last = cv2.split(np.log(probabilities))
        self._logits = [log - last for log in logs]
        chances = _softmax([logit.copy() for logit in self._logits])
        self._first = self._filter(len(chances))(chances)
        self._filtered = self._filter(len(self._logits))

    def run(self, iterations, weight):
        """Returns the probabilities after so many updates.

        Args:
            iterations: Updates.
            weight: Of the smoothing among like colours.
        """
        messages = _mixed(self._first, weight)
        whole = _sum(messages)  # Stays the same.
        chances = self._chances(messages[:-1], whole)
        for _ in range(iterations - 1):
            messages = _mixed(self._filtered(chances[:-1]), weight)
            chances = self._chances(messages, whole)
        return cv2.merge(chances)

    def _chances(self, messages, whole):
        """Returns the chances of all classes, in the memory of the messages."""
        rest = _sum(messages) - whole  # Less what the last class gets.
        for message, logit in zip(messages, self._logits, strict=True):
            message += logit
            message += rest
        return _softmax(messages)

    def _filter(self, count):
        """Makes a function from chances to what their classes get of each kernel.

        Args:
            count: Of these classes.
        """
        height, width = self._shape
        # One or two go one by one, three take as long as four.
        columns = count if count < 3 else 4 * math.ceil(count / 4)
        matrix, planes = _matrix(height, width, columns)
        sums, messages = _matrix(height, width, columns)
        scratch = eigen.MatrixXf()
        spare = (columns - count) * [np.zeros((height, width), np.float32)]

        def filtered(chances):
            cv2.merge([*chances, *spare], planes)
            # Without a unary energy, what is left here is the sum of the messages.
            self._field.stepInference(matrix, sums, scratch)
            alike = cv2.split(messages)[:count]
            return list(zip(alike, map(self._spatial, chances), strict=True))

        return filtered


def _mixed(kernels, weight):
    """Adds up what classes get among like colours, so often, and of near places."""
    return [cv2.scaleAdd(alike, weight, near) for alike, near in kernels]


def _matrix(height, width, columns):
    """Makes a matrix of pydensecrf and the array that shares its memory."""
    matrix, _, _ = densecrf.DenseCRF2D(width, height, columns).startInference()
    return matrix, np.asarray(matrix).T.reshape(height, width, columns)


def _softmax(logits):
    """Returns the chances of all classes, in the memory of the logits and one more.

    Args:
        logits: Planes of all classes but the last, whose logit is 0.
    """
    most = np.maximum(logits[0], 0)
    for logit in logits[1:]:
        np.maximum(most, logit, out=most)
    chances = [*logits, np.zeros_like(most)]
    for chance in chances:
        chance -= most
        np.exp(chance, out=chance)
    total = _sum(chances)
    for chance in chances:
        chance /= total
    return chances


def _sum(planes):
    total = planes[0].copy()
    for plane in planes[1:]:
        total += plane
    return total
