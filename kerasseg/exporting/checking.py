"""An exported folder loaded again and held against the model it was made of."""

import cv2
import numpy as np
import tensorflow as tf

from kerasseg import images
from kerasseg.exporting import signatures

# Of the largest logit: what float32 loses when a batch norm is folded is 1e-6 to 1e-5.
TOLERANCE = 1e-4
_MAX_DECODER_DIFFERENCE = 2  # Of 255: CMYK is turned into RGB in two ways.


def drawn_picture() -> bytes:
    """Draws a PNG of odd sides, smooth and noisy, for want of a real one."""
    rows, columns = np.mgrid[:33, :47]
    noise = np.random.default_rng(0).integers(0, 64, (33, 47, 3))
    ramps = np.stack([rows * 5, columns * 4, rows * 2 + columns * 2], axis=-1)
    return cv2.imencode(".png", (ramps + noise).astype(np.uint8))[1].tobytes()


def compare(folder, model, pictures) -> dict:
    """Loads both signatures of a folder and compares them with the model.

    Logits may differ by `TOLERANCE` of the largest one. A class may differ only where
    the model's own scores of both classes are that close, which rounding decides.

    Args:
        folder: The SavedModel.
        model: The model as it was before anything was folded, float32.
        pictures: JPEG or PNG files, bytes.

    Returns:
        Dict of "pictures", their number; "tolerance"; "largest_difference" of
        logits, as a share of the largest one; "pixels" and "pixels_that_differ".

    Raises:
        ValueError: They differ by more.
    """
    loaded = tf.saved_model.load(folder)
    found = [_compare_one(loaded.signatures, model, data) for data in pictures]
    return {
        "pictures": len(found),
        "tolerance": TOLERANCE,
        "largest_difference": max(difference for difference, _, _ in found),
        "pixels": sum(num_pixels for _, num_pixels, _ in found),
        "pixels_that_differ": sum(num_differing for _, _, num_differing in found),
    }


def _compare_one(given, model, data):
    """Returns the difference of logits, the pixels and those of another class."""
    image = _decode(data)
    expected = np.asarray(model(image[np.newaxis], training=False))
    tensor = given["tensor"](image=tf.constant(image[np.newaxis]))
    scale = max(np.abs(expected).max(), 1e-6)
    difference = np.abs(tensor["logits"].numpy() - expected).max() / scale
    if not difference <= TOLERANCE:  # NaN too.
        raise _refused(f"logits by {difference:.1e} of the largest one")
    mask = given["serving_default"](image_bytes=tf.constant([data]))["mask_png_bytes"]
    mask = images.read_label(mask.numpy()[0])
    near = 2 * TOLERANCE * scale
    for name, classes in (("classes", tensor["classes"].numpy()[0]), ("mask", mask)):
        if classes.shape != image.shape[:2]:
            raise _refused(f"the {name} by size: {classes.shape}, {image.shape[:2]}")
        own = np.take_along_axis(expected[0], classes[..., np.newaxis], axis=-1)[..., 0]
        num_wrong = int(np.sum(expected[0].max(axis=-1) - own > near))
        if num_wrong:
            raise _refused(f"the {name} in {num_wrong} of {classes.size} pixels")
    num_differing = int(np.sum(expected[0].argmax(axis=-1) != mask))
    return float(difference), mask.size, num_differing


def _decode(data):
    """Decodes as the graph does, which must be what evaluation sees."""
    decoded = signatures.decode(tf.constant(data)).numpy()
    seen = images.read_image(data, apply_exif=False)
    difference = int(np.abs(decoded.astype(int) - seen).max())
    if difference > _MAX_DECODER_DIFFERENCE:
        raise _refused(f"the decoded pictures by {difference} of 255")
    return decoded.astype(np.float32)


def _refused(what):
    return ValueError(
        f"The exported model and the one in memory differ: {what}, allowed is a share "
        f"of {TOLERANCE}. Nothing was exported; report it with the model's options."
    )
