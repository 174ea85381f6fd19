"""Superpixels: small regions of like colour, described and classified as one.

The zoom-out paper (https://arxiv.org/abs/1412.0774) describes superpixels, not cells.
With a network of `models.zoomout` and an RGB picture:

    features, classifier = zoomout.split(model)
    segments = superpixels.segment(image)
    described = superpixels.pool(features(image[None])[0], segments, stride=4)
    scores = classifier(described[:, None, None])[:, 0, 0]
    label = np.argmax(scores, axis=-1)[segments]

Trained are such classifiers on the `described` of many pictures one after the other,
`[superpixels, 1, 1, channels]`, and their `majority`: `classifier.fit` with sample
weights that are 0 where it is ignored, and else the inverse frequency of the class.
"""

import math

import numpy as np

from kerasseg import errors


def segment(image, *, count: int = 500, compactness: float = 10.0) -> np.ndarray:
    """Cuts a picture into superpixels by SLIC.

    Args:
        image: RGB, uint8 `[height, width, 3]`, of at least one pixel.
        count: About how many, at least 1.
        compactness: How much near counts against alike, in CIELAB; above 0. More makes
            them squares.

    Returns:
        int32 `[height, width]`: numbers of superpixels from 0, none left out.

    Raises:
        ImportError: scikit-image is not installed.
        ValueError: No such picture or setting.

    Source: https://doi.org/10.1109/TPAMI.2012.120.
    """
    slic = _import_slic()
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise errors.UserError(
            f"A picture is RGB, uint8 [height, width, 3]; got {image.dtype} "
            f"{list(image.shape)}. Give it as it was before it was normalised."
        )
    if count < 1 or not 0 < compactness < math.inf or not image.size:
        raise errors.UserError(
            f"count={count} and compactness={compactness} of superpixels in a picture "
            f"of {image.shape[0]} x {image.shape[1]} pixels: each must be above 0."
        )
    pixels = image.shape[0] * image.shape[1]
    segments = slic(image, n_segments=min(count, pixels), compactness=compactness)
    numbers = np.unique(segments, return_inverse=True)[1]
    return numbers.reshape(image.shape[:2]).astype(np.int32)


def pool(features, segments, *, stride: int = 1) -> np.ndarray:
    """Averages a map over each superpixel.

    Args:
        features: `[rows, columns, channels]`, of the picture's size or a cell every
            `stride` pixels, which each of these pixels then counts with.
        segments: What `segment` returned.
        stride: Pixels of the picture to one cell.

    Returns:
        float32 `[superpixels, channels]`.

    Raises:
        ImportError: SciPy is not installed.
        ValueError: The map does not cover the picture.
    """
    sparse = _import_sparse()
    features, segments = np.asarray(features, np.float32), np.asarray(segments)
    rows, columns, channels = features.shape
    height, width = segments.shape
    if rows * stride < height or columns * stride < width:
        raise errors.UserError(
            f"Features of {rows} x {columns} cells of {stride} pixels do not cover "
            f"{height} x {width} pixels. Give the stride that they were made with."
        )
    cells = np.arange(height)[:, None] // stride * columns + np.arange(width) // stride
    pixels = np.bincount(segments.ravel())
    share = sparse.csr_matrix(
        (np.ones(segments.size, np.float32), (segments.ravel(), cells.ravel())),
        shape=(len(pixels), rows * columns),
    )
    return (share @ features.reshape(-1, channels)) / pixels[:, None].astype("float32")


def majority(label, segments, *, ignore_label: int = 255) -> np.ndarray:
    """Finds the class that most pixels of each superpixel have.

    Args:
        label: Class numbers, uint8 `[height, width]`.
        segments: What `segment` returned.
        ignore_label: Label of the pixels that do not count.

    Returns:
        uint8 `[superpixels]`; of equal numbers the lower class, and `ignore_label`
        where no pixel counts.
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
        "pip install kerasseg[superpixels]"
    )
