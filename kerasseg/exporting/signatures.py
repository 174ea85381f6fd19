"""The signatures of an exported model, as graphs of TensorFlow's operations."""

import math
from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasseg import images
from kerasseg.crf import keras_engine
from kerasseg.exporting.options import TestTimeOptions
from kerasseg.images import class_rules
from kerasseg.images.class_rules import DEFAULT_RULE, ClassRule
from kerasseg.inference import predictor
from kerasseg.models import outputs as model_outputs

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# Sizes of variables. TensorFlow copies a huge constant many times: as constants, the
# 537 MB of FCN-8s took 11 GB, and 80 s until the first prediction; as variables 3 GB,
# 7 s, and 5 % more time per image.
LARGE, HUGE = 1 << 14, 1 << 23
_SMALLEST = 1e-5  # Lower bound of the probabilities, as in `crf.dense_crf`.
_PNG_SIDES_AT = 16  # Width and height, four bytes each, big-endian.
_CHUNK_HEAD, _CHUNK_SIZE = 8, 12  # Length and type; with the checksum after the data.
_MAX_CHUNKS = 4096  # Before the pixels of a PNG file; each takes 0.1 ms in a graph.


def image_shape(model: keras.Model) -> list[int | None]:
    """Returns the shape of a batch of images of any size, `[None] * 3` and channels."""
    inputs = getattr(model, "inputs", None)  # A network that detects objects has none.
    return [None, None, None, inputs[0].shape[-1] if inputs else 3]


def build(
    model: keras.Model,
    options: TestTimeOptions | None = None,
    rule: ClassRule = DEFAULT_RULE,
    *,
    reads_files: bool = True,
) -> dict:
    """Builds the signatures of a model.

    All but the huge weights become constants of one function, which both signatures
    call. Constants let TensorFlow fuse convolution, bias and activation, and keep
    kernels in oneDNN's layout.

    Args:
        model: Keras model of float32 images `[batch, height, width, channels]` to
            logits. It must live as long as the signatures.
        options: Test-time options; None: the logits of the network.
        rule: How its logits become masks.
        reads_files: Whether images are 8-bit RGB, so that "serving_default" decodes
            JPEG and PNG files; else it is the same as "tensor".

    Returns:
        Dict of the concrete functions "serving_default" and "tensor".
    """
    image_spec = tf.TensorSpec(image_shape(model), tf.float32, name="image")
    logits = traced(with_variables(model, large_variables(model, HUGE)), image_spec)
    if options is not None:
        logits = traced(with_test_time_options(logits, options, rule), image_spec)

    def tensor(image):
        scores = logits(image)
        probabilities, classes = decide(scores, rule)
        return {"logits": scores, "probabilities": probabilities, "classes": classes}

    if not reads_files:
        function = traced(tensor, image_spec)
        return {"serving_default": function, "tensor": function}

    def mask(data):
        image = tf.cast(decode(data), tf.float32)
        _, classes = decide(logits(image[tf.newaxis]), rule)
        return tf.io.encode_png(tf.cast(classes[0, ..., tf.newaxis], rule.mask_dtype))

    def serving_default(image_bytes):
        # One after the other: sizes differ, and one image keeps every core busy.
        masks = tf.map_fn(
            mask, image_bytes, fn_output_signature=tf.string, parallel_iterations=1
        )
        return {"mask_png_bytes": masks}

    files = tf.TensorSpec([None], tf.string, name="image_bytes")
    return {
        "serving_default": traced(serving_default, files),
        "tensor": traced(tensor, image_spec),
    }


def decide(logits, rule: ClassRule):
    """Returns probabilities and mask, int32, of the logits of a network.

    Args:
        logits: `[batch, height, width, num_logits]`.
        rule: How they become masks.
    """
    scores = class_rules.class_logits(logits, ops)
    probabilities = rule.probabilities(scores, ops)
    if rule == DEFAULT_RULE:
        return probabilities, tf.argmax(scores, axis=-1, output_type=tf.int32)
    return probabilities, tf.cast(rule.mask(probabilities, ops), tf.int32)


