"""The signatures of an exported model that detects objects."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from kerasseg import images
from kerasseg.exporting import signatures
from kerasseg.instances import pasting


def build(model: keras.Model, masks: str = "full") -> dict:
    """Builds the signatures of a model of kind "instance".

    Args:
        model: As in `signatures.build`, with the outputs of `models.mask_rcnn`.
        masks: One of `options.DETECTION_MASKS`.

    Returns:
        Dict of the concrete functions "serving_default" and "tensor". "tensor" maps
        images to the outputs of `with_masks`. "serving_default" maps JPEG and PNG
        files to "boxes", "scores", "classes" and "valid", and to PNG files of each:
        class numbers in 8 bits, and ids, see `id_map`, in 16.
    """
    image_spec = tf.TensorSpec([None, None, None, 3], tf.float32, name="image")
    large = signatures.large_variables(model, signatures.HUGE)
    outputs = signatures.with_variables(model, large)
    detect = signatures.traced(lambda x: signatures.named(outputs(x)), image_spec)

    def tensor(image):
        return with_masks(image, detect(image), masks)

    def of_file(data):
        image = tf.cast(signatures.decode(data), tf.float32)[tf.newaxis]
        found = {name: value[0] for name, value in detect(image).items()}
        probabilities = found.pop("mask_probabilities")
        ids = id_map(probabilities, found["boxes"], found["scores"], *_size(image))
        classes = tf.gather(tf.concat([[0], found["classes"]], axis=0), ids)
        return {
            **found,
            "mask_png_bytes": _png(classes, tf.uint8),
            "instance_png_bytes": _png(ids, tf.uint16),
        }

    specification = {
        name: tf.TensorSpec(value.shape[1:], value.dtype)
        for name, value in detect.structured_outputs.items()
        if name != "mask_probabilities"
    }
    for name in ("mask_png_bytes", "instance_png_bytes"):
        specification[name] = tf.TensorSpec([], tf.string)

    def serving_default(image_bytes):
        # One after the other, as in `signatures.build`.
        return tf.map_fn(
            of_file,
            image_bytes,
            fn_output_signature=specification,
            parallel_iterations=1,
        )

    files = tf.TensorSpec([None], tf.string, name="image_bytes")
    return {
        "serving_default": signatures.traced(serving_default, files),
        "tensor": signatures.traced(tensor, image_spec),
    }


def with_masks(image, found: Mapping, masks: str) -> dict:
    """Adds the masks of the size of the images to detections.

    Args:
        image: Images, `[batch, height, width, 3]`.
        found: The outputs of `signatures.named`.
        masks: One of `options.DETECTION_MASKS`; with "boxes" nothing is added.

    Returns:
        The outputs; with "full" also "masks", bool `[batch, detections, height,
        width]`.
    """
    if masks == "boxes":
        return dict(found)
    full = pasting.paste_tensors(
        found["mask_probabilities"], found["boxes"], *_size(image)
    )
    return {**found, "masks": full}


def id_map(probabilities, boxes, scores, height, width):
    """Pastes the detections of one image into a map, like `images.Detections.id_map`.

    Args:
        probabilities: Masks in the boxes, `[detections, cells, cells]`.
        boxes: `[detections, 4]`, in pixels of the image.
        scores: `[detections]`, descending; those below `images.MIN_SCORE` do not count.
        height: Height of the image in pixels: a scalar tensor.
        width: Its width, likewise.

    Returns:
        int32 `[height, width]`: index of the detection plus 1, 0 for none. Where masks
        overlap, the first wins.
    """
    count = tf.reduce_sum(tf.cast(scores >= images.MIN_SCORE, tf.int32))

    def paste(i, ids):
        one = slice(i, i + 1)
        mask = pasting.paste_tensors(
            probabilities[tf.newaxis, one], boxes[tf.newaxis, one], height, width
        )
        return i - 1, tf.where(mask[0, 0], i + 1, ids)

    _, ids = tf.while_loop(
        lambda i, _: i >= 0,
        paste,
        (count - 1, tf.zeros([height, width], tf.int32)),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, None])),
        parallel_iterations=1,
    )
    return ids


def _size(image):
    shape = tf.shape(image)
    return shape[1], shape[2]


def _png(numbers, dtype):
    return tf.io.encode_png(tf.cast(numbers[..., tf.newaxis], dtype))
