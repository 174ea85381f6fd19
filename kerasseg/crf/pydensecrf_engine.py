"""The dense CRF by pydensecrf, the authors' own filter on a permutohedral lattice."""

import numpy as np
from pydensecrf import densecrf

from kerasseg.crf import checks


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
        ValueError: A standard deviation is too small for the cells of the lattice.
    """
    height, width, num_classes = probabilities.shape
    # Cells have 16 bits: 2**15 by 2 (place) or 4.47 (place and colour) cells a reach.
    if gaussian_compat:
        checks.check_reaches(16_000, (height + width) / gaussian_sxy)
    if bilateral_compat:
        reaches = (height + width) / bilateral_sxy + 3 * 255 / bilateral_srgb
        checks.check_reaches(7_000, reaches)
    field = densecrf.DenseCRF2D(width, height, num_classes)
    energy = -np.log(probabilities).reshape(-1, num_classes).T
    field.setUnaryEnergy(np.ascontiguousarray(energy, dtype=np.float32))
    if gaussian_compat:
        field.addPairwiseGaussian(sxy=gaussian_sxy, compat=gaussian_compat)
    if bilateral_compat:
        field.addPairwiseBilateral(
            sxy=bilateral_sxy,
            srgb=bilateral_srgb,
            rgbim=image,
            compat=bilateral_compat,
        )
    return np.asarray(field.inference(iterations)).T.reshape(probabilities.shape)