def named(outputs) -> dict:
    """Returns the outputs of a network by the names that they have in an export.

    Args:
        outputs: Logits, a dict with the key "logits", or the dict of a network that
            detects objects, see `models.mask_rcnn`.

    Returns:
        "logits"; or "boxes", "scores", "classes", "valid" and "mask_probabilities", the
        masks in the boxes. An export's "masks" have the size of the image.
    """
    if isinstance(outputs, dict) and "boxes" in outputs:
        outputs = dict(outputs)
        return {"mask_probabilities": outputs.pop("masks"), **outputs}
    return {"logits": model_outputs.logits(outputs)}


def with_test_time_options(
    logits: Callable, options: TestTimeOptions, rule: ClassRule = DEFAULT_RULE
) -> Callable:
    """Adds scales, flipping and the dense CRF to a function.

    Args:
        logits: Function of float32 images `[batch, height, width, channels]` to logits.
        options: Test-time options.
        rule: How the logits become probabilities.

    Returns:
        Function of images to as many logits, of which those of several exclusive
        classes are logarithms of probabilities.
    """

    def all_logits(image):
        return class_rules.class_logits(logits(image), ops)

    def view(image, size, flipped):
        return predictor.view_scores(
            all_logits, image, size, flipped, fusion=options.fusion, rule=rule
        )[1]

    def new_logits(image):
        probabilities = predictor.fuse_views(
            view,
            image,
            scales=options.scales,
            flip=options.flip,
            fusion=options.fusion,
            rule=rule,
        )
        if options.crf is not None:
            settings = dict(options.crf)
            for weight in ("gaussian_compat", "bilateral_compat"):
                settings[weight] = settings[weight] or None  # Leaves the kernel out.
            probabilities = tf.maximum(probabilities, _SMALLEST)
            probabilities = keras_engine.refine(image, probabilities, **settings)
        if rule.multi_label:
            return _log(probabilities) - _log(1 - probabilities)
        scores = _log(probabilities)
        if logits(image).shape[-1] == 1:  # Not computed: the graph is pruned.
            return scores[..., 1:] - scores[..., :1]
        return scores

    return new_logits


def _log(probabilities):
    return tf.math.log(tf.maximum(probabilities, np.finfo(np.float32).tiny))


def freeze(model: keras.Model, arguments: Iterable = ()) -> Callable:
    """Returns a function of images to logits in which the weights are constants.

    Args:
        model: As in `build`.
        arguments: Variables that are not constants: the function takes their values as
            arguments after the image.
    """
    places = {id(variable): i for i, variable in enumerate(arguments)}
    groups = model.trainable_variables, model.non_trainable_variables
    known = {id(v): v.numpy() for group in groups for v in group if id(v) not in places}

    def value(variable, values):
        if id(variable) in places:
            return values[places[id(variable)]]
        return tf.constant(known[id(variable)])

    def logits(image, *values):
        weights = [[value(variable, values) for variable in group] for group in groups]
        return model.stateless_call(*weights, image, training=False)[0]

    return logits


def with_variables(model: keras.Model, variables: Iterable) -> Callable:
    """Returns a function of images to logits; all other weights are constants."""
    logits = freeze(model, variables)

    def call(image):
        return logits(image, *(tf.convert_to_tensor(v.value) for v in variables))

    return call


def large_variables(model: keras.Model, least: int) -> list:
    """Returns the variables of a certain size.

    Converters copy the constants of a graph many times, but not its variables.

    Args:
        model: As in `build`.
        least: Minimum size: `LARGE`, which includes nearly all weights, or `HUGE`.
    """
    return [v for v in model.variables if math.prod(v.shape) >= least]


def traced(function: Callable, specification: tf.TensorSpec):
    """Returns the concrete function for an input specification."""
    return tf.function(function, autograph=False).get_concrete_function(specification)


