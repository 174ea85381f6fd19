"""What an exported model offers: two functions of plain TensorFlow operations."""

import math

import tensorflow as tf

from kerasseg import images

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# Numbers of a variable. TensorFlow copies a huge constant many times: as constants the
# 537 MB of FCN-8s took 11 GB, and 80 s until the first answer; as variables 3 GB and
# 7 s, and each picture 5 % longer.
LARGE, HUGE = 1 << 14, 1 << 23
_PNG_SIDES_AT = 16  # Width and height, four bytes each, most significant first.


def build(model, views=None) -> dict:
    """Freezes a model: its weights become constants of one function, but huge ones.

    Constants let TensorFlow fuse convolution, bias and activation, and keep kernels
    in the order that oneDNN wants. Both signatures call that function.

    Args:
        model: Takes float32 `[batch, height, width, 3]`, RGB, 0..255, to logits. It
            has to live as long as the functions do.
        views: `views.Views`, how it looks at a picture; None for once, as it is.

    Returns:
        Concrete functions "serving_default" and "tensor".
    """
    picture = tf.TensorSpec([None, None, None, 3], tf.float32, name="image")
    logits = traced(with_variables(model, large_variables(model, HUGE)), picture)
    if views is not None:
        logits = traced(views.in_graph(logits), picture)

    def tensor(image):
        scores = logits(image)
        return {
            "logits": scores,
            "probabilities": tf.nn.softmax(scores),
            "classes": tf.argmax(scores, axis=-1, output_type=tf.int32),
        }

    def mask(data):
        image = tf.cast(decode(data), tf.float32)
        classes = tf.argmax(logits(image[tf.newaxis]), axis=-1, output_type=tf.int32)
        return tf.io.encode_png(tf.cast(classes[0, ..., tf.newaxis], tf.uint8))

    def serving_default(image_bytes):
        # One after the other: sizes differ, and one picture keeps every core busy.
        masks = tf.map_fn(
            mask, image_bytes, fn_output_signature=tf.string, parallel_iterations=1
        )
        return {"mask_png_bytes": masks}

    files = tf.TensorSpec([None], tf.string, name="image_bytes")
    return {
        "serving_default": traced(serving_default, files),
        "tensor": traced(tensor, picture),
    }


def freeze(model, arguments=()):
    """Returns a function of pictures to logits in which the weights are constants.

    Args:
        model: See `build`.
        arguments: Some of its variables, see `large_variables`: the function takes
            their values behind the picture.
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


def with_variables(model, variables):
    """Returns a function of pictures to logits; other weights are its constants."""
    logits = freeze(model, variables)

    def call(image):
        return logits(image, *(tf.convert_to_tensor(v.value) for v in variables))

    return call


def large_variables(model, least: int) -> list:
    """Lists the variables of so many numbers: `LARGE`, which are nearly all, or `HUGE`.

    Converters copy the constants of a graph many times; what they are not shown as
    constants they leave alone.
    """
    return [v for v in model.variables if math.prod(v.shape) >= least]


def traced(function, specification):
    """Makes the concrete function of a function, for inputs as specified."""
    return tf.function(function, autograph=False).get_concrete_function(specification)


def decode(data):
    """Decodes a JPEG or PNG file in the graph, as `images.read_image` does.

    EXIF is not applied. Size and kind are looked at before anything is decoded.

    Args:
        data: The file's bytes, a string scalar.

    Returns:
        RGB, uint8 `[height, width, 3]`.
    """
    is_jpeg = tf.strings.substr(data, 0, len(_JPEG)) == _JPEG
    is_png = tf.strings.substr(data, 0, len(_PNG)) == _PNG
    is_png &= tf.strings.length(data) >= _PNG_SIDES_AT + 8
    wanted = "image_bytes holds a file that is no JPEG or PNG, or is cut; send others"
    with tf.control_dependencies([tf.debugging.Assert(is_png | is_jpeg, [wanted])]):
        data = tf.identity(data)
    sides = tf.cond(is_png, lambda: _png_sides(data), lambda: _jpeg_sides(data))
    limit = images.DEFAULT_MAX_PIXELS
    wanted = f"image_bytes holds a picture of more than {limit} pixels; shrink it"
    fits = tf.reduce_prod(tf.cast(sides, tf.int64)) <= limit
    with tf.control_dependencies([tf.debugging.Assert(fits, [wanted])]):
        data = tf.identity(data)
    # The operation reads PNG as well, of 16 bits the upper 8.
    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")


def _png_sides(data):
    header = tf.strings.substr(data, _PNG_SIDES_AT, 8)
    return tf.ensure_shape(tf.io.decode_raw(header, tf.int32, little_endian=False), [2])


def _jpeg_sides(data):
    return tf.image.extract_jpeg_shape(data, output_type=tf.int32)[:2]
