"""Superpixels: small regions of similar color, described and classified as one.

The zoom-out paper (https://arxiv.org/abs/1412.0774) describes superpixels instead of
cells. With a network of `models.zoomout` and an RGB image:

    features, classifier = zoomout.split(model)
    segments = superpixels.segment(image)
    descriptors = superpixels.pool(features(image[None])[0], segments, stride=4)
    scores = classifier(descriptors[:, None, None])[:, 0, 0]
    mask = np.argmax(scores, axis=-1)[segments]

Such a classifier is trained on the concatenated `descriptors` of many images,
`[superpixels, 1, 1, channels]`, and their `majority` labels: `classifier.fit` with
sample weights of 0 where the label is ignored, else the inverse class frequency.
"""

import math

import numpy as np

from kerasseg import errors


def check_count(count: int) -> None:
    """Checks a number of superpixels, and that scikit-image is installed.

    Raises:
        errors.MissingPackageError: scikit-image or SciPy is not installed.
        errors.UserError: `count` is below 1.
    """
    if count < 1:
        raise errors.UserError(
            f"`superpixels={count}`: expected a whole number above 0. Choose for "
            f"example 500, or 0 for no superpixels."
        )
    _import_slic()
    _import_sparse()


def segment(
    image: np.ndarray, *, count: int = 500, compactness: float = 10.0
) -> np.ndarray:
    """Segments an image into superpixels with SLIC.

    Args:
        image: RGB, uint8 `[height, width, 3]`, not empty.
        count: Approximate number of superpixels, at least 1.
        compactness: Weight of distance against color difference in CIELAB, above 0.
            Larger values make the superpixels squarer.

    Returns:
        int32 `[height, width]`: the superpixels' numbers, from 0 without gaps.

    Raises:
        errors.MissingPackageError: scikit-image is not installed.
        errors.UserError: The image or a setting is out of range.

    Source: https://doi.org/10.1109/TPAMI.2012.120.
    """
    slic = _import_slic()
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise errors.UserError(
            f"An image is RGB, uint8 [height, width, 3]; got {image.dtype} "
            f"{list(image.shape)}. Give the image before normalization."
        )
    if count < 1 or not 0 < compactness < math.inf or not image.size:
        raise errors.UserError(
            f"`count={count}` and `compactness={compactness}` of superpixels in an "
            f"image of {image.shape[0]} x {image.shape[1]} pixels: each must be above "
            f"0. Give larger values."
        )
    pixels = image.shape[0] * image.shape[1]
    segments = slic(image, n_segments=min(count, pixels), compactness=compactness)
    numbers = np.unique(segments, return_inverse=True)[1]
    return numbers.reshape(image.shape[:2]).astype(np.int32)


def pool(features: np.ndarray, segments: np.ndarray, *, stride: int = 1) -> np.ndarray:
    """Averages a feature map over each superpixel.

    Args:
        features: `[rows, columns, channels]`, of the image's size, or with one cell
            for each `stride` x `stride` pixels. A cell has the weight of its pixels.
        segments: The result of `segment`.
        stride: Pixels of the image per cell.

    Returns:
        float32 `[superpixels, channels]`.

    Raises:
        errors.MissingPackageError: SciPy is not installed.
        errors.UserError: The features do not cover the image.
    """
    sparse = _import_sparse()
    features, segments = np.asarray(features, np.float32), np.asarray(segments)
    rows, columns, channels = features.shape
    height, width = segments.shape
    if rows * stride < height or columns * stride < width:
        raise errors.UserError(
            f"Features of {rows} x {columns} cells of {stride} pixels do not cover "
            f"{height} x {width} pixels. Give the `stride` of the features."
        )
    cells = np.arange(height)[:, None] // stride * columns + np.arange(width) // stride
    pixels = np.bincount(segments.ravel())
    weights = sparse.csr_matrix(
        (np.ones(segments.size, np.float32), (segments.ravel(), cells.ravel())),
        shape=(len(pixels), rows * columns),
    )
    sums = weights @ features.reshape(-1, channels)
    return sums / pixels[:, None].astype("float32")


def average_mask(
    image: np.ndarray, probabilities: np.ndarray, *, count: int
) -> np.ndarray:
    """Predicts the class with the highest mean probability in each superpixel.

    Args:
        image: RGB, uint8 `[height, width, 3]`.
        probabilities: float32 `[height, width, num_classes]`.
        count: Approximate number of superpixels.

    Returns:
        The mask: class numbers, uint8 `[height, width]`.

    Raises:
        errors.MissingPackageError: scikit-image or SciPy is not installed.
        errors.UserError: See `segment`.
    """
    return confident_mask(image, probabilities, count=count)[0]


def confident_mask(
    image: np.ndarray, probabilities: np.ndarray, *, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mask of `average_mask`, and the mean probabilities of its classes.

    Args:
        image: As in `average_mask`, like the others, and the errors.
        probabilities: float32 `[height, width, num_classes]`.
        count: Approximate number of superpixels.

    Returns:
        Class numbers, uint8, and their probabilities, float32, both `[height, width]`.
    """
    segments = segment(image, count=count)
    means = pool(probabilities, segments)
    mask = np.argmax(means, axis=-1).astype(np.uint8)[segments]
    return mask, means.max(axis=-1).astype(np.float32)[segments]


def majority(
    label: np.ndarray, segments: np.ndarray, *, ignore_label: int = 255
) -> np.ndarray:
    """Returns the most frequent label of each superpixel.

    Args:
        label: Class numbers, uint8 `[height, width]`.
        segments: The result of `segment`.
        ignore_label: Label of the pixels that are not counted.

    Returns:
        uint8 `[superpixels]`; the lower class where two are equally frequent, and
        `ignore_label` where every pixel is ignored.
    """
    segments, label = np.asarray(segments), np.asarray(label)
    pairs = segments.ravel().astype(np.int64) * 256 + label.ravel()
    counts = np.bincount(pairs, minlength=(segments.max() + 1) * 256).reshape(-1, 256)
    counts[:, ignore_label] = 0
    best = np.where(counts.any(axis=1), counts.argmax(axis=1), ignore_label)
    return best.astype(np.uint8)


def _import_slic():
    try:
        from skimage import segmentation
    except ImportError as error:
        raise _missing(error) from error
    return segmentation.slic


def _import_sparse():
    try:
        from scipy import sparse
    except ImportError as error:
        raise _missing(error) from error
    return sparse


def _missing(error):
    return errors.MissingPackageError(
        f"Superpixels need scikit-image, which does not import here ({error}): "
        "pip install 'kerasseg[superpixels]'"
    )