def decode(data):
    """Decodes a JPEG or PNG file in the graph, like `images.read_image`.

    EXIF is not applied. Size, format and the number of frames are checked before
    anything is decoded.

    Args:
        data: The file's bytes, a scalar string tensor.

    Returns:
        RGB, uint8 `[height, width, 3]`.
    """
    is_jpeg = tf.strings.substr(data, 0, len(_JPEG)) == _JPEG
    is_png = tf.strings.substr(data, 0, len(_PNG)) == _PNG
    is_png &= tf.strings.length(data) >= _PNG_SIDES_AT + 8
    message = "image_bytes: a file is truncated, or not a JPEG or PNG file"
    with tf.control_dependencies([tf.debugging.Assert(is_png | is_jpeg, [message])]):
        data = tf.identity(data)
    sides = tf.cond(is_png, lambda: _png_sides(data), lambda: _jpeg_sides(data))
    limit = images.DEFAULT_MAX_PIXELS
    message = f"image_bytes: an image has more than {limit} pixels; resize it"
    fits = tf.reduce_prod(tf.cast(sides, tf.int64)) <= limit
    with tf.control_dependencies([tf.debugging.Assert(fits, [message])]):
        data = tf.identity(data)
    data = tf.cond(is_png, lambda: _single_frame(data), lambda: data)
    # The operation also reads PNG; of 16 bits it takes the upper 8.
    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")


def _png_sides(data):
    # Decoders use the size in IHDR, also if another chunk comes first.
    is_first = tf.strings.substr(data, _PNG_SIDES_AT - 4, 4) == b"IHDR"
    message = "image_bytes: the first chunk of a PNG file is not IHDR"
    with tf.control_dependencies([tf.debugging.Assert(is_first, [message])]):
        data = tf.identity(data)
    return _integers(tf.strings.substr(data, _PNG_SIDES_AT, 8), 2)


def _integers(data, count):
    """Reads big-endian 32-bit integers."""
    values = tf.io.decode_raw(data, tf.int32, little_endian=False)
    return tf.ensure_shape(values, [count])


def _single_frame(data):
    """Returns the data of a PNG file; an animation, acTL before IDAT, is an error."""
    size = tf.strings.length(data)

    def is_before_pixels(start, kind, count):
        del count
        ended = tf.reduce_any(kind == [b"IDAT", b"acTL", b"IEND"])
        return ~ended & (start <= size - _CHUNK_SIZE)

    def next_chunk(start, kind, count):
        # The chunk at `start` becomes the current one; the next start follows it.
        del kind
        head = tf.strings.substr(data, start, _CHUNK_HEAD)
        length = _integers(tf.strings.substr(head, 0, 4), 1)[0]
        fits = (length >= 0) & (length <= size - start - _CHUNK_SIZE)
        following = tf.where(fits, start + _CHUNK_SIZE + length, size)
        return following, tf.strings.substr(head, 4, 4), count + 1

    _, kind, count = tf.while_loop(
        is_before_pixels,
        next_chunk,
        (tf.constant(len(_PNG)), tf.constant(b""), tf.constant(0)),
        maximum_iterations=_MAX_CHUNKS,
    )
    messages = {
        "image_bytes: an image has several frames instead of one": kind != b"acTL",
        f"image_bytes: a PNG file has {_MAX_CHUNKS} chunks before its pixels": (
            count < _MAX_CHUNKS
        ),
    }
    checks = [tf.debugging.Assert(holds, [text]) for text, holds in messages.items()]
    with tf.control_dependencies(checks):
        return tf.identity(data)


def _jpeg_sides(data):
    return tf.image.extract_jpeg_shape(data, output_type=tf.int32)[:2]


def operations(function) -> set[str]:
    """Returns the operations of a concrete function and of those it calls."""
    graph = function.graph.as_graph_def()
    inner = [node for each in graph.library.function for node in each.node_def]
    return {node.op for node in [*graph.node, *inner]}
