"""The dense CRF by pydensecrf, the authors' own filter on a permutohedral lattice."""

import math

import cv2
import numpy as np
from pydensecrf import densecrf, eigen

from kerasseg.crf import checks

# Up to here both kernels are not left to pydensecrf: see `_FewClasses`.
_FEW_CLASSES = 9
_WIDEST_BLUR = 10.0  # In pixels; a kernel of 69.


def mean_field(
    image,
    probabilities,
    *,
    iterations,
    gaussian_sxy,
    gaussian_compat,
    bilateral_sxy,
    bilateral_srgb,
    bilateral_compat,
) -> np.ndarray:
    """Runs the mean field on what `dense_crf` has checked; see there.

    It holds Python's lock while it works: several pictures at a time take processes.

    Args:
        image: RGB, uint8 `[height, width, 3]`, in rows and writeable.
        probabilities: float32 `[height, width, classes]`, of the likely classes only,
            each at least 1e-5.
        iterations: See `dense_crf`, as the others.
        gaussian_sxy: In pixels.
        gaussian_compat: Weight.
        bilateral_sxy: In pixels.
        bilateral_srgb: Of 255.
        bilateral_compat: Weight.

    Returns:
        Probabilities of the same shape, float32.

    Raises:
        ValueError: The lattice would have more cells than pydensecrf can count.
    """
    height, width, num_classes = probabilities.shape
    _check_counters(height * width, num_classes)
    # Cells have 16 bits: 2**15 by 2 (place) or 4.47 (place and colour) cells a reach.
    if gaussian_compat:
        checks.check_reaches(16_000, (height + width) / gaussian_sxy)
    if bilateral_compat:
        reaches = (height + width) / bilateral_sxy + 3 * 255 / bilateral_srgb
        checks.check_reaches(7_000, reaches)
    field = densecrf.DenseCRF2D(width, height, num_classes)
    if bilateral_compat:
        field.addPairwiseBilateral(
            sxy=bilateral_sxy,
            srgb=bilateral_srgb,
            rgbim=image,
            compat=bilateral_compat,
        )
    few = 1 < num_classes <= _FEW_CLASSES and gaussian_sxy <= _WIDEST_BLUR
    if few and gaussian_compat and bilateral_compat:
        spatial = _Spatial(height, width, gaussian_sxy, gaussian_compat)
        return _FewClasses(field, spatial, probabilities).run(iterations)
    if gaussian_compat:
        field.addPairwiseGaussian(sxy=gaussian_sxy, compat=gaussian_compat)
    chances = cv2.transpose(probabilities.reshape(-1, num_classes))
    field.setUnaryEnergy(-np.log(chances))
    return np.asarray(field.inference(iterations)).T.reshape(probabilities.shape)


def _check_counters(pixels, num_classes):
    """Refuses what overflows the 32 bits that pydensecrf counts values in."""
    most = (2**31 - 1) // (6 * math.ceil(num_classes / 4))  # 6 corners, 4 at a time.
    if pixels > most:
        raise ValueError(
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

    def run(self, iterations):
        """Returns the probabilities after so many updates."""
        logits = self._logits
        chances = _softmax([logit.copy() for logit in logits])
        messages = self._filter(len(chances))(chances)
        whole = _sum(messages)  # Stays the same.
        filtered = self._filter(len(logits))
        for iteration in range(iterations):
            messages = filtered(chances[:-1]) if iteration else messages[:-1]
            rest = _sum(messages) - whole  # Less what the last class gets.
            for message, logit in zip(messages, logits, strict=True):
                message += logit
                message += rest
            chances = _softmax(messages)
        return cv2.merge(chances)

    def _filter(self, count):
        """Makes a function from chances of classes to what each class gets.

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
            found = list(cv2.split(messages)[:count])
            for message, chance in zip(found, chances, strict=True):
                message += self._spatial(chance)
            return found

        return filtered


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
